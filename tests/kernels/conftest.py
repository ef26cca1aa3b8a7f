"""bfloat16 in Triton's interpreter, which otherwise takes its bits for integers and says nothing."""

import numpy as np
import pytest
import torch
import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle


@pytest.fixture(autouse=True)
def bfloat16_in_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products and casts computed as a GPU does, rounding to nearest even; all else is refused."""
    dot, cast, to_fp = InterpreterBuilder.create_dot, InterpreterBuilder.cast_impl, InterpreterBuilder.create_fp_to_fp

    def widened(x: TensorHandle) -> TensorHandle:
        if x.dtype.scalar != tl.bfloat16:
            return x
        return TensorHandle((x.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    def narrowed(x: TensorHandle) -> TensorHandle:
        rounded = torch.from_numpy(np.ascontiguousarray(x.data, np.float32)).bfloat16()
        return TensorHandle(rounded.view(torch.uint16).numpy(), tl.bfloat16)

    def create_dot(self, a, b, d, *settings):
        return dot(self, widened(a), widened(b), d, *settings)

    def cast_impl(self, x, dtype):
        return narrowed(x) if dtype.scalar == tl.bfloat16 else cast(self, widened(x), dtype)

    def create_fp_to_fp(self, x, dtype, rounding):
        return narrowed(x) if dtype.scalar == tl.bfloat16 else to_fp(self, widened(x), dtype, rounding)

    monkeypatch.setattr(InterpreterBuilder, "create_dot", create_dot)
    monkeypatch.setattr(InterpreterBuilder, "cast_impl", cast_impl)
    monkeypatch.setattr(InterpreterBuilder, "create_fp_to_fp", create_fp_to_fp)
    for name in ("binary_op", "unary_op", "ternary_op"):
        compute = getattr(InterpreterBuilder, name)

        def refusing(self, x, *rest, compute=compute):
            assert x.dtype.scalar != tl.bfloat16, "the interpreter cannot compute in bfloat16"
            return compute(self, x, *rest)

        monkeypatch.setattr(InterpreterBuilder, name, refusing)
