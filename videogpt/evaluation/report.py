"""Reports: figures that carry the command, the machine, the versions and the protocol they came from.

report = Report.start("evaluate --model shapes", protocol={"clips": 200, "seed": 1})
report.add("psnr", 35.2, "dB")
report.add("sample", 1.4, "s", rival="eager", rival_value=2.8)
report.write(Path("result.json"))
print(report.table())
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from videogpt.provenance import commit, hardware, versions
from videogpt_tokenizer.files.replacing import write_whole

SOFTWARE = ("python", "videogpt-lm", "torch", "triton", "lightning", "av", "sentencepiece")


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
        return cls(command=command, hardware=hardware(), versions=versions(*SOFTWARE) | commit(), protocol=protocol)

    def add(
        self,
        name: str,
        value: float,
        unit: str,
        *,
        rival: str | None = None,
        rival_value: float | None = None,
        lower_is_better: bool = True,
    ) -> None:
        """Add a figure; against a rival the ratio is worked out."""
        ratio = None
        if rival_value is not None:
            above, below = (rival_value, value) if lower_is_better else (value, rival_value)
            ratio = above / below if below else None
        self.rows.append(Row(name=name, value=value, unit=unit, rival=rival, rival_value=rival_value, ratio=ratio))

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
        """Write as JSON, what is no number as null; folders are made, an older report is replaced."""
        path.parent.mkdir(parents=True, exist_ok=True)
        plain = json.loads(json.dumps(asdict(self)), parse_constant=lambda _: None)  # JSON knows no NaN
        text = json.dumps(plain, indent=2, ensure_ascii=False) + "\n"
        # What of a file's name is no text becomes an escape that JSON knows.
        write_whole(path, text.encode("utf-8", "backslashreplace").decode("utf-8"))
