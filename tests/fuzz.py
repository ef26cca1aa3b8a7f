"""Mutated files of every kind: each is read, or refused in one line that names it.

    python tests/fuzz.py                                 # 10,000 inputs
    python tests/fuzz.py --count 300 --kinds webp csv    # fewer, of these kinds
    python tests/fuzz.py --only 4711 --keep found        # one of them once more, and keep the file

An input is a function of the seed and its number alone. Found out, and printed, is whatever raises anything but
ValueError or OSError, a message of several lines or one that does not name the file, a crash, more than 20 seconds,
more than 2 GiB, and an output that is there although the input was refused. Exit code 1 if anything is.
"""

import argparse
import json
import os
import random
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

SAVED = Path(__file__).with_name("saved_by_0_1")
MOST_SECONDS, MOST_BYTES = 20.0, 2 * 2**30  # for one use of an input
ALIVE = "alive"
"""A worker's line between two uses."""
FRAMES, HEIGHT, WIDTH = 6, 32, 48
MOVIES, PICTURES = ("mp4", "webm", "avi", "gif", "webp"), ("png", "jpg", "bmp", "tif", "avif")
CAPTIONS = ["a red circle", 'she said "go", then left', "zwei\nZeilen", "红色的圆", "", "a; b\tc"]
TEXT = {"csv", "tsv", "jsonl", "txt", "yaml", "json"}
ODD_TEXT = ["\u2028", "\x85", "\f", "\0", '"', ",", ";", "\t", "\r", "\n", "\ufeff", "null", "1e999", "-1", "{", "[[[["]
ODD_NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


class Sample(NamedTuple):
    """What is mutated: a file, or one file of a folder; and what is then done with the whole."""

    whole: Path
    mutated: Path
    use: Callable[[Path, Path], None]  # the whole, and a folder for outputs


def mutate(data: bytes, draw: random.Random, *, is_text: bool) -> bytes:
    """One change or a few, of the kinds that discs, networks and other programs make."""
    found = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        place = draw.randrange(len(found) + 1)
        if draw.random() < 0.5:  # headers matter more than what is in the middle
            place = min(place, draw.randrange(64))
        length = min(draw.choice((1, 2, 4, 8, 64, 1024)), len(found) - place)
        change = draw.randrange(8)
        if is_text and change < 4:
            found[place : place + draw.choice((0, 1))] = draw.choice(ODD_TEXT).encode()
        elif change == 0:
            del found[place:]
        elif change == 1:
            del found[place : place + length]
        elif change == 2:
            found[place:place] = found[place : place + length]
        elif change == 3:
            found[place : place + length] = bytes(length)
        elif change == 4:
            found[place : place + length] = draw.randbytes(length)
        elif change == 5:
            size, order = draw.choice((1, 2, 4, 8)), draw.choice(("big", "little"))
            number = draw.choice(ODD_NUMBERS) & (256**size - 1)
            found[place : place + size] = number.to_bytes(size, order)
        elif change == 6 and place < len(found):
            found[place] ^= 1 << draw.randrange(8)
        else:
            found += draw.randbytes(length)
    return bytes(found)


class Corpus:
    """Sound samples by kind, written once into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def samples(self) -> dict[str, list[Sample]]:
        """All of them. Files of models, shards and runs are those of the last version, which stand in the tests."""
        found: dict[str, list[Sample]] = {}
        for kind in (*MOVIES, *PICTURES):
            clip = self._clip(kind)
            found[kind] = [Sample(clip, clip, use_clip)]
        for kind in ("csv", "tsv", "jsonl", "parquet", "txt", "tar"):
            folder = self._folder(kind)
            tables = [path for path in folder.iterdir() if path.suffix == f".{kind}"]
            found[kind] = [Sample(folder, table, use_folder) for table in tables]
        for kind, place, use in (
            ("tokenizer", "tokenizer-run/pretrained", use_tokenizer),
            ("model", "run/pretrained", use_model),
            ("shards", "shards", use_shards),
            ("clip codes", "clip-codes", inspect),
        ):
            files = [path for path in sorted((SAVED / place).rglob("*")) if path.is_file()]
            found[kind] = [Sample(SAVED / place, path, use) for path in files]
        for kind, name in (("checkpoint", "checkpoints/last.ckpt"), ("run configuration", "config.yaml")):
            files = [SAVED / run / name for run in ("run", "tokenizer-run")]
            found[kind] = [Sample(path, path, use_checkpoint if kind == "checkpoint" else use_config) for path in files]
        return found

    def _clip(self, kind: str) -> Path:
        import torch
        from PIL import Image

        from videogpt_tokenizer.clips.clip import Clip

        path = self.folder / f"clip.{kind}"
        noise = torch.randint(0, 256, (FRAMES, 4, 6, 3), generator=torch.Generator().manual_seed(0))
        frames_THWC = noise.repeat_interleave(HEIGHT // 4, 1).repeat_interleave(WIDTH // 6, 2).to(torch.uint8)
        if kind in MOVIES:
            Clip(frames_THWC, 8).write(path)
        else:
            Image.fromarray(frames_THWC[0].numpy()).save(path)
        return path

    def _folder(self, kind: str) -> Path:
        """Clips with captions in one of the forms."""
        import csv

        folder = self.folder / kind
        folder.mkdir()
        names = [f"{index}.png" for index in range(len(CAPTIONS))]
        for name in names:
            shutil.copy(self._clip("png"), folder / name)
        rows = list(zip(names, CAPTIONS, strict=True))
        table = folder / f"metadata.{kind}"
        if kind in ("csv", "tsv"):
            with table.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file, delimiter="," if kind == "csv" else "\t").writerows([("file_name", "caption"), *rows])
        elif kind == "jsonl":
            lines = [json.dumps({"file_name": name, "caption": caption}) + "\n" for name, caption in rows]
            table.write_text("".join(lines), encoding="utf-8")
        elif kind == "parquet":
            import pyarrow
            from pyarrow import parquet

            parquet.write_table(pyarrow.table({"file_name": names, "caption": CAPTIONS}), table)
        else:
            for name, caption in rows:
                (folder / name).with_suffix(".txt").write_text(caption, encoding="utf-8")
        if kind == "tar":
            import tarfile

            with tarfile.open(folder / "0000.tar", "w") as tar:
                for path in sorted(folder.glob("?.*")):
                    tar.add(path, path.name)
                    path.unlink()
        return folder


def use_clip(path: Path, outputs: Path) -> None:
    """Read in each way, and write in pieces what was read in pieces."""
    from videogpt_tokenizer.clips.clip import Clip

    for read in (
        lambda: Clip.read(path),
        lambda: Clip.read(path, size=16, fps=4, num_frames=3),
        lambda: Clip.read(path, size=16, start=0.3),
        lambda: inspect(path, outputs),
    ):
        with suppress(ValueError, OSError), checked_messages(path):
            read()
        print(ALIVE, flush=True)
    Clip.write_pieces(outputs / "again.avi", Clip.read_pieces(path, 4, size=16))


def use_folder(path: Path, outputs: Path) -> None:
    """Find the clips and their captions, read the first, describe all."""
    from videogpt_tokenizer.clips.clip import Clip
    from videogpt_tokenizer.clips.folder import ClipFolder

    records = ClipFolder(path)
    assert all(isinstance(record.caption, str) for record in records)
    inspect(path, outputs)
    Clip.read(records[0].path, num_frames=1)


def use_tokenizer(path: Path, outputs: Path) -> None:
    from videogpt_tokenizer import VideoTokenizer

    VideoTokenizer.from_pretrained(path).save_pretrained(outputs / "tokenizer")
    inspect(path, outputs)


def use_model(path: Path, outputs: Path) -> None:
    from videogpt import Pipeline

    Pipeline.from_pretrained(path, device="cpu").save_pretrained(outputs / "model")
    inspect(path, outputs)


def use_shards(path: Path, outputs: Path) -> None:
    from videogpt.tokens.reader import TokenShardReader

    reader = TokenShardReader(path)
    for index in range(len(reader)):
        reader[index]
    inspect(path, outputs)


def use_checkpoint(path: Path, outputs: Path) -> None:
    from videogpt.runs.resume import read_checkpoint

    read_checkpoint(path)
    inspect(path, outputs)


def use_config(path: Path, outputs: Path) -> None:
    from videogpt.runs.config_errors import check_config_files

    check_config_files(["--config", str(path)])


def inspect(path: Path, outputs: Path) -> None:
    from videogpt.inspection.inspect import inspect_path

    inspect_path(path)


@contextmanager
def checked_messages(path: Path) -> Iterator[None]:
    """AssertionError where a refusal in here is not one line that names the file."""
    try:
        yield
    except (ValueError, OSError) as error:
        message = str(error)
        assert "\n" not in message.strip() and len(message) < 2000, f"not one line: {message!r}"
        assert path.name in message, f"does not name {path.name}: {message!r}"
        raise


def samples_of(corpus: Corpus, kinds: list[str]) -> list[tuple[str, Sample]]:
    """Every kind as often as any other, whatever the number of its files."""
    chosen = {kind: corpus.samples[kind] for kind in kinds or corpus.samples}
    most = max(map(len, chosen.values()))
    return [(kind, of_kind[turn % len(of_kind)]) for turn in range(most) for kind, of_kind in chosen.items()]


def try_one(sample: Sample, seed: int, index: int, folder: Path, keep: Path | None) -> str:
    """Make the input in an empty folder and use it; `read`, or the message of its refusal."""
    work, outputs = folder / sample.whole.name, folder / "outputs"
    outputs.mkdir()
    (shutil.copytree if sample.whole.is_dir() else shutil.copy)(sample.whole, work)
    mutated = work / sample.mutated.relative_to(sample.whole) if work.is_dir() else work
    draw = random.Random(f"{seed}/{index}")
    is_text = mutated.suffix[1:] in TEXT
    mutated.chmod(0o644)
    mutated.write_bytes(mutate(sample.mutated.read_bytes(), draw, is_text=is_text))
    if keep:  # now, as it may hang
        shutil.copytree(folder, keep / str(index), dirs_exist_ok=True)
    try:
        with checked_messages(work):
            sample.use(work, outputs)
    except (ValueError, OSError) as error:
        assert not any(outputs.iterdir()), f"refused, but {[path.name for path in outputs.iterdir()]} is there"
        return str(error)
    assert not [path for path in outputs.iterdir() if path.name.startswith(".")], "a hidden file is left"
    return "read"


def work(seed: int, kinds: list[str], keep: Path | None) -> None:
    """Take numbers of inputs from standard input, and print a line of JSON for each."""
    import resource

    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "corpus").mkdir()
        samples = samples_of(Corpus(Path(place) / "corpus"), kinds)
        print(json.dumps({"samples": len(samples)}), flush=True)
        for line in sys.stdin:
            index = int(line)
            kind, sample = samples[index % len(samples)]
            folder = Path(place) / str(index)
            folder.mkdir()
            before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
            found = {"index": index, "kind": kind, "file": sample.mutated.name}
            try:
                found["outcome"] = try_one(sample, seed, index, folder, keep)
            except BaseException as error:
                found["fault"] = "".join(traceback.format_exception(error)[-3:])
            more = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
            if more > MOST_BYTES:
                found["fault"] = f"took {more / 2**30:.1f} GiB"
            shutil.rmtree(folder)
            print(json.dumps({**found, "seconds": time.monotonic() - began}), flush=True)


class Worker:
    """A process that tries inputs; another takes its place when it hangs or crashes."""

    def __init__(self, arguments: list[str]) -> None:
        self._arguments = arguments
        self._process: Any = None

    def try_one(self, index: int) -> dict[str, Any]:
        """What became of one input."""
        if self._process is None:
            command = [sys.executable, __file__, *self._arguments, "--worker"]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            # Without buffers: a line in one could not be waited for.
            self._process = subprocess.Popen(command, bufsize=0, env=environment, **pipes)
            self._process.stdout.readline()
        self._process.stdin.write(f"{index}\n".encode())
        alive = line = f"{ALIVE}\n".encode()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while line == alive and (answered := selector.select(MOST_SECONDS)):
                line = self._process.stdout.readline()
        if answered and line:
            return json.loads(line)
        fault = f"hung for {MOST_SECONDS:g} s" if not answered else f"crashed with {self._process.wait()}"
        self.stop()
        return {"index": index, "fault": fault, "seconds": MOST_SECONDS}

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def tried(count: int, seed: int = 0, kinds: list[str] | None = None, start: int = 0, keep: str = "") -> Iterator[dict]:
    """What became of `count` inputs, one after another."""
    worker = Worker(["--seed", str(seed), "--kinds", *(kinds or []), *(["--keep", keep] if keep else [])])
    try:
        for index in range(start, start + count):
            yield worker.try_one(index)
    finally:
        worker.stop()


def main() -> int:
    """Try all, and print what was found out and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", default=[], help="all, unless given")
    parser.add_argument("--only", type=int, help="this input alone")
    parser.add_argument("--keep", default="", help="keep the inputs in this folder")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        with suppress(KeyboardInterrupt):
            work(arguments.seed, arguments.kinds, Path(arguments.keep) if arguments.keep else None)
        return 0
    table: dict[str, dict[str, int]] = {}
    slowest: dict[str, Any] = {"seconds": 0}
    only = {"count": 1, "start": arguments.only} if arguments.only is not None else {"count": arguments.count}
    for found in tried(**only, seed=arguments.seed, kinds=arguments.kinds, keep=arguments.keep):
        outcome = "fault" if "fault" in found else "read" if found["outcome"] == "read" else "refused"
        row = table.setdefault(found.get("kind", "?"), {"read": 0, "refused": 0, "fault": 0})
        row[outcome] += 1
        slowest = max(slowest, found, key=lambda one: one["seconds"])
        if outcome == "fault" or arguments.only is not None:
            print(json.dumps(found), flush=True)
    for kind, row in sorted(table.items()):
        print(f"{kind:20} {row['read']:6} read {row['refused']:6} refused {row['fault']:6} faults")
    print(f"slowest: input {slowest.get('index')}, {slowest['seconds']:.1f} s")
    return int(any(row["fault"] for row in table.values()))


if __name__ == "__main__":
    sys.exit(main())
