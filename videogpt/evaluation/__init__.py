"""Figures that carry their protocol: reports, scores of tokenizer and model, caption following."""

from videogpt.evaluation.evaluate import evaluate
from videogpt.evaluation.report import Report

__all__ = ["Report", "evaluate"]
