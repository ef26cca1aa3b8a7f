"""New rows made ready and put into the cache: QK-norm, rotary positions, and the keys and values in their slots.

    q_BHMD = write_cache(qkv_BMHD, gain_H, cos_BM1D, sin_BM1D, pool, step)

Takes what the model's projection gives and returns the queries for `decode_attention`. On CUDA one kernel does
all of it, quantisation to int8 included; elsewhere PyTorch does. Without gradients: they end at a cache.
"""

from torch import Tensor

from videogpt_kernels.dispatch import takes_triton, why_not_float32_triton
from videogpt_kernels.pool import LayerPool, Step, quantize
from videogpt_kernels.qk_rope import check_turns, qk_rope

# B sequences, M new rows, H query heads, G key heads, A = H + 2 G heads of all three, D channels of a head


def write_cache(
    qkv_BMAD: Tensor, gain_H: Tensor, cos_BM1D: Tensor, sin_BM1D: Tensor, pool: LayerPool, step: Step, *,
    impl: str = "auto",
) -> Tensor:  # fmt: skip
    """Scale and turn the queries and keys of `step`'s rows, write keys and values into their slots; queries BHMD.

    Args:
        qkv_BMAD: heads of queries, keys and values, side by side; any strides.
        gain_H: a number per head of queries and keys (H + G), as for `qk_rope`.
        cos_BM1D: as for `qk_rope`; the batch may be 1.
        sin_BM1D: likewise.
        pool: the layer's; changed in place. With int8, each row of a head gets a scale of its own.
        step: says where the rows lie.
        impl: "auto", "triton" or "torch".
    """
    batch, rows, heads, width = qkv_BMAD.shape
    key_heads = pool.keys_GSD.shape[0]
    if (batch, rows) != (len(step.lengths), step.rows):
        raise ValueError(f"qkv has {batch} x {rows} rows, the step has {len(step.lengths)} x {step.rows}")
    if width != pool.keys_GSD.shape[2] or heads <= 2 * key_heads:
        found = f"qkv has {heads} heads of width {width}, the cache {key_heads} of width {pool.keys_GSD.shape[2]}"
        raise ValueError(f"{found}: give queries, keys and values for this cache")
    if qkv_BMAD.device != pool.keys_GSD.device:
        raise ValueError(f"qkv is on {qkv_BMAD.device}, the cache on {pool.keys_GSD.device}: move one with its to()")
    qk_BMHD, v_BMGD = qkv_BMAD.split([heads - key_heads, key_heads], dim=2)
    if takes_triton(impl, qkv_BMAD.device.type, lambda: why_not_float32_triton(qkv_BMAD.transpose(1, 2))):
        from videogpt_kernels.triton_write_cache import triton_write_cache

        check_turns(qk_BMHD, gain_H, cos_BM1D, sin_BM1D)
        return triton_write_cache(qkv_BMAD, gain_H, cos_BM1D, sin_BM1D, pool, step)
    qk_BMHD = qk_rope(qk_BMHD, gain_H, cos_BM1D, sin_BM1D)
    q_BMHD, k_BMGD = qk_BMHD.split([heads - 2 * key_heads, key_heads], dim=2)
    store_rows(k_BMGD.transpose(1, 2), v_BMGD.transpose(1, 2), pool, step)
    return q_BMHD.transpose(1, 2)


def store_rows(k_BGMD: Tensor, v_BGMD: Tensor, pool: LayerPool, step: Step) -> None:
    """Write finished keys and values into the slots of `step`'s rows."""
    for x_BGMD, (held_GSD, scales_GS) in zip((k_BGMD, v_BGMD), pool.parts(), strict=True):
        if scales_GS is not None:
            x_BGMD, scale_BGM = quantize(x_BGMD)
            _put(scale_BGM, scales_GS, step)
        _put(x_BGMD, held_GSD, step)


def _put(x_BGM: Tensor, held_GS: Tensor, step: Step) -> None:
    """Rows into their slots, whatever axes follow."""
    x_GBM = x_BGM.detach().transpose(0, 1)
    if step.contiguous:
        held_GS.unflatten(1, (len(step.lengths), -1)).narrow(2, step.start, step.rows).copy_(x_GBM)
    else:
        held_GS[:, step.new_slots_BM] = x_GBM.to(held_GS.dtype)
