"""Checksums: those of the standard, and equal for equal models alone."""

import hashlib

import torch

from videogpt_tokenizer.files.checksums import fingerprint_of, sha256_of


def test_a_file_has_the_sum_of_its_bytes(tmp_path):
    content = bytes(range(256)) * 10_000
    (tmp_path / "it").write_bytes(content)
    assert sha256_of(tmp_path / "it") == hashlib.sha256(content).hexdigest()


def test_a_fingerprint_tells_models_apart_and_not_the_order_of_their_parts():
    settings, weights = {"width": 4, "depth": 2}, {"a": torch.ones(2), "b": torch.zeros(3)}
    same = fingerprint_of(dict(reversed(settings.items())), dict(reversed(weights.items())))
    assert fingerprint_of(settings, weights) == same
    others = [
        fingerprint_of(settings | {"width": 5}, weights),
        fingerprint_of(settings, weights | {"a": torch.zeros(2)}),
        fingerprint_of(settings, {"a": weights["a"], "c": weights["b"]}),
    ]
    assert len({same, *others}) == 4
