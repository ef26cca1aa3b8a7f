"""What each part of the tokenizer's training recipe is worth: the same short training with and without it.

    python benchmarks/recipe.py [--quick] [--output FILE.json]
    python benchmarks/recipe.py --clips FOLDER --unseen-column repo --steps 1200 [--only plain perceptual]
    python benchmarks/recipe.py --clips FOLDER --unseen-column repo --steps 1200 --second-stage natural

Every training sees the same clips in the same order from the same seed; `plain` is the rival of all others. Measured on
clips not trained on: fidelity; `contrast`, the distance of local contrasts; `detail`, the energy between neighbouring
pixels as a share of the original's (1 is as sharp); and what a code costs, in bits under a small causal model
(`CodePrior`) that is trained anew on the finished codes, the same for all. With --second-stage the decoder alone of a
finished tokenizer is trained, and what it was before is the rival; codes stay as they are. A ratio above 1 is in our
favour. One seed: small differences are noise.
"""

import logging
import multiprocessing
import os
import statistics
import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import torch
import torch.nn.functional as F
from _code_prior import bits_per_code
from _program import command, options, publish
from torch import Tensor

from videogpt.evaluation.report import Report
from videogpt.worlds.shapes.world import ShapesWorld
from videogpt_tokenizer.data.batches import ClipDataModule
from videogpt_tokenizer.data.mixture import ClipMixture
from videogpt_tokenizer.metrics import codebook_use, psnr, ssim
from videogpt_tokenizer.network.autoencoder import AutoencoderConfig
from videogpt_tokenizer.optim.configure import OptimizerConfig
from videogpt_tokenizer.quantizers.config import QuantizerConfig
from videogpt_tokenizer.training.adversarial import AdversarialConfig
from videogpt_tokenizer.training.code_prior import PriorConfig
from videogpt_tokenizer.training.losses import LossConfig
from videogpt_tokenizer.training.perceptual import NormalizedLaplacian
from videogpt_tokenizer.training.reconstruction import TokenizerTraining
from videogpt_tokenizer.video_tokenizer import TokenizerConfig, VideoTokenizer

# B batch, C colours, T frames, H/W height and width, N frames, V codebook size

LEVELS = (8, 8, 8, 8)
LEARNING_RATE = {"muon": 4e-3, "adamw": 2e-3}
SECOND_STAGE_RATE = 3e-4
PROTOCOL = (
    "{steps} steps of {batch} windows of 17 frames of 64 x 64 out of {clips} clips, {what}, seed 0; figures on "
    "{unseen} clips not trained on, averaged weights; two trainings at a time, one thread each"
)
FIRST_STAGE = (
    f"levels {LEVELS}, 1.2M parameters, Muon; bits of a code by a CodePrior trained {{prior_steps}} steps on finished "
    "codes; the adversarial term in the second half"
)
SECOND_STAGE = "the decoder of {start_from} alone, AdamW; the adversarial term rises over the first quarter"
BEFORE = "before"
UNITS = {"PSNR": "dB", "temporal PSNR": "dB", "codebook use": "%", "bits": "bits per code"}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "adversarial": {"adversarial": True},
    "perceptual": {"loss": LossConfig(perceptual=0.1)},
    "adversarial and perceptual": {"adversarial": True, "loss": LossConfig(perceptual=0.1)},
    "prior, weight 0.003": {"prior": PriorConfig(weight=0.003)},
    "prior, weight 0.01": {"prior": PriorConfig(weight=0.01)},
    "commitment 0.05": {"commitment": 0.05},
    "no temporal term": {"loss": LossConfig(temporal=0.0)},
    "no coarse term": {"loss": LossConfig(coarse=0.0)},
    "one batch in three of images": {"images": True},
    "AdamW": {"optimizer": "adamw"},
}


class _Setting(NamedTuple):
    """What is the same for all."""

    folder: str
    column: str | None
    steps: int
    batch: int
    prior_steps: int
    start_from: str | None
    """The tokenizer whose decoder is trained; None for whole tokenizers from nothing."""


def train(setting: _Setting, changes: dict[str, Any]) -> TokenizerTraining:
    """One training of the recipe with these changes."""
    lightning.seed_everything(0, verbose=False)
    steps, adversarial, tokenizer = setting.steps, None, None
    if setting.start_from:
        kind, rate, start, ramp = "adamw", SECOND_STAGE_RATE, 0, steps // 4
    else:
        kind = changes.get("optimizer", "muon")
        rate, start, ramp = LEARNING_RATE[kind], steps // 2, steps // 8
        quantizer = QuantizerConfig(levels=LEVELS, commitment=changes.get("commitment", 0.0))
        tokenizer = TokenizerConfig(autoencoder=AutoencoderConfig(encoder_context="wide"), quantizer=quantizer)
    if changes.get("adversarial"):
        adversarial = AdversarialConfig(start_step=start, ramp_steps=ramp)
    module = TokenizerTraining(
        tokenizer=tokenizer,
        start_from=setting.start_from,
        trains="decoder" if setting.start_from else "all",
        optimizer=OptimizerConfig(kind=kind, learning_rate=rate, warmup_steps=50, ema_decay=0.995),
        loss=changes.get("loss"),
        adversarial=adversarial,
        prior=changes.get("prior"),
    )
    parts, weights = [clip_data(setting, num_frames=17)], [2.0]
    if changes.get("images"):
        images = clip_data(setting._replace(batch=5 * setting.batch), num_frames=1)
        parts, weights = [*parts, images], [2.0, 1.0]
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    limits = {"max_steps": setting.steps, "gradient_clip_val": 1.0, "limit_val_batches": 0}
    trainer = lightning.Trainer(accelerator="cpu", enable_checkpointing=False, **limits, **quiet)
    trainer.fit(module, datamodule=ClipMixture(parts, weights))
    return module


def clip_data(setting: _Setting, num_frames: int) -> ClipDataModule:
    split = {"validation_column": setting.column, "validation_fraction": 0.2}
    window = {"num_frames": num_frames, "size": 64, "crop_margin": 64 if setting.column else 0, "flip": True}
    return ClipDataModule(setting.folder, **split, **window, batch_size=setting.batch)


@torch.no_grad()
def measure(tokenizer: VideoTokenizer, films: ClipDataModule) -> dict[str, float]:
    """Fidelity, sharpness and codebook use on clips not trained on."""
    figures: dict[str, list[float]] = {"PSNR": [], "SSIM": [], "temporal PSNR": [], "contrast": []}
    counts_V, contrast = torch.zeros(tokenizer.codebook_size, dtype=torch.long), NormalizedLaplacian()
    detail, wanted_detail = 0.0, 0.0
    for batch in films.val_dataloader():
        target = batch["video"]
        codes_BTHW = tokenizer.encode(target)
        video = tokenizer.decode(codes_BTHW)
        counts_V += torch.bincount(codes_BTHW.flatten(), minlength=len(counts_V))
        figures["PSNR"] += psnr(video, target).tolist()
        figures["SSIM"] += ssim(video, target).tolist()
        figures["temporal PSNR"] += psnr(video.diff(dim=2), target.diff(dim=2)).tolist()
        for found, wanted in zip(video.transpose(1, 2), target.transpose(1, 2), strict=True):
            figures["contrast"].append(float(contrast(found, wanted)))
            detail, wanted_detail = detail + fine_energy(found), wanted_detail + fine_energy(wanted)
    return {
        **{name: statistics.mean(values) for name, values in figures.items()},
        "detail": detail / wanted_detail,
        "codebook use": 100 * codebook_use(counts_V).share,
    }


def fine_energy(frames_NCHW: Tensor) -> float:
    """Energy of what differs from the neighbours."""
    return float((frames_NCHW - F.avg_pool2d(frames_NCHW, 3, 1, 1, count_include_pad=False)).square().sum())


def write_shapes(folder: Path, clips: int) -> None:
    world = ShapesWorld()
    for index in range(clips):
        world.render(world.scene(0, index)).write(folder / f"{index:04}.mp4")


def worth(name: str, setting: _Setting) -> dict[str, float]:
    """All figures of one variant; quiet, as it runs beside others."""
    torch.set_num_threads(1)
    for part in ("pytorch", "fabric"):
        logging.getLogger(f"lightning.{part}").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore")
    films = clip_data(setting, num_frames=17)
    if name == BEFORE:
        return measure(VideoTokenizer.from_pretrained(str(setting.start_from)), films)
    tokenizer = train(setting, VARIANTS[name]).averaged_tokenizer
    if setting.start_from:
        return measure(tokenizer, films)
    bits = bits_per_code(tokenizer, films.train_dataloader(), films.val_dataloader(), setting.prior_steps)
    return measure(tokenizer, films) | {"bits": bits}


def main() -> None:
    parser = options(__doc__, quick="three variants, few steps: only that it runs")
    parser.add_argument("--clips", metavar="FOLDER", help="clips to train on (the shapes world)")
    parser.add_argument("--unseen-column", metavar="NAME", help="column of the metadata that keeps sources on one side")
    parser.add_argument("--steps", type=int, default=1200, metavar="N", help="steps of each training (1200)")
    parser.add_argument("--second-stage", metavar="DIR|NAME", help="train the decoder of this tokenizer alone")
    names = ", ".join(map(repr, VARIANTS))
    parser.add_argument("--only", nargs="+", choices=VARIANTS, metavar="NAME", help=f"of {names}")
    args = parser.parse_args()
    if args.second_stage:
        names = [BEFORE, *(args.only or ("plain", "perceptual", "adversarial", "adversarial and perceptual"))]
    else:
        names = args.only or (["plain", "adversarial", "prior, weight 0.01"] if args.quick else list(VARIANTS))
    steps, batch, prior_steps = (6, 2, 6) if args.quick else (args.steps, 8, max(1, args.steps // 3))
    with tempfile.TemporaryDirectory() as made:
        if not args.clips:
            write_shapes(Path(made), 24 if args.quick else 400)
        setting = _Setting(args.clips or made, args.unseen_column, steps, batch, prior_steps, args.second_stage)
        films = clip_data(setting, num_frames=17)
        sizes = {"clips": len(films.training), "unseen": len(films.validation)}
        stage = (SECOND_STAGE if args.second_stage else FIRST_STAGE).format(**setting._asdict())
        what = PROTOCOL.format(steps=steps, batch=batch, what=stage, **sizes)
        report = Report.start(command(), {"what": what})
        # One core for each: two trainings side by side take less time than one after the other on both.
        with multiprocessing.get_context("spawn").Pool(min(2, os.cpu_count() or 1)) as pool:
            running = {name: pool.apply_async(worth, (name, setting)) for name in names}
            first = running[names[0]].get()
            for name, result in running.items():
                for figure, value in result.get().items():
                    compared = {} if name == names[0] else {"rival": names[0], "rival_value": first[figure]}
                    less = figure in ("contrast", "bits")
                    report.add(f"{name}: {figure}", value, UNITS.get(figure, ""), lower_is_better=less, **compared)
                if args.output:
                    report.write(args.output)
    publish(report, args.output)


if __name__ == "__main__":
    main()
