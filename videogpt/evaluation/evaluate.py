"""Measure a model: reconstruction, bits per token, continuation, caption following and speed.

    report = evaluate("shapes", num_clips=200)                   # on freshly generated clips of the shapes world
    report = evaluate("runs/mine/pretrained", data="my_clips")   # on a folder of captioned clips
    print(report.table())

Without a folder, two sets are generated with a seed that no training configuration uses: clips like those in training,
and clips whose combinations of shape and colour training never shows. Caption following is scored where pixels can
tell: in folders written by `videogpt world`.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videogpt.evaluation.caption_following import caption_following, find_world
from videogpt.evaluation.continuation import continuation
from videogpt.evaluation.infill import infill
from videogpt.evaluation.report import Report
from videogpt.evaluation.scores import bits_by_engine, bits_per_clip, encode_and_measure
from videogpt.pipeline.pipeline import Pipeline
from videogpt.sampling.engines.engines import EXACT
from videogpt.worlds.shapes.world import ShapesWorld
from videogpt.worlds.world import Split, World
from videogpt.worlds.writer import CRF, write_world
from videogpt_tokenizer.clips.folder import ClipFolder, ClipRecord
from videogpt_tokenizer.clips.skipped import MAX_BAD_SHARE, SkippedClips
from videogpt_tokenizer.metrics import SSIM_PROTOCOL, codebook_use

WORLD_SEED = 1_000_000
GENERATED: dict[str, Split] = {"unseen": "train", "held-out combinations": "held_out"}
"""The sets that are generated where no folder is given."""
TIMED_SAMPLES = 5
CONTEXT = 2
"""Latent frames of a clip that are given, where the model is to go on from them."""

Say = Callable[[str], None]


def evaluate(
    model: str | Path,
    *,
    data: str | Path | None = None,
    sheets: str | Path | None = None,
    num_clips: int = 200,
    seed: int = 0,
    max_bad_share: float = MAX_BAD_SHARE,
    device: str = "auto",
    lane: str = "auto",
    engine: str = "auto",
    command: str = "videogpt evaluate",
    say: Say = lambda _: None,
) -> Report:
    """Measure a model folder or a shipped model.

    Args:
        data: folder of captioned clips that training has not seen; None generates clips of the shapes world.
        sheets: folder of the sprite sheets, to score caption following on clips of the sprites world.
        num_clips: clips of each set that are measured and captions that are sampled, the first of the folder.
        seed: of the first sample; sample i has seed + i.
        max_bad_share: share of the clips that may be left out, since they are unreadable or too short.
        lane: how samples are drawn.
        engine: who runs the network for samples, and, where it is not exact, for bits beside those of the network.
        command: what the report says it came from.
        say: told what is being measured.

    Raises:
        ValueError: no such model or folder, too many clips cannot be used, `num_clips` is below 1, or
            `sheets` do not fit the clips.
    """
    if num_clips < 1:
        raise ValueError(f"clips is {num_clips}; it must be 1 or more")
    if sheets is not None and data is None:
        raise ValueError(f"sheets is {sheets}, but no data is given: name a folder of sprite clips as data, too")
    pipeline = Pipeline.from_pretrained(model, device=device, lane=lane, engine=engine)
    pipeline.model.task_for("text_to_video")  # bits, captions and times are of it
    protocol = {
        "model": pipeline.describe()["model"],
        "data": str(data) if data is not None else f"shapes world, seed {WORLD_SEED}, H.264 crf {CRF}",
        "clips_per_set": num_clips,
        "frames": pipeline.max_frames,
        "fps": pipeline.model.fps,
        "sampling": asdict(pipeline.model.sampling),
        "lane": lane,
        "engine": pipeline.engine().name,
        "seeds": f"{seed} + index of the clip",
        "psnr": "mean of the clips' PSNR, pixels in [0, 1], all frames",
        "PSNR of what follows or is filled in": "of the mean squared error over all clips, there alone",
        "SSIM": SSIM_PROTOCOL,
        "caption_following": "share of samples in which the world's checker reads what the caption says",
    }
    report = Report.start(command, protocol)
    for name, records, world in _sets(data, sheets, num_clips, say):
        say(f"reconstructing {len(records)} clips: {name}")
        bad = SkippedClips(len(records), max_bad_share)
        clips = encode_and_measure(pipeline, records, bad)
        if bad:
            say(f"left out {len(bad)} of {len(records)} clips: {bad.first_reasons()}")
            report.protocol[f"left out of {name}"] = [Path(skipped).name for skipped in bad.names]
        report.add(f"{name}: PSNR of the tokenizer", float(clips.psnr_B.mean()), "dB")
        report.add(f"{name}: SSIM of the tokenizer", float(clips.ssim_B.mean()), "")
        counts_V = torch.bincount(clips.codes_BTHW.flatten(), minlength=pipeline.model.tokenizer.codebook_size)
        use = codebook_use(counts_V)
        report.add(f"{name}: codebook in use", 100 * use.share, "%")
        report.add(f"{name}: codebook perplexity", use.perplexity, "codes")
        bits = bits_per_clip(pipeline, clips)
        report.add(f"{name}: bits per video token", bits / clips.codes_BTHW[0].numel(), "bits")
        if pipeline.engine().name not in EXACT:
            row = f"{name}: bits per video token by engine {pipeline.engine().name}"
            rival = {"rival": "the network", "rival_value": bits / clips.codes_BTHW[0].numel()}
            report.add(row, bits_by_engine(pipeline, clips) / clips.codes_BTHW[0].numel(), "bits", **rival)
        report.add(f"{name}: bits per pixel", bits / clips.pixels_per_clip, "bits")
        _add_given(report, pipeline, name, clips.records, seed, say)
        if world is not None:
            say(f"sampling {len(clips.records)} captions: {name}")
            for attribute, share in caption_following(pipeline, clips.records, world, seed).items():
                report.add(f"{name}: caption following, {attribute}", 100 * share, "%")
    say("timing single samples")
    report.add("seconds for one sample, model loaded", _seconds_per_sample(pipeline), "s")
    return report


def _add_given(report: Report, pipeline: Pipeline, name: str, records: list[ClipRecord], seed: int, say: Say) -> None:
    """Rows of what the model makes of clips that are given in part, as far as it can."""
    tokenizer, layout = pipeline.model.tokenizer, pipeline.model.task.config
    answers = {answer for task in pipeline.model.tasks for answer in task.answers}
    found: dict[str, tuple[str, Tensor, Tensor]] = {}
    # Of clips in which nothing moves copies are perfect, and a mean of PSNR would be about these.
    if "continuation" in answers and layout.latent_frames > CONTEXT:
        given = tokenizer.num_frames(CONTEXT)
        say(f"going on from the first {given} frames of {len(records)} clips: {name}")
        further = continuation(pipeline, records, given, seed)
        what = f"{given} frames given, PSNR of the next {tokenizer.time_stride}"
        found[what] = ("the last frame held", further.psnr_B, further.copied_B)
    if "infill" in answers and layout.latent_frames > 2 and layout.latent_width > 1:
        say(f"filling in {len(records)} clips: {name}")
        half, all_of_it = infill(pipeline, records, seed)
        what = "right half hidden but in the first and last latent frame, PSNR there"
        found[what] = ("nearest frame copied", half.psnr_B, half.rival_B)
        what = "first and last latent frame given, PSNR between them"
        found[what] = ("linear blending", all_of_it.psnr_B, all_of_it.rival_B)
    for what, (rival, psnr_B, rival_B) in found.items():
        against = {"rival": rival, "rival_value": _of_mean_error(rival_B)}
        report.add(f"{name}: {what}", _of_mean_error(psnr_B), "dB", lower_is_better=False, **against)


def _of_mean_error(psnr_B: Tensor) -> float:
    """PSNR of the mean squared error over all clips."""
    return float(-10 * (10 ** (-psnr_B.double() / 10)).mean().log10())


def _sets(
    data: str | Path | None, sheets: str | Path | None, num_clips: int, say: Say
) -> Iterator[tuple[str, list[ClipRecord], World[Any] | None]]:
    """The sets to measure on: their names, clips, and the world that can read samples of them."""
    if data is not None:
        clips = ClipFolder(data)
        if told := clips.left_aside():
            say(told)
        records = clips[:num_clips]
        yield Path(data).name, records, find_world(records, sheets)
        return
    for name, split in GENERATED.items():
        with tempfile.TemporaryDirectory() as folder:
            say(f"generating {num_clips} clips: {name}")
            for _ in write_world(folder, num_clips, seed=WORLD_SEED, split=split):
                pass
            yield name, list(ClipFolder(folder)), ShapesWorld()


def _seconds_per_sample(pipeline: Pipeline) -> float:
    """Median wall time from prompt to frames, one sample at a time."""
    seconds = []
    for seed in range(TIMED_SAMPLES):
        start = time.perf_counter()
        pipeline("a red circle moves left", seed=seed)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
