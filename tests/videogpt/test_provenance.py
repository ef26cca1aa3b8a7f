"""What files say of where they come from: true, in a fixed order, and silent on what is not installed."""

import platform
import re

import pytest
import torch

from videogpt.provenance import commit, hardware, versions


def test_versions_are_those_installed():
    found = versions("torch", "python", "no-such-distribution")
    assert list(found) == ["torch", "python"] and found["python"] == platform.python_version()
    assert torch.__version__.startswith(found["torch"].partition("+")[0])


def test_the_machine_and_the_commit():
    machine = hardware()
    assert list(machine) == ["cpu", "cores", "threads", "gpus"] and machine["threads"] == torch.get_num_threads()
    assert len(machine["gpus"]) == torch.cuda.device_count() and machine["cpu"]
    assert all(re.fullmatch("[0-9a-f]{7,40}", digits) for digits in commit().values())


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    assert commit() == {}
