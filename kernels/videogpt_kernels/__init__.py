"""Attention over video tokens, and the small type that says who sees whom.

    from videogpt_kernels import Visibility, attention, qk_rope
    out_BHMD = attention(q_BHMD, k_BGND, v_BGND, visibility)            # training, prompts
    q_BHMD = write_cache(qkv_BMAD, gain_H, cos, sin, pool, step)        # decoding
    out_BHMD = decode_attention(q_BHMD, pool, step)

Triton is used where it can be, PyTorch elsewhere; importing this package needs neither Triton nor a GPU. The
names are imported at once, not at first use: `attention` is a module too, and this way the name means the
function always.
"""

from videogpt_kernels.attention import attention
from videogpt_kernels.decode import decode_attention
from videogpt_kernels.pool import LayerPool, Step
from videogpt_kernels.qk_rope import qk_rope
from videogpt_kernels.rms_norm import rms_norm
from videogpt_kernels.swiglu import swiglu
from videogpt_kernels.tile_window import TileWindow, from_tile_order, to_tile_order
from videogpt_kernels.visibility import Document, Visibility
from videogpt_kernels.write_cache import store_rows, write_cache

__all__ = [
    "Document",
    "LayerPool",
    "Step",
    "TileWindow",
    "Visibility",
    "attention",
    "decode_attention",
    "from_tile_order",
    "qk_rope",
    "rms_norm",
    "store_rows",
    "swiglu",
    "to_tile_order",
    "write_cache",
]
