"""LlamaForCausalLM of `transformers` of the same shape: random weights, and clips drawn by its own `generate`.

    rival = Transformers(saved)
    rival.prepare(job)                 # the fastest of its caches, ways of guidance and thread counts on a few codes
    shot = rival(job)

It has as many layers, channels and heads, and the codes for a vocabulary; it has one rotary axis and no gains of
queries and keys. Temperature and top-p are its processors. Guidance is its own unbatched processor, or, as in its
MusicGen, a doubled batch whose logits a processor joins. ImportError without the package; RuntimeError where its cache
changes codes.
"""

import time
from importlib import import_module
from itertools import product
from typing import Any, Literal, NamedTuple

import torch
from _sampling_scene import FrameSink, Job, Shot, prompt_rows
from torch import Tensor

from videogpt.pipeline.saved_model import SavedModel

# B samples, N rows

transformers: Any = import_module("transformers")  # not there for who checks types

Cache = Literal["dynamic", "static"]
PAD = 3
TRIED_CODES = 24


class Way(NamedTuple):
    """How a model is run."""

    threads: int
    cache: Cache
    doubled: bool
    """Guidance by twice the rows in one pass; else by a second pass."""


class _Llama(transformers.LlamaForCausalLM):
    """With `free_rows` set, every pass has the rows a second time, behind those instead of the prompts."""

    free_rows: tuple[Tensor, Tensor] | None = None
    """Ids and mask (B, N) of what stands in the prompts' place."""

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, *places: Any, attention_mask: Tensor | None = None, **other: Any
    ) -> dict[str, Any]:
        if self.free_rows is not None:
            # no mask is handed on where it hides nothing
            given = [input_ids, torch.ones_like(input_ids) if attention_mask is None else attention_mask]
            both = []
            for rows_BN, free_BN in zip(given, self.free_rows, strict=True):
                both.append(torch.cat([rows_BN, torch.cat([free_BN, rows_BN[:, free_BN.shape[1] :]], dim=1)]))
            input_ids, attention_mask = both
            other.pop("position_ids", None)  # from the first row on, padding or not: they matter as differences alone
        return super().prepare_inputs_for_generation(input_ids, *places, attention_mask=attention_mask, **other)


class _Streamer(transformers.generation.streamers.BaseStreamer):
    """Hands codes on as they are drawn."""

    def __init__(self, sink: FrameSink) -> None:
        self._sink, self._prompt = sink, True

    def put(self, value: Tensor) -> None:
        if not self._prompt:
            self._sink.put(value)
        self._prompt = False

    def end(self) -> None:
        pass


class Transformers:
    """Draws clips; see the file."""

    def __init__(self, saved: SavedModel, dtype: torch.dtype = torch.float32) -> None:
        transformers.utils.logging.set_verbosity_error()
        config, layout = saved.network.config, saved.task.config
        self._saved = saved
        torch.manual_seed(0)
        shape = transformers.LlamaConfig(
            vocab_size=layout.codebook_size,
            hidden_size=config.width,
            intermediate_size=config.mlp_width,
            num_hidden_layers=config.depth,
            num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads,
            max_position_embeddings=layout.max_text_tokens + layout.latent_frames * saved.task.raster.frame_tokens,
            tie_word_embeddings=config.tie_head,
            initializer_range=config.width**-0.5,
            pad_token_id=PAD,
            bos_token_id=None,
            eos_token_id=None,
        )
        self._llama = _Llama(shape).eval().to(saved.tokenizer.device, dtype)
        self._check()
        self.way = Way(torch.get_num_threads(), "dynamic", True)

    @property
    def num_parameters(self) -> int:
        return self._llama.num_parameters()

    def prepare(self, job: Job) -> None:
        """Choose the fastest way for such jobs."""
        times, before = {}, torch.get_num_threads()
        guided = job.sampling.guidance_scale != 1.0
        threads = range(1, before + 1) if self._llama.device.type == "cpu" else [before]
        for way in map(Way._make, product(threads, ("dynamic", "static"), (True, False) if guided else (False,))):
            self._draw(job, 4, None, way)
            began = time.perf_counter()
            self._draw(job, TRIED_CODES, None, way)
            times[way] = time.perf_counter() - began
        self.way = min(times, key=lambda way: times[way])

    def __call__(self, job: Job) -> Shot:
        sink, codes = FrameSink(self._saved), job.latent_frames * self._saved.task.raster.frame_tokens
        self._draw(job, codes, sink, self.way)
        return sink.shot(codes)

    @torch.inference_mode()
    def _draw(self, job: Job, codes: int, sink: FrameSink | None, way: Way) -> Tensor:
        sampling, device = job.sampling, self._llama.device
        prompts = [prompt_rows(self._saved, text) for text in job.texts]
        ids_BN, mask_BN = _padded(prompts, max(map(len, prompts)))
        free_BN, free_mask_BN = _padded([[0, 1, 2]] * len(prompts), ids_BN.shape[1])
        free = (free_BN.to(device), free_mask_BN.to(device))
        guided, processors = sampling.guidance_scale != 1.0, transformers.LogitsProcessorList()
        self._llama.free_rows = free if guided and way.doubled else None
        if guided and way.doubled:
            processors.append(transformers.ClassifierFreeGuidanceLogitsProcessor(sampling.guidance_scale))
        elif guided:
            scale, unbatched = sampling.guidance_scale, transformers.UnbatchedClassifierFreeGuidanceLogitsProcessor
            processors.append(unbatched(scale, self._llama, *free))
        drawing = {"temperature": sampling.temperature, "top_p": sampling.top_p or 1.0, "top_k": sampling.top_k or 0}
        threads = torch.get_num_threads()
        torch.set_num_threads(way.threads)
        torch.manual_seed(job.seeds[0])
        try:
            return self._llama.generate(
                input_ids=ids_BN.to(device),
                attention_mask=mask_BN.to(device),
                max_new_tokens=codes,
                min_new_tokens=codes,
                cache_implementation=way.cache,
                logits_processor=processors,
                streamer=None if sink is None else _Streamer(sink),
                **(drawing | {"do_sample": True} if sampling.temperature else {"do_sample": False}),
            )
        finally:
            torch.set_num_threads(threads)
            self._llama.free_rows = None

    @torch.inference_mode()
    def _check(self) -> None:
        """The likeliest codes with either cache are those of whole passes."""
        rows_1N = torch.arange(4, 12, device=self._llama.device)[None]
        for _ in range(8):
            next_1 = self._llama(rows_1N, use_cache=False).logits[:, -1].argmax(dim=-1)
            rows_1N = torch.cat([rows_1N, next_1[:, None]], dim=1)
        for cache in ("dynamic", "static"):
            prompt, mask = rows_1N[:, :8], torch.ones_like(rows_1N[:, :8])
            settings = {"max_new_tokens": 8, "do_sample": False, "cache_implementation": cache}
            if not torch.equal(self._llama.generate(input_ids=prompt, attention_mask=mask, **settings), rows_1N):
                raise RuntimeError(f"the {cache} cache of transformers changes the codes")


def _padded(rows: list[list[int]], length: int) -> tuple[Tensor, Tensor]:
    """Ids and mask, padded on the left."""
    left = [length - len(own) for own in rows]
    ids = [[PAD] * count + own for count, own in zip(left, rows, strict=True)]
    mask = [[0] * count + [1] * len(own) for count, own in zip(left, rows, strict=True)]
    return torch.tensor(ids), torch.tensor(mask)
