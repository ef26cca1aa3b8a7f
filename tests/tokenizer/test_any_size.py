"""Clips of unequal length and size in batches: the same codes and pixels as one by one, each its own size again."""

import dataclasses

import pytest
import torch

from videogpt_tokenizer.any_size import decode_pieces, encode_pieces
from videogpt_tokenizer.video_tokenizer import VideoTokenizer

SHAPES = [(1, 16, 16), (50, 9, 16), (5, 16, 13), (37, 16, 16), (6, 13, 1), (2, 1, 8), (33, 16, 16), (34, 12, 11)]


@pytest.fixture(scope="module", params=["wide", "local"])
def tokenizer(request, make_tokenizer) -> VideoTokenizer:
    return make_tokenizer(widths=(16, 32), encoder_context=request.param, remembers=True)


def random_videos(shapes: list[tuple[int, int, int]] = SHAPES) -> list[torch.Tensor]:
    return [torch.rand(3, *shape) * 2 - 1 for shape in shapes]


@pytest.mark.parametrize("batch_size", [2, 16])
def test_a_batch_of_unequal_clips_equals_its_clips_one_by_one(tokenizer, batch_size):
    videos = random_videos()
    clips = tokenizer.encode_clips(videos, batch_size)
    alone = [tokenizer.encode_clips([video])[0] for video in videos]
    for one, other in zip(clips, alone, strict=True):
        assert torch.equal(one.codes_THW, other.codes_THW)
        assert (one.num_frames, one.height, one.width) == (other.num_frames, other.height, other.width)
    decoded = tokenizer.decode_clips(clips, batch_size)
    for video, clip, original in zip(decoded, alone, videos, strict=True):
        assert video.shape == original.shape
        # Not to the bit: with fewer rows a matrix product adds up in another order.
        torch.testing.assert_close(video, tokenizer.decode_clips([clip])[0], atol=1e-5, rtol=0)


def test_it_is_encode_and_decode_of_the_padded_clip(tokenizer):
    (video,) = random_videos([(38, 13, 20)])
    held = torch.cat([video, video[:, -1:].expand(-1, 3, -1, -1)], dim=1)
    rows, columns = torch.arange(16).clamp(max=12), torch.arange(24).clamp(max=19)
    padded = held[:, :, rows][..., columns][None]
    (clip,) = tokenizer.encode_clips([video])
    assert torch.equal(clip.codes_THW, tokenizer.encode(padded)[0])
    expected = tokenizer.decode(clip.codes_THW[None])[0, :, :38, :13, :20]
    torch.testing.assert_close(tokenizer.decode_clips([clip])[0], expected, atol=1e-5, rtol=0)
    assert torch.equal(torch.cat([fitted for _, fitted in tokenizer.fitted([video])], dim=2), padded)


@pytest.mark.parametrize("latents_at_once", [1, 3, 100])
def test_pieces_change_nothing(tokenizer, latents_at_once):
    videos = random_videos()
    clips = tokenizer.encode_clips(videos)
    for video, clip, decoded in zip(videos, clips, tokenizer.decode_clips(clips), strict=True):
        piecewise = encode_pieces(tokenizer, video.split(4 * latents_at_once, dim=1))
        assert torch.equal(piecewise.codes_THW, clip.codes_THW)
        assert (piecewise.num_frames, piecewise.height, piecewise.width) == video.shape[1:]
        again = torch.cat(list(decode_pieces(tokenizer, clip)), dim=1)
        torch.testing.assert_close(again, decoded, atol=1e-5, rtol=0)


def test_clips_that_have_ended_cost_nothing(tokenizer, monkeypatch):
    """Latent frames encoded are those that the clips have, padding to the longest excluded."""
    encoded = []
    encode = tokenizer.encoder.forward

    def counting(video, past):
        latents, after = encode(video, past)
        encoded.append(latents.shape[0] * latents.shape[1])
        return latents, after

    monkeypatch.setattr(tokenizer.encoder, "forward", counting)
    tokenizer.encode_clips(random_videos([(29, 8, 8), (157, 8, 8), (29, 8, 8)]))
    assert sum(encoded) == 8 + 40 + 8


@pytest.mark.parametrize(
    "video, said",
    [
        (torch.zeros(3, 0, 8, 8), r"video 1 is torch.float32 of shape \(3, 0, 8, 8\); give floating point"),
        (torch.zeros(1, 3, 1, 8, 8), "video 1"),
        (torch.zeros(3, 5, 8, 8).numpy(), "video 1 is a ndarray"),
        (torch.zeros(3, 1, 8, 8, dtype=torch.uint8), "torch.uint8"),
        (torch.full((3, 1, 8, 8), 2.0), "span .* to 2, but"),
    ],
)
def test_what_is_no_video_is_refused(tokenizer, video, said):
    with pytest.raises(ValueError, match=said):
        tokenizer.encode_clips([torch.zeros(3, 1, 8, 8), video])


@pytest.mark.parametrize(
    "change", [{"num_frames": 6}, {"num_frames": 1}, {"height": 17}, {"width": 8}, {"width": 0}, {"num_frames": 0}]
)
def test_codes_that_do_not_fit_their_size_are_refused(tokenizer, change):
    (clip,) = tokenizer.encode_clips(random_videos([(5, 16, 16)]))
    with pytest.raises(ValueError, match="clip 0 has codes of shape"):
        tokenizer.decode_clips([dataclasses.replace(clip, **change)])


def test_no_clips_are_none_and_a_batch_of_none_is_refused(tokenizer):
    assert tokenizer.encode_clips([]) == [] == tokenizer.decode_clips([])
    with pytest.raises(ValueError, match="batch_size is 0"):
        tokenizer.encode_clips(random_videos([(1, 8, 8)]), 0)
