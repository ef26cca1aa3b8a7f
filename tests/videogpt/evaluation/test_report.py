"""Reports say where their figures come from, and how they compare."""

import json

import pytest

from videogpt.evaluation import Report


def test_a_report_carries_its_protocol(tmp_path):
    report = Report.start("some command", protocol={"clips": 3})
    report.add("time", 2.0, "s", rival="eager", rival_value=3.0)
    report.add("rate", 2.0, "1/s", rival="eager", rival_value=3.0, lower_is_better=False)
    report.add("misses", 0.0, "%", rival="eager", rival_value=3.0)
    report.write(tmp_path / "new" / "report.json")
    content = json.loads((tmp_path / "new" / "report.json").read_text())
    assert set(content) == {"command", "hardware", "versions", "protocol", "rows"}
    assert content["rows"][0]["ratio"] == pytest.approx(1.5) and content["rows"][1]["ratio"] == pytest.approx(2 / 3)
    assert content["rows"][2]["ratio"] is None
    assert content["hardware"]["cores"] and content["versions"]["torch"]
    assert "| time | 2 s | eager: 3 s | 1.50 |" in report.table()
