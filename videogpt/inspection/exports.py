"""Describes exports: folders that `videogpt export` has written for other programs.

    describe_export(Path("exported/onnx"))

Every file is held against its checksum. A file that is missing or altered is a fault; a manifest that is not complete
is refused.
"""

from pathlib import Path

from videogpt.inspection.found import Inspection
from videogpt_tokenizer.files.checksums import sha256_of
from videogpt_tokenizer.files.json_files import parse_json


def describe_export(path: Path) -> Inspection:
    """A folder with an exported video tokenizer."""
    manifest = parse_json((path / "manifest.json").read_text(encoding="utf-8"))
    try:
        tokenizer, sums = manifest["tokenizer"], {name: file["sha256"] for name, file in manifest["files"].items()}
        lines = [
            f"{path}: video tokenizer exported as {manifest['kind']}, {tokenizer['codebook_size']} codes",
            f"files: {', '.join(sums)}",
            f"fingerprint of its video tokenizer: {tokenizer['fingerprint']}",
        ]
        if any(Path(name).name != name for name in sums):
            raise ValueError("it names files elsewhere")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path / 'manifest.json'} is not complete ({error}): export the tokenizer again") from error
    missing = [name for name in sums if not (path / name).is_file()]
    altered = [name for name, sum_ in sums.items() if name not in missing and sha256_of(path / name) != sum_]
    faults = [f"{path / name} is missing" for name in missing]
    return Inspection(lines, faults + [f"{path / name} is truncated or altered" for name in altered])
