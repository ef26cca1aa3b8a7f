"""A llama.cpp of the same shape: random weights in a GGUF file, run by ik_llama.cpp through its C functions.

    rival = LlamaCpp(saved, "f32", folder)        # or "q8_0"
    rival.prepare(job)                            # the fastest of its ways to run, tried on a few codes
    shot = rival(job)

It has as many layers, channels and heads, and the codes for a vocabulary; it has one rotary axis, no gains of queries
and keys, a 16-bit cache, and its own filters. Under guidance each clip is two sequences of one batch, whose logits are
joined here. ImportError without the packages; RuntimeError for a result that makes no sense.
"""

import ctypes
import dataclasses
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from _sampling_scene import FrameSink, Job, Shot, prompt_rows

from videogpt.model.config import VideoGPTConfig
from videogpt.pipeline.saved_model import SavedModel

# B samples, R sequences (2B under guidance, those with prompts first), V codes

Kind = Literal["f32", "q8_0"]
EMPTY_PROMPT = [0, 1, 2]
TRIED_CODES = 24
CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


@contextmanager
def _quiet() -> Iterator[None]:
    """llama.cpp tells all about a model on stderr, from C."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


gguf: Any = import_module("gguf")  # not there for who checks types
with _quiet():
    C: Any = import_module("ik_llama_cpp._ctypes_api")


class Way(NamedTuple):
    """How a model is run."""

    threads: int
    repacked: bool
    """Matrices laid out anew for several rows at once."""
    together: bool
    """All clips in one batch; else one clip after the other."""


def write_gguf(path: Path, config: VideoGPTConfig, codes: int, rows: int, kind: Kind) -> None:
    """A Llama with random weights."""
    rng, width, depth = np.random.default_rng(0), config.width, config.depth
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(rows)
    writer.add_embedding_length(width)
    writer.add_block_count(depth)
    writer.add_feed_forward_length(config.mlp_width)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(codes)
    writer.add_tokenizer_model("no_vocab")
    kinds = gguf.GGMLQuantizationType
    key_width = config.kv_heads * config.head_dim
    matrices = {"token_embd": (codes, width), "output": (codes, width)}
    for layer in range(depth):
        matrices |= {
            f"blk.{layer}.attn_q": (width, width),
            f"blk.{layer}.attn_k": (key_width, width),
            f"blk.{layer}.attn_v": (key_width, width),
            f"blk.{layer}.attn_output": (width, width),
            f"blk.{layer}.ffn_gate": (config.mlp_width, width),
            f"blk.{layer}.ffn_up": (config.mlp_width, width),
            f"blk.{layer}.ffn_down": (width, config.mlp_width),
        }
    for name, shape in matrices.items():
        matrix = rng.standard_normal(shape, np.float32) / np.float32(shape[1] ** 0.5)
        stored = kinds.Q8_0 if kind == "q8_0" else kinds.F32
        writer.add_tensor(f"{name}.weight", gguf.quantize(matrix, stored), raw_dtype=stored)
    for norm in ("output_norm", *(f"blk.{n}.{part}_norm" for n in range(depth) for part in ("attn", "ffn"))):
        writer.add_tensor(f"{norm}.weight", np.ones(width, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class LlamaCpp:
    """Draws clips; see the file."""

    def __init__(self, saved: SavedModel, kind: Kind, folder: Path) -> None:
        self._saved, layout = saved, saved.task.config
        self._codes = layout.codebook_size
        self._room = layout.max_text_tokens + layout.latent_frames * saved.task.raster.frame_tokens
        self._path = folder / f"{kind}-{saved.network.config.width}.gguf"
        if not self._path.exists():
            write_gguf(self._path, saved.network.config, self._codes, self._room, kind)
        self._model: int | None = None
        self._context: int | None = None
        self.way = Way(torch.get_num_threads(), repacked=True, together=True)

    def prepare(self, job: Job) -> None:
        """Choose the fastest way for such jobs, and load the model for it."""
        times, alone = {}, _clips_of(job)[0]
        middle = job.latent_frames * self._saved.task.raster.frame_tokens // 2
        together = (True, False) if len(job.texts) > 1 else (True,)
        for way in map(Way._make, product(range(1, torch.get_num_threads() + 1), (False, True), together)):
            part = job if way.together else alone
            try:
                self._load(way, self._sequences(part))
                times[way] = self._draw(part, TRIED_CODES, None, middle) / len(part.texts)
            except RuntimeError:
                continue
        if not times:
            raise RuntimeError("llama.cpp runs this shape in no way")
        self.way = min(times, key=lambda way: times[way])
        self._load(self.way, self._sequences(job if self.way.together else alone))

    def __call__(self, job: Job) -> Shot:
        if self.way.together:
            return self._shot(job)
        *others, last = [self._shot(part) for part in _clips_of(job)]
        before, passes = sum(shot.whole for shot in others), sum(shot.passes for shot in [*others, last])
        return Shot(before + last.first_frame, before + last.whole, passes)

    def _shot(self, job: Job) -> Shot:
        if self._context is None:
            self._load(self.way, self._sequences(job))
        sink, codes = FrameSink(self._saved), job.latent_frames * self._saved.task.raster.frame_tokens
        self._draw(job, codes, sink)
        return sink.shot(codes)

    def close(self) -> None:
        """Give back the memory that C holds."""
        if self._context:
            C.llama_free(self._context)
        if self._model:
            C.llama_free_model(self._model)
        self._context = self._model = None

    def _sequences(self, job: Job) -> int:
        return len(job.texts) * (1 if job.sampling.guidance_scale == 1.0 else 2)

    def _load(self, way: Way, sequences: int) -> None:
        self.close()
        with _quiet():
            settings = C.llama_model_default_params()
            settings.repack_tensors = way.repacked
            settings.use_mmap = not way.repacked
            self._model = C.llama_model_load_from_file(os.fsencode(self._path), settings)
            if not self._model:
                raise RuntimeError("llama.cpp cannot load the model")
            asked = C.llama_context_default_params()
            asked.n_ctx = asked.n_batch = sequences * self._room
            asked.n_seq_max = sequences
            asked.n_threads = asked.n_threads_batch = way.threads
            asked.flash_attn = False  # ends the process in wheels without AVX-VNNI: GGML_ASSERT(S > 0)
            self._context = C.llama_init_from_model(self._model, asked)
        if not self._context:
            raise RuntimeError("llama.cpp cannot run the model")

    def _draw(self, job: Job, codes: int, sink: FrameSink | None, before: int = 0) -> float:
        """Draw codes, behind so many others that stand for those drawn before; seconds for all but the first."""
        sampling, count = job.sampling, len(job.texts)
        rows = [prompt_rows(self._saved, text) for text in job.texts]
        if sampling.guidance_scale != 1.0:
            rows += [EMPTY_PROMPT] * count
        rows = [[*own, *[3] * before] for own in rows]
        C.llama_kv_cache_clear(self._context)
        batch = C.llama_batch_init(max(sum(map(len, rows)), len(rows)), 0, 1)
        last, held_R = _fill(batch, rows, [0] * len(rows)), [len(own) for own in rows]
        candidates = np.empty(self._codes, CANDIDATE)
        array = C.llama_token_data_array(data=candidates.ctypes.data_as(ctypes.POINTER(C.llama_token_data)))
        numbers, began = np.arange(self._codes, dtype=np.int32), time.perf_counter()
        try:
            for number in range(codes):
                if C.llama_decode(self._context, batch):
                    raise RuntimeError("llama.cpp cannot decode")
                pointers = (C.llama_get_logits_ith(self._context, index) for index in last)
                logits_RV = np.stack([np.ctypeslib.as_array(pointer, (self._codes,)) for pointer in pointers])
                if not np.isfinite(logits_RV).all():
                    raise RuntimeError("llama.cpp gives logits that are not finite")
                if sampling.guidance_scale != 1.0:
                    prompted_BV, free_BV = logits_RV[:count], logits_RV[count:]
                    logits_BV = free_BV + sampling.guidance_scale * (prompted_BV - free_BV)
                else:
                    logits_BV = logits_RV
                drawn = []
                for logits_V in logits_BV:
                    candidates["id"], candidates["logit"], candidates["p"] = numbers, logits_V, 0
                    array.size, array.selected, array.sorted = self._codes, -1, False
                    drawn.append(self._sample(array, job))
                if sink is not None:
                    sink.put(torch.tensor(drawn))
                last = _fill(batch, [[code] for code in drawn] * (len(rows) // count), held_R)
                held_R = [held + 1 for held in held_R]
                if number == 0:
                    began = time.perf_counter()
            return time.perf_counter() - began
        finally:
            C.llama_batch_free(batch)

    def _sample(self, array: Any, job: Job) -> int:
        """Its own filters, in the order of ours."""
        sampling, pointer = job.sampling, ctypes.pointer(array)
        if sampling.temperature == 0.0:
            return C.llama_sample_token_greedy(self._context, pointer)
        C.llama_sample_temp(self._context, pointer, sampling.temperature)
        if sampling.top_p is not None:
            C.llama_sample_top_p(self._context, pointer, sampling.top_p, 1)
        return C.llama_sample_token(self._context, pointer)


def _clips_of(job: Job) -> list[Job]:
    """A job for each clip."""
    pairs = zip(job.texts, job.seeds, strict=True)
    return [dataclasses.replace(job, texts=[text], seeds=[seed]) for text, seed in pairs]


def _fill(batch: Any, rows: list[list[int]], held: list[int]) -> list[int]:
    """The next rows of every sequence; where in the batch the last row of each is, of which logits are wanted."""
    last, index = [], 0
    for sequence, (own, start) in enumerate(zip(rows, held, strict=True)):
        for place, token in enumerate(own):
            batch.token[index], batch.pos[index] = token, start + place
            batch.n_seq_id[index], batch.seq_id[index][0] = 1, sequence
            batch.logits[index] = place == len(own) - 1
            index += 1
        last.append(index - 1)
    batch.n_tokens = index
    return last
