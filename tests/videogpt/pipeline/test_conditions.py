"""Frames that are given: they come back through the tokenizer, the rest follows from them, and what does not fit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from videogpt.layouts.task import TO_DRAW, Example
from videogpt.pipeline.conditions import Given, given_codes
from videogpt.pipeline.pipeline import Pipeline
from videogpt.pipeline.prompt_files import read_prompts
from videogpt.pipeline.request import Request
from videogpt.sampling.sampler import sample_frames
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.files.checksums import sha256_of

CASES = Path(__file__).parents[2] / "cases"
FILM_AND_PICTURE = [{"video": None, "context_frames": 5}, {"image": None}]
"""With what is given to be filled in. Pipelines of these tests make 9 frames of 16x24, 8 a second."""


@pytest.fixture
def film(random_clip: Callable[..., Clip]) -> Clip:
    return random_clip(11, 16, 24, seed=1)


def request(given: dict[str, Any], film: Clip, **more: Any) -> Request:
    picture = Clip(film.frames_THWC[:1], 1.0)
    return Request(**{**given, **({"video": film} if "video" in given else {"image": picture})}, **more)


def through_tokenizer(pipeline: Pipeline, clip: Clip) -> Clip:
    tokenizer = pipeline.model.tokenizer
    with torch.inference_mode():
        return Clip.from_video(tokenizer.decode(tokenizer.encode(clip.video_CTHW()[None]))[0], clip.fps)


@pytest.mark.parametrize("given", FILM_AND_PICTURE)
@pytest.mark.parametrize("lane", ["eager", "jacobi"])
def test_given_frames_are_what_the_tokenizer_makes_of_them(given: Any, lane: str, pipeline: Pipeline, film: Clip):
    asked = request(given, film, text="a red circle", seed=3)
    (sample,) = pipeline.samples(asked, lane=lane)
    count = 5 if "video" in given else 1
    shown = film.frames_THWC[-5:] if "video" in given else film.frames_THWC[:1]
    expected = through_tokenizer(pipeline, Clip(shown, 8.0))
    assert sample.given_frames == count and len(sample.clip) == 9
    difference = (sample.clip.frames_THWC[:count].int() - expected.frames_THWC.int()).abs().max()
    assert difference <= 1  # streams round otherwise than a whole clip
    assert sample.passes < 54  # codes that are given take no pass each


@pytest.mark.parametrize("given", FILM_AND_PICTURE)
def test_the_same_is_drawn_alone_and_beside_requests_of_other_kinds(given: Any, pipeline: Pipeline, film: Clip):
    asked = request(given, film, text="a red circle", seed=3)
    alone = pipeline(asked)[0]
    beside = pipeline([Request(text="a star", seed=9), asked, request(given, film, seed=4)])[1]
    assert (alone.frames_THWC.int() - beside.frames_THWC.int()).abs().max() <= 1
    streamed = torch.cat([clips[0].frames_THWC for clips in pipeline.stream(asked)])
    assert (alone.frames_THWC.int() - streamed.int()).abs().max() <= 1


def test_what_is_drawn_goes_on_as_if_it_had_drawn_the_rest_itself(pipeline: Pipeline):
    """Given codes are those of a clip that the model has drawn: for the same seed it draws the remaining ones again."""
    model = pipeline.model

    def draw(codes: torch.Tensor | None) -> torch.Tensor:
        examples = [Example([3, 4], codes)]
        return torch.cat(list(sample_frames(model.network, model.task, model.sampling, examples, [5], 3)))

    whole = draw(None)
    assert torch.equal(draw(whole[:2]), whole)


def test_of_a_film_the_last_frames_are_given_as_many_as_fit(pipeline: Pipeline, film: Clip):
    def codes(**given: Any) -> torch.Tensor:
        found = given_codes(Request(**given), pipeline.model, 3)
        assert found.codes_THW is not None and found.frames == 4 * len(found.codes_THW) - 3
        return found.codes_THW

    most = codes(video=film)
    assert len(most) == 2
    assert torch.equal(most, codes(video=Clip(film.frames_THWC[-5:], 8.0)))
    assert torch.equal(codes(video=Clip(film.frames_THWC[:4], 8.0)), codes(image=Clip(film.frames_THWC[3:4], 8.0)))
    assert given_codes(Request(text="a star"), pipeline.model, 3) == Given()


def test_files_are_scaled_cut_turned_and_resampled(
    pipeline: Pipeline, random_clip: Callable[..., Clip], tmp_path: Path
):
    path = random_clip(90, 40, 40, fps=24, seed=2).write(tmp_path / "film.avi")
    read = Clip.read(path, size=(16, 24), fps=8.0)
    assert len(read) == 30
    for given in ({"video": path, "context_frames": 5}, {"video": str(path), "context_frames": 1}, {"image": path}):
        found = given_codes(Request(**given), pipeline.model, 3).codes_THW
        shown = read.frames_THWC[-given["context_frames"] :] if "video" in given else read.frames_THWC[:1]
        assert torch.equal(found, given_codes(Request(video=Clip(shown, 8.0)), pipeline.model, 3).codes_THW)
    turned = given_codes(Request(image=CASES / "orientation-5.jpg"), pipeline.model, 3).codes_THW
    upright = Clip.read(CASES / "orientation-5.jpg", size=(16, 24))
    assert torch.equal(turned, given_codes(Request(image=upright), pipeline.model, 3).codes_THW)


@pytest.mark.parametrize(
    ("frames", "given", "message"),
    [
        (11, {"context_frames": 4}, "context_frames is 4, and a clip of 9 frames can go on from 1, 5 of them"),
        (11, {"context_frames": 9}, "context_frames is 9, and a clip of 9 frames can go on from 1, 5 of them"),
        (11, {"context_frames": 0}, "context_frames is 0, and a clip of 9 frames"),
        (3, {"context_frames": 5}, "context_frames is 5, and the video has 3 frames at 8 a second: ask for fewer"),
        (11, {"num_frames": 1}, "a video is given, and a clip of 1 frames leaves nothing to draw: ask for more"),
    ],
)
def test_films_that_do_not_fit_are_refused(frames: int, given: Any, message: str, pipeline: Pipeline, film: Clip):
    with pytest.raises(ValueError, match=message):
        pipeline.samples(Request(video=Clip(film.frames_THWC[:frames], 8.0), **given))


def test_frames_in_memory_have_the_models_size_rate_and_number(pipeline: Pipeline, film: Clip):
    other = Clip(film.frames_THWC[:, :8], 8.0)
    for given, message in [
        ({"image": other}, r"8x24 pixels, the model makes 16x24: read it with Clip.read\(path, size="),
        ({"video": other}, "the video is 8x24 pixels, the model makes 16x24"),
        ({"image": film}, "the image has 11 frames: give one, or give them as a video"),
        ({"video": Clip(film.frames_THWC, 24.0)}, "the video has 24 frames a second, the model makes 8"),
        ({"image": Clip(film.frames_THWC[:1], 1.0), "num_frames": 1}, "the image is the only frame of the clip"),
    ]:
        with pytest.raises(ValueError, match=message):
            pipeline.samples(Request(**given))


def test_conditions_that_contradict_each_other_are_refused(film: Clip):
    with pytest.raises(ValueError, match="image and video both give the first frame: leave one of them out"):
        Request(image="a.png", video=film)
    with pytest.raises(ValueError, match="context_frames is 5, but there is no video: give one"):
        Request(context_frames=5)


def half(side: slice, frames: int = 1) -> Clip:
    """A mask of 16x24 that hides these columns."""
    frames_THWC = torch.zeros(frames, 16, 24, 3, dtype=torch.uint8)
    frames_THWC[:, :, side] = 255
    return Clip(frames_THWC, 8.0)


@pytest.mark.parametrize("lane", ["eager", "jacobi"])
def test_outside_of_a_mask_the_codes_are_those_of_the_film(lane: str, tiny_model_of_tasks: Any, film: Clip):
    pipeline = Pipeline(tiny_model_of_tasks)
    asked = Request(text="a star", video=film, mask=half(slice(0, 8)), seed=3)
    given = given_codes(asked, pipeline.model, 3).prefix_codes["given"]
    with torch.inference_mode():
        codes = pipeline.model.tokenizer.encode(film.video_CTHW()[None, :, :9])[0]
    assert (given[..., 0] == TO_DRAW).all() and torch.equal(given[..., 1:], codes[..., 1:])
    (sample,) = pipeline.samples(asked, lane=lane)
    assert (sample.request.task, sample.given_frames, len(sample.clip)) == ("infill", 0, 9)
    task, model = pipeline.model.task_for("infill"), pipeline.model
    example = Example(model.text_tokenizer.encode("a star"), prefix_codes={"given": given})
    frames = sample_frames(model.network, task, model.sampling, [example], [3], 3, lane=lane)
    drawn = torch.cat(list(frames))
    assert torch.equal(drawn[..., 1:], codes[..., 1:])
    with torch.inference_mode():
        shown = Clip.from_video(model.tokenizer.decode(drawn[None])[0], 8.0)
    assert (shown.frames_THWC.int() - sample.clip.frames_THWC.int()).abs().max() <= 1


def test_one_model_answers_requests_of_several_tasks_at_once(tiny_model_of_tasks: Any, film: Clip):
    pipeline = Pipeline(tiny_model_of_tasks)
    picture = Clip(film.frames_THWC[:1], 1.0)
    asked = [
        Request(text="a star", seed=1),
        Request(video=film, mask=half(slice(8, 24)), seed=2),
        Request(image=picture),
    ]
    together = [sample.clip for sample in pipeline.samples(asked)]
    for request, clip in zip(asked, together, strict=True):
        assert (pipeline(request)[0].frames_THWC.int() - clip.frames_THWC.int()).abs().max() <= 1


def test_a_mask_of_pixels_is_rounded_to_codes_and_that_is_said(tiny_model_of_tasks: Any, film: Clip):
    with pytest.warns(
        UserWarning, match="rounded to whole codes of 4 frames and 8x8 pixels: it hides 12 %, and 33 % is"
    ):
        given = given_codes(Request(video=film, mask=half(slice(3, 6))), tiny_model_of_tasks, 3)
    assert torch.equal((given.prefix_codes["given"] == TO_DRAW)[0, 0], torch.tensor([True, False, False]))


def test_a_mask_of_whole_codes_is_not_said_to_be_rounded(tiny_model_of_tasks: Any, film: Clip, recwarn: Any):
    mask = torch.zeros(9, 16, 24, 3, dtype=torch.uint8)
    mask[1:5, :, 8:] = 255
    given = given_codes(Request(video=film, mask=Clip(mask, 8.0)), tiny_model_of_tasks, 3)
    assert (given.prefix_codes["given"] == TO_DRAW).sum() == 4
    assert not [warning for warning in recwarn if "rounded" in str(warning.message)]


def test_thin_lines_of_a_large_mask_are_not_lost(tiny_model_of_tasks: Any, random_clip: Any, tmp_path: Path):
    film = random_clip(9, 64, 96).write(tmp_path / "film.avi")
    mask = torch.zeros(1, 64, 96, 3, dtype=torch.uint8)
    mask[:, :, 50] = 255
    path = Clip(mask, 1.0).write(tmp_path / "line.png")
    with pytest.warns(UserWarning, match="rounded to whole codes"):
        given = given_codes(Request(video=film, mask=path), tiny_model_of_tasks, 3)
    assert (given.prefix_codes["given"][0, 0] == TO_DRAW).tolist() == [False, True, False]


def test_what_an_encoder_sees_beyond_a_code_is_said(tiny_model_of_tasks: Any, film: Clip):
    assert tiny_model_of_tasks.tokenizer.config.autoencoder.encoder_context == "local"
    with pytest.warns(UserWarning, match="what is kept beside the mask knows something"):
        given_codes(Request(video=film, mask=half(slice(8))), tiny_model_of_tasks, 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_frames": "9"}, "num_frames is '9'; it must be a whole number"),
        ({"seed": None}, "seed is None; it must be a whole number"),
        ({"video": "a.mp4", "context_frames": 5.0}, "context_frames is 5.0; it must be a whole number"),
        ({"video": "a.mp4", "context_frames": True}, "context_frames is True"),
        ({"image": torch.zeros(3)}, r"image is of type Tensor: give the place of a file, or Clip\(frames_THWC, fps\)"),
        ({"video": ["a.mp4"]}, "video is of type list"),
    ],
)
def test_what_is_of_another_type_is_refused(given: Any, message: str):
    with pytest.raises(ValueError, match=message):
        Request(**given)


def test_masks_that_do_not_fit_are_refused(pipeline: Pipeline, tiny_model_of_tasks: Any, film: Clip, tmp_path: Path):
    with pytest.raises(
        ValueError, match="infill is asked for, and the model was not .*: it knows text_to_video, image_"
    ):
        pipeline.samples(Request(video=film, mask=half(slice(8))))
    files = {"mask.png": half(slice(8)), "film.avi": film, "small.avi": Clip(film.frames_THWC[:, :8, :8], 8.0)}
    mask, long, small = (clip.write(tmp_path / name) for name, clip in files.items())
    for video, given, message in [
        (film, half(slice(0)), "the mask hides nothing of the part that the model makes: make some of it white"),
        (film, half(slice(24)), "the mask hides everything: ask without a video"),
        (film, half(slice(8), 3), "the mask has 3 frames, and the clip takes 9: give one for all, or one for each"),
        (Clip(film.frames_THWC[:5], 8.0), half(slice(8)), "the video has 5 frames at 8 a second, and the clip takes 9"),
        (small, mask, "mask.png is 16x24 pixels, the video 8x8: give a mask of the video's size"),
        (long, tmp_path / "no.png", "no.png: there is no such file"),
    ]:
        with pytest.raises(ValueError, match=message):
            Pipeline(tiny_model_of_tasks).samples(Request(video=video, mask=given))
    with pytest.raises(ValueError, match="a mask is given, and there is no video: give one"):
        Request(mask="a.png")
    with pytest.raises(ValueError, match="a mask is given, and context_frames, too: leave one out"):
        Request(mask="a.png", video="a.mp4", context_frames=5)
    assert Pipeline(tiny_model_of_tasks)(Request(video=long, mask=mask, num_frames=5))[0].fps == 8


def test_lines_of_a_prompt_file_have_the_fields_of_a_request(tmp_path: Path):
    lines: list[dict[str, Any]] = [
        {"prompt": "a star", "num_frames": 5},
        {"image": "a.png", "seed": 2},
        {"prompt": "a star", "video": "films/b.mp4", "context_frames": 5},
    ]
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_prompts(path, Request(num_frames=9)) == [
        Request(text="a star", num_frames=5),
        Request(image=tmp_path / "a.png", seed=2, num_frames=9),
        Request(text="a star", video=tmp_path / "films/b.mp4", context_frames=5, num_frames=9),
    ]
    for line, message in [
        ({"image": 3}, "image is 3; it must be the place of a file"),
        ({"image": "a", "video": "b"}, "image and video both give the first frame"),
        ({"image": "a", "prompt": 3}, "no prompt string"),
        ({"video": "b", "context_frames": 0}, "context_frames is 0; it must be a whole number of 1 or more"),
        ({"prompt": "a", "num_frames": 2.5}, "num_frames is 2.5"),
    ]:
        path.write_text('{"prompt": "a"}\n' + json.dumps(line))
        with pytest.raises(ValueError, match=f"prompts.jsonl, line 2: {message}"):
            read_prompts(path)


def test_the_command_takes_them_without_a_prompt_and_says_what_was_given(
    videogpt: Callable[..., Any], model_folder: Path, film: Clip, tmp_path: Path
):
    film.write(tmp_path / "film.avi")
    Clip(film.frames_THWC[:1], 1.0).write(tmp_path / "picture.png")
    usual = ("sample", "--model", model_folder, "--output", tmp_path / "samples", "--device", "cpu")
    videogpt(*usual, "--image", tmp_path / "picture.png")
    videogpt(*usual, "a star", "a circle", "--video", tmp_path / "film.avi", "--context-frames", 5)
    paths = sorted((tmp_path / "samples").glob("*.json"))
    assert [path.stem for path in paths] == ["0001-picture-s0", "0003-a-star-s0", "0004-a-circle-s0"]
    records = [json.loads(path.read_text()) for path in paths]
    found = [(record["task"], record["prompt"], record["given_frames"]) for record in records]
    assert found == [("image_to_video", "", 1), ("continuation", "a star", 5), ("continuation", "a circle", 5)]
    places = [records[0]["request"]["image"], records[1]["request"]["video"]]
    assert [Path(place["file"]).name for place in places] == ["picture.png", "film.avi"]
    assert places[1]["sha256"] == sha256_of(tmp_path / "film.avi")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--image", "nowhere.png"], "nowhere.png: there is no such file"),
        (["--image", str(CASES / "half.jpg")], "half.jpg"),
        (["--video", str(CASES / "sound-with-cover.mp4")], "sound-with-cover.mp4"),
        (["--image", "a.png", "--video", "b.mp4"], "both give the first frame"),
        (["a star", "--context-frames", "5"], "there is no video"),
    ],
)
def test_the_command_refuses_in_one_line(
    given: list[str], message: str, videogpt: Callable[..., Any], model_folder: Path, tmp_path: Path
):
    said = videogpt("sample", "--model", model_folder, "--output", tmp_path / "samples", *given, code=2)
    (line,) = [line for line in said.err.splitlines() if line.startswith("videogpt: error:")]
    assert message in line
    assert not (tmp_path / "samples").exists()
