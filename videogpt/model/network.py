"""The decoder: predicts the next token of sequences of text and video tokens.

    network = VideoGPT(VideoGPTConfig(vocab_size=task.vocabulary.size, width=256, depth=6))
    logits_BNV = network(sequence)                                          # over the joint vocabulary
    logits_BMV = network(next_rows, cache)                                  # of rows that follow those in a cache
    logits_BMV = network.logits(hidden_BMD, task.vocabulary.ids["video"])   # over codes alone
    nats_BM = network.nats(hidden_BMD, codes_BM, task.vocabulary.ids["video"])

A plain pre-norm transformer: RMSNorm, SwiGLU, grouped-query attention with QK-norm, rotary positions in three
axes. It knows ids, positions and visibility, and nothing of what they mean: no files, no tasks, no sampling.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from videogpt.layouts.sequence import TokenSequence
from videogpt.model.cache import KVCache
from videogpt.model.config import VideoGPTConfig
from videogpt.model.cross_entropy import cross_entropy
from videogpt.model.heads import LevelEmbedding, LevelHead
from videogpt.model.rotary import Rotation, rotation_at
from videogpt_kernels import (
    LayerPool,
    Step,
    Visibility,
    attention,
    decode_attention,
    qk_rope,
    rms_norm,
    store_rows,
    swiglu,
    write_cache,
)

# B sequences, N rows of whole sequences, M rows of this call (all, or those that follow the cache), V ids,
# H query heads, G key/value heads, A = H + 2 G, D width of the model, or of a head where there are heads


MOST_LOGITS = 2**25
"""More than these, 128 MiB of float32, are never in memory together where nothing but their cross-entropy is wanted."""

Cached = tuple[LayerPool, Step] | None
"""What a layer keeps of earlier rows and where the new ones go, if there is a cache."""


class _Attention(nn.Module):
    """Grouped-query attention with QK-norm; a gain per head sets how sharply it can attend."""

    def __init__(self, config: VideoGPTConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.qkv = nn.Linear(config.width, (config.heads + 2 * config.kv_heads) * config.head_dim, bias=False)
        self.qk_gain_H = nn.Parameter(torch.ones(config.heads + config.kv_heads))
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x_BMD: Tensor, rotation: Rotation, visibility: Visibility, cached: Cached) -> Tensor:
        qkv_BMAD = rearrange(self.qkv(x_BMD), "b m (a d) -> b m a d", d=self.head_dim)
        if cached is not None and cached[1].has_earlier_rows:
            q_BHMD = write_cache(qkv_BMAD, self.qk_gain_H, *rotation, *cached)
            out_BHMD = decode_attention(q_BHMD, *cached)
        else:
            # Queries and keys are normalised and turned as one tensor: short sequences wait for the number of calls.
            qk_BMHD, v_BMGD = qkv_BMAD.split([self.heads + self.kv_heads, self.kv_heads], dim=2)
            qk_BHMD = rearrange(qk_rope(qk_BMHD, self.qk_gain_H, *rotation), "b m h d -> b h m d")
            q_BHMD, k_BGMD = qk_BHMD.split([self.heads, self.kv_heads], dim=1)
            v_BGMD = rearrange(v_BMGD, "b m g d -> b g m d")
            if cached is not None:
                store_rows(k_BGMD, v_BGMD, *cached)
            out_BHMD = attention(q_BHMD, k_BGMD, v_BGMD, visibility)
        return self.out(rearrange(out_BHMD, "b h m d -> b m (h d)"))


class _FeedForward(nn.Module):
    """SwiGLU: one projection gates another."""

    def __init__(self, config: VideoGPTConfig) -> None:
        super().__init__()
        self.gate_and_value = nn.Linear(config.width, 2 * config.mlp_width, bias=False)
        self.out = nn.Linear(config.mlp_width, config.width, bias=False)

    def forward(self, x_BMD: Tensor) -> Tensor:
        return self.out(swiglu(self.gate_and_value(x_BMD)))


class _Block(nn.Module):
    """One layer: attention, then feed-forward, each added to the residual stream."""

    def __init__(self, config: VideoGPTConfig) -> None:
        super().__init__()
        self.attention = _Attention(config)
        self.feed_forward = _FeedForward(config)
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()

    def forward(self, x_BMD: Tensor, rotation: Rotation, visibility: Visibility, cached: Cached) -> Tensor:
        x_BMD = x_BMD + self.dropout(self.attention(rms_norm(x_BMD), rotation, visibility, cached))
        return x_BMD + self.dropout(self.feed_forward(rms_norm(x_BMD)))


class VideoGPT(nn.Module):
    """Decoder over the joint ids of text and video."""

    def __init__(self, config: VideoGPTConfig) -> None:
        super().__init__()
        if config.vocab_size < 1:
            raise ValueError(f"vocab_size is {config.vocab_size}; give that of the layout, Vocabulary.size")
        self.config = config
        self._code_ids, levels = config.code_ids, config.code_levels
        if config.by_levels and not levels:
            raise ValueError(
                "code_levels is empty; give the values of each digit of a code, whose product is all codes"
            )
        if config.embedding == "levels":
            self.embedding: nn.Embedding = LevelEmbedding(config.vocab_size, config.width, self._code_ids, levels)
        else:
            self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.depth))
        self.level_head = LevelHead(levels, config.width) if config.head == "levels" else None
        flat_ids = config.vocab_size - (len(self._code_ids) if self.level_head else 0)
        self.head = None if config.tie_head else nn.Linear(config.width, flat_ids, bias=False)
        self._initialize()

    def forward(self, sequence: TokenSequence, cache: KVCache | None = None) -> Tensor:
        """Logits (B, M, V) of what follows each row, over the joint vocabulary; see `hidden`."""
        return self.logits(self.hidden(sequence, cache))

    def hidden(self, sequence: TokenSequence, cache: KVCache | None = None) -> Tensor:
        """Normalised hidden states (B, M, D), from which `logits` are made.

        Args:
            sequence: whole sequences; with a cache the rows that follow those it holds.
            cache: is given the keys and values of these rows, too.
        """
        config, x_BMD = self.config, self.dropout(self.embedding(sequence.ids_BN))
        device, dtype = x_BMD.device.type, x_BMD.dtype
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        rotation = rotation_at(sequence.positions_BN3, head_dim=config.head_dim, base=config.rope_base, dtype=dtype)
        rows, layers = sequence.ids_BN.shape[1], [None] * config.depth
        if cache is not None:
            step = cache.step(sequence.visibility, rows)
            layers = [(pool, step) for pool in cache.pools]
        for block, cached in zip(self.blocks, layers, strict=True):
            x_BMD = block(x_BMD, rotation, sequence.visibility, cached)
        if cache is not None:
            cache.advance(rows)
        return rms_norm(x_BMD)

    def logits(self, hidden_BMD: Tensor, ids: range | None = None) -> Tensor:
        """Logits over some ids, or over all. Each modality has a softmax of its own, over its ids.

        ValueError: codes are among them, and the head predicts codes by level; see `level_head`.
        """
        return F.linear(hidden_BMD, self._head_weight(ids))

    def nats(self, hidden_BMD: Tensor, targets_BM: Tensor, ids: range) -> Tensor:
        """Cross-entropy (B, M) float32 of targets among some ids, counted from the first of them."""
        if self.level_head is not None and ids == self._code_ids:
            return self.level_head.nats(hidden_BMD, targets_BM)
        targets_R = targets_BM.flatten()
        if targets_R.numel() * len(ids) > MOST_LOGITS:
            return cross_entropy(hidden_BMD.flatten(0, 1), self._head_weight(ids), targets_R).view(targets_BM.shape)
        logits_BMV = self.logits(hidden_BMD, ids).float()
        # Rows of logits side by side: over the classes of a (B, V, M) view it takes four times as long on a CPU.
        return F.cross_entropy(logits_BMV.flatten(0, 1), targets_R, reduction="none").view(targets_BM.shape)

    @property
    def outer_matrices(self) -> list[Tensor]:
        """Those that read or write ids or digits, and belong to no layer."""
        layers = {id(parameter) for parameter in self.blocks.parameters()}
        return [p for p in self.parameters() if id(p) not in layers]

    @property
    def num_parameters(self) -> int:
        """Number of weights; a tied head counts once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def _head_weight(self, ids: range | None) -> Tensor:
        """The rows of the flat head that belong to ids."""
        weight_VD, codes = self.embedding.weight if self.head is None else self.head.weight, self._code_ids
        ids = range(self.config.vocab_size) if ids is None else ids
        if self.level_head is None:
            return weight_VD[ids.start : ids.stop]
        if ids.start < codes.stop and codes.start < ids.stop:
            raise ValueError(f"ids {ids.start}..{ids.stop - 1} hold codes, of which a head of levels has no logits")
        missing = len(codes) if ids.start >= codes.stop and len(weight_VD) < self.config.vocab_size else 0
        return weight_VD[ids.start - missing : ids.stop - missing]

    def _initialize(self) -> None:
        """Matrices that keep the scale of what they read; what the layers add up to has it, too."""
        for name, parameter in self.named_parameters():
            if name.endswith(".weight"):
                std = parameter.shape[1] ** -0.5
                if name.endswith(".out.weight"):
                    std /= (2 * self.config.depth) ** 0.5
                nn.init.normal_(parameter, std=std)
