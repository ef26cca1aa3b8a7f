"""The one public door to attention over video tokens: checks inputs, chooses an implementation, says which.

    out_BHMD = attention(q_BHMD, k_BGND, v_BGND, visibility)                             # all rows: training
    out_BHMD = attention(q_BHMD, k_BGND, v_BGND, visibility, query_start=cache.length)   # the next: decoding

Every implementation gives the same result, up to rounding, forward and backward. Each choice is logged once,
at level INFO under "videogpt_kernels". Refuses inputs that do not fit together, naming the argument.
"""

import functools
import logging
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from videogpt_kernels.dispatch import why_not_triton
from videogpt_kernels.reference import reference_attention
from videogpt_kernels.row_blocks import row_blocks_attention, why_not_row_blocks
from videogpt_kernels.sdpa import sdpa_attention
from videogpt_kernels.visibility import Visibility

# B batch, H query heads, G key heads, M query rows, N key rows, D head dimension
logger = logging.getLogger("videogpt_kernels")
LEAST_ROWS = 16


def _triton_attention(*args: Any, **keywords: Any) -> Tensor:
    from videogpt_kernels.triton_attention import triton_attention

    return triton_attention(*args, **keywords)


IMPLEMENTATIONS: dict[str, Callable[..., Tensor]] = {
    "triton": _triton_attention,
    "row_blocks": row_blocks_attention,
    "sdpa": sdpa_attention,
    "reference": reference_attention,
}


def attention(
    q_BHMD: Tensor,
    k_BGND: Tensor,
    v_BGND: Tensor,
    visibility: Visibility,
    *,
    query_start: int = 0,
    scale: float | None = None,
    impl: str = "auto",
) -> Tensor:
    """softmax(scale * q k^T) v, over the keys that `visibility` shows to each query.

    Under autocast the inputs are cast as torch's own attention casts them. The result is never NaN for finite
    inputs: every row sees itself.

    Args:
        q_BHMD: queries of the rows query_start.. of each sequence; any strides, any floating dtype.
        k_BGND: keys of the rows 0..N-1, with N at least query_start + M. H is a multiple of G: query head h
            reads key head h // (H / G). Rows behind the last that any query can see are not read; among the
            others none may be NaN, seen or not.
        v_BGND: values of the same rows.
        visibility: who sees whom. Hand the same object to every layer of a step: the masks that some implementations
            need are built once per object.
        query_start: row of the first query.
        scale: factor on the scores; None is D ** -0.5.
        impl: "auto", or a name in `IMPLEMENTATIONS`.
    """
    device_type = q_BHMD.device.type
    autocast = torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type)
    if autocast and q_BHMD.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device_type)
        q_BHMD, k_BGND, v_BGND = q_BHMD.to(dtype), k_BGND.to(dtype), v_BGND.to(dtype)
    _check_attention(q_BHMD, k_BGND, v_BGND, visibility, query_start)
    end = visibility.key_slices(query_start, q_BHMD.shape[2], k_BGND.shape[2])[-1].stop
    k_BGND, v_BGND = k_BGND[:, :, :end], v_BGND[:, :, :end]  # what no row sees may be anything, NaN too
    run = IMPLEMENTATIONS[_choose(impl, q_BHMD, k_BGND, visibility)]
    scale = q_BHMD.shape[3] ** -0.5 if scale is None else scale
    with torch.autocast(device_type, enabled=False) if autocast else nullcontext():
        return run(q_BHMD, k_BGND, v_BGND, visibility, query_start=query_start, scale=scale)


def _choose(impl: str, q_BHMD: Tensor, k_BGND: Tensor, visibility: Visibility) -> str:
    if impl == "auto":
        impl, reason = _best(q_BHMD, k_BGND, visibility)
    elif impl in IMPLEMENTATIONS:
        reason = "it was asked for"
        why_not = why_not_triton(q_BHMD, visibility) if impl == "triton" else None
        if why_not:
            raise ValueError(f"impl is 'triton', which cannot run here: {why_not}; choose auto")
    else:
        raise ValueError(f"impl is {impl!r}; choose auto, {', '.join(IMPLEMENTATIONS)}")
    if not torch.compiler.is_compiling():
        _report(impl, reason)
    return impl


def _best(q_BHMD: Tensor, k_BGND: Tensor, visibility: Visibility) -> tuple[str, str]:
    """The implementation that is fastest for such inputs, and why it is taken."""
    if q_BHMD.device.type == "cuda":
        why_not = why_not_triton(q_BHMD, visibility)
        # The kernels work on whole tiles of 16-bit rows; for what is less, torch's own are at least as good.
        if not why_not and q_BHMD.dtype.itemsize > 2:
            why_not = f"q is {q_BHMD.dtype}"
        if not why_not and q_BHMD.shape[2] < LEAST_ROWS:
            why_not = f"there are fewer than {LEAST_ROWS} query rows"
        return ("sdpa", why_not) if why_not else ("triton", "the device is cuda")
    why_not = why_not_row_blocks(q_BHMD, k_BGND)
    return ("sdpa", why_not) if why_not else ("row_blocks", "several query rows on a CPU")


@functools.cache
def _report(impl: str, reason: str) -> None:
    logger.info("attention runs as %s: %s", impl, reason)


def _check_attention(q_BHMD: Tensor, k_BGND: Tensor, v_BGND: Tensor, visibility: Visibility, query_start: int) -> None:
    if q_BHMD.ndim != 4 or k_BGND.ndim != 4:
        raise ValueError(f"q, k have {q_BHMD.ndim}, {k_BGND.ndim} axes: give (batch, heads, rows, width)")
    (batch, heads, rows, width), (key_batch, key_heads, num_keys, key_width) = q_BHMD.shape, k_BGND.shape
    if v_BGND.shape != k_BGND.shape:
        raise ValueError(f"v is of shape {tuple(v_BGND.shape)}, k of {tuple(k_BGND.shape)}: they must be equal")
    if not batch == key_batch == visibility.batch:
        given = f"q, k, visibility are of batch {batch}, {key_batch}, {visibility.batch}"
        raise ValueError(f"{given}: give keys and documents for each sequence of queries")
    if key_width != width or width == 0:
        raise ValueError(f"q has heads of width {width}, k of {key_width}: they must be equal, and not 0")
    if key_heads == 0 or heads % key_heads:
        raise ValueError(f"q has {heads} heads, k has {key_heads}: give q a multiple of those of k")
    if rows == 0 or batch == 0:
        raise ValueError(f"q has {batch} sequences of {rows} rows: give at least 1 of each")
    if query_start < 0 or query_start + rows > num_keys:
        raise ValueError(
            f"query_start is {query_start} and q has {rows} rows, but k has {num_keys}: "
            "rows must start at 0 or later and the keys must reach to the last of them"
        )
    if not q_BHMD.dtype == k_BGND.dtype == v_BGND.dtype or not q_BHMD.is_floating_point():
        dtypes = f"{q_BHMD.dtype}, {k_BGND.dtype}, {v_BGND.dtype}"
        raise ValueError(f"q, k, v are {dtypes}: cast them to one floating dtype")
    if not q_BHMD.device == k_BGND.device == v_BGND.device == visibility.device:
        devices = f"{q_BHMD.device}, {k_BGND.device}, {v_BGND.device}, {visibility.device}"
        raise ValueError(f"q, k, v, visibility are on {devices}: move all to one device with their to()")
