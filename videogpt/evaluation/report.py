"""Reports: figures that carry the command, the machine, the versions and the protocol they came from.

    report = Report.start("evaluate --model shapes", protocol={"clips": 200, "seed": 1})
    report.add("psnr", 35.2, "dB")
    report.add("sample", 1.4, "s", rival="eager", rival_value=2.8)
    report.write(Path("result.json")); print(report.table())

A figure without these is hearsay; nothing in this project prints one.
"""

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from videogpt_tokenizer.files.replacing import write_whole

LIBRARIES = ("videogpt-lm", "torch", "triton", "lightning", "av", "sentencepiece")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure; in a comparison also the rival's, and how many times better ours is."""

    name: str
    value: float
    unit: str
    rival: str | None = None
    rival_value: float | None = None
    ratio: float | None = None
    """Above 1 is in our favour."""


@dataclass(kw_only=True)
class Report:
    """Rows and where they come from."""

    command: str
    hardware: dict[str, Any]
    versions: dict[str, str]
    protocol: dict[str, Any]
    rows: list[Row] = field(default_factory=list)

    @classmethod
    def start(cls, command: str, protocol: dict[str, Any]) -> "Report":
        """An empty report about this machine."""
        return cls(command=command, hardware=hardware(), versions=versions(), protocol=protocol)

    def add(
        self,
        name: str,
        value: float,
        unit: str,
        *,
        rival: str | None = None,
        rival_value: float | None = None,
        lower_is_better: bool = True,
    ) -> Row:
        """Add a figure; against a rival the ratio is worked out."""
        ratio = None
        if rival_value is not None:
            ratio = rival_value / value if lower_is_better else value / rival_value
        row = Row(name=name, value=value, unit=unit, rival=rival, rival_value=rival_value, ratio=ratio)
        self.rows.append(row)
        return row

    def table(self) -> str:
        """The rows as a Markdown table."""
        compared = any(row.rival for row in self.rows)
        lines = ["| figure | value |" + (" rival | ratio |" if compared else "")]
        lines.append("|---|---|" + ("---|---|" if compared else ""))
        for row in self.rows:
            line = f"| {row.name} | {row.value:.4g} {row.unit} |"
            if compared:
                rival = f"{row.rival}: {row.rival_value:.4g} {row.unit}" if row.rival_value is not None else ""
                line += f" {rival} | {f'{row.ratio:.2f}' if row.ratio is not None else ''} |"
            lines.append(line)
        return "\n".join(lines)

    def write(self, path: Path) -> None:
        """Write as JSON; folders are made, an older report is replaced."""
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"
        write_whole(path, text)


def hardware() -> dict[str, Any]:
    """Processor, cores, threads and GPUs."""
    import torch

    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
    }


def versions() -> dict[str, str]:
    """Python, this project's commit where it is a checkout, and the libraries that figures depend on."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return found | ({"commit": commit.stdout.strip()} if commit.returncode == 0 else {})


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
