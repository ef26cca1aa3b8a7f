"""Attention over video tokens: one public function and the small type that says who sees whom.

    from videogpt_kernels import Visibility, attention
    out_BHMD = attention(q_BHMD, k_BGND, v_BGND, visibility)

Triton is used where it can be, PyTorch elsewhere; importing this package needs neither Triton nor a GPU.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from videogpt_kernels.attention import attention
    from videogpt_kernels.visibility import Visibility

__all__ = ["Visibility", "attention"]

_HOME = {"Visibility": "visibility", "attention": "attention"}


def __getattr__(name: str) -> object:
    """Import a public name from its module at first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
