"""Compile every launch of every kernel for GPUs that need not be there, and read what came out.

    python -m videogpt_kernels.aot                                  # a line per kernel, width and target
    python -m videogpt_kernels.aot --target sm_90 --width 128       # some of them
    python -m videogpt_kernels.aot --output compiled.json           # as a table, to be compared with later

A spill, a launch that needs more shared memory than the GPU has, or a matrix product that was not compiled to
matrix instructions ends with exit code 1. Needs Triton's own tools only; not the interpreter (TRITON_INTERPRET).
"""

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from videogpt_kernels.backward import dkv_kernel, dot_rows_kernel, dq_kernel
from videogpt_kernels.decode import WIDEST_WINDOWED_FLOAT32
from videogpt_kernels.forward import forward_kernel
from videogpt_kernels.launches import WIDTHS, launches_for
from videogpt_kernels.triton_decode import (
    MOST_SPLITS,
    combine_constants,
    combine_kernel,
    decode_constants,
    decode_kernel,
    decode_launch,
)
from videogpt_kernels.triton_qk_rope import qk_rope_backward_kernel, qk_rope_constants, qk_rope_kernel
from videogpt_kernels.triton_write_cache import write_cache_constants, write_cache_kernel

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
SHARED_BYTES = {"sm_80": 101_376, "sm_90": 232_448, "sm_100": 232_448, "gfx942": 65_536}
"""Shared memory that one program may use (CUDA C++ Programming Guide, table of compute capabilities; CDNA 3 ISA).
For sm_80 that of sm_86, sm_89 and sm_120, which take the same launches and have less than its 166,912."""
MATRIX_INSTRUCTIONS = {
    "sm_80": r"\bmma\.sync",
    "sm_90": r"\bwgmma\.mma_async|\bmma\.sync",
    "sm_100": r"\btcgen05\.mma|\bmma\.sync",
    "gfx942": r"\bv_mfma",
}
"""In PTX (PTX ISA 9.0) or AMD's assembly."""
TILE_TOKENS = 64
DECODED_ROWS, MOST_DECODED_ROWS = 16, 64
PRODUCTS = ("forward_kernel", "dq_kernel", "dkv_kernel", "decode_kernel")
"""Kernels that multiply matrices."""
COMPILED_DTYPES = {torch.bfloat16: "bf16", torch.float32: "fp32"}
_INT32, _HELD = ("limits_ptr", "visits_ptr", "places_ptr"), ("keys_ptr", "values_ptr")
_EXACT = (
    *("lse_ptr", "delta_ptr", "dot_ptr", "gain_ptr", "dgain_ptr"),
    *("part_ptr", "key_scales_ptr", "value_scales_ptr"),
)
_ALIGNED = ("_ptr", "_batch", "_head", "_row", "_slot")
_TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


Facts = dict[str, Any]
"""What one launch was compiled to, as the table has it.

kernel, target, dtype, width, tile: what was compiled. warps: as launched; more than asked for where the compiler made
    some of them load (warp specialisation).
variant: "listed": for a `TileWindow`, with tiles of TILE_TOKENS rows at most. "windowed": decoding with one. "int8": of
    an int8 cache. A number: new rows, times the query heads of a key head, where not as many as DECODED_ROWS.
registers, stack: per thread, the stack in bytes of local memory. shared: bytes.
spilled: instructions (CUDA) or registers (ROCm) that go to local memory for want of registers.
matrix: matrix instructions in the code.
"""


def name_of(launch: Facts) -> str:
    """The same for the same launch, whatever became of it."""
    return " ".join(str(launch[key]) for key in ("kernel", "variant", "target", "dtype", "width") if launch[key])


def faults_of(launch: Facts) -> list[str]:
    """What makes it unfit to be shipped."""
    limit = SHARED_BYTES[launch["target"]]
    found = [f"{launch['spilled']} spills"] if launch["spilled"] else []
    if launch["shared"] > limit:
        found.append(f"{launch['shared']} bytes of shared memory, of {limit}")
    if not launch["matrix"] and launch["kernel"] in PRODUCTS and launch["dtype"] == "bf16":
        found.append("no matrix instructions")
    return [f"{name_of(launch)}: {fault}" for fault in found]


def compile_all(
    targets: Iterable[str] = TARGETS, widths: Iterable[int] = WIDTHS, dtypes: Iterable[torch.dtype] = COMPILED_DTYPES
) -> Iterator[Facts]:
    """Compile the launches of the table, on all cores."""
    rows = list(itertools.product(targets, dtypes, widths))
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for compiled in pool.map(_compile_row, *zip(*rows, strict=True)):
            yield from compiled


def _compile_row(target: str, dtype: torch.dtype, width: int) -> list[Facts]:
    dot_rows = launches_for(target, width, dtype).dot_rows.constants(width)
    compiled = [
        compile_kernel(dot_rows_kernel, target, dtype, width, dot_rows),
        compile_kernel(qk_rope_kernel, target, dtype, width, qk_rope_constants(width)),
        compile_kernel(qk_rope_backward_kernel, target, dtype, width, qk_rope_constants(width)),
        compile_kernel(combine_kernel, target, dtype, width, combine_constants(width, MOST_SPLITS)),
    ]
    for listed in (False, True):
        forward, _, dq, dkv = launches_for(target, width, dtype, TILE_TOKENS if listed else 0)
        for kernel, launch in ((forward_kernel, forward), (dq_kernel, dq), (dkv_kernel, dkv)):
            constants = {**launch.constants(width), "LISTED": listed}
            variant = "listed" if listed else ""
            compiled.append(compile_kernel(kernel, target, dtype, width, constants, variant))
    for quantized in (False, True):
        variant, constants = ("int8" if quantized else ""), {**write_cache_constants(width), "QUANTIZED": quantized}
        compiled.append(compile_kernel(write_cache_kernel, target, dtype, width, constants, variant, quantized))
        for rows, windowed in ((DECODED_ROWS, False), (DECODED_ROWS, True), (MOST_DECODED_ROWS, False)):
            exact = dtype == torch.float32  # with tiles of one size
            if exact and (rows == MOST_DECODED_ROWS or (windowed and width > WIDEST_WINDOWED_FLOAT32)):
                continue
            kind = {"quantized": quantized, "windowed": windowed}
            constants = decode_constants(decode_launch(target, rows, width, dtype, **kind), width, **kind)
            parts = (variant, "windowed" if windowed else "", str(rows) if rows != DECODED_ROWS else "")
            name = " ".join(filter(None, parts))
            compiled.append(compile_kernel(decode_kernel, target, dtype, width, constants, name, quantized))
    return compiled


def compile_kernel(
    kernel: Any, target: str, dtype: torch.dtype, width: int, given: Facts, variant: str = "", quantized: bool = False
) -> Facts:
    """Compile one launch as the run-time does for contiguous tensors, aligned to 16 bytes."""
    options = {name: value for name, value in given.items() if name in ("num_warps", "num_stages", "maxnreg")}
    constants = {name: value for name, value in given.items() if name not in options}
    types = {name: _type(name, dtype, quantized) for name in kernel.arg_names}
    signature = {name: types[name] if name not in constants else "constexpr" for name in kernel.arg_names}
    aligned = [name.endswith(_ALIGNED) for name in kernel.arg_names]
    source = ASTSource(
        fn=kernel,
        signature=signature,
        constexprs={(kernel.arg_names.index(name),): value for name, value in constants.items()},
        attrs={(i,): [["tt.divisibility", 16]] for i, yes in enumerate(aligned) if yes},
    )
    built = triton.compile(source, target=TARGETS[target], options=options)
    read = _read_rocm if target == "gfx942" else _read_cuda
    registers, stack, spilled, matrix = read(built.asm, MATRIX_INSTRUCTIONS[target])
    tile = "x".join(str(value) for key, value in constants.items() if key.startswith("TILE"))
    return {
        **{"kernel": kernel.fn.__name__, "target": target, "dtype": COMPILED_DTYPES[dtype], "width": width},
        **{"variant": variant, "tile": tile, "warps": built.metadata.num_warps},
        **{"registers": registers, "stack": stack, "spilled": spilled},
        **{"shared": built.metadata.shared, "matrix": matrix},
    }


def _type(argument: str, dtype: torch.dtype, quantized: bool) -> str:
    if not argument.endswith("_ptr"):
        return "fp32" if argument in ("scale", "shortest") else "i32"
    if argument in _INT32:
        return "*i32"
    if quantized and argument in _HELD:
        return "*i8"
    return "*fp32" if argument in _EXACT else f"*{COMPILED_DTYPES[dtype]}"


def _read_cuda(asm: dict[str, Any], matrix: str) -> tuple[int, int, int, int]:
    """Registers, stack, spilled and matrix instructions of a cubin, as NVIDIA's tool says.

    Taken apart, which takes longer than compiling, is only one with a stack.
    """
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(asm["cubin"])

        def dump(what: str) -> str:
            command = [_TOOLS / "cuobjdump", what, file.name]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout

        usage = dump("-res-usage")
        found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
        assert found is not None, usage
        registers, stack = int(found[1]), int(found[2])
        spilled = len(re.findall(r"\b(?:STL|LDL)\b", dump("-sass"))) if stack else 0
    return registers, stack, spilled, len(re.findall(matrix, asm["ptx"]))


def _read_rocm(asm: dict[str, Any], matrix: str) -> tuple[int, int, int, int]:
    """The same of AMD's assembly, in which the compiler states it."""
    code = asm["amdgcn"]

    def stated(word: str) -> int:
        found = re.search(rf"\.{word}:\s*(\d+)", code)
        assert found is not None, code[-2000:]
        return int(found[1])

    stack, spilled = stated("private_segment_fixed_size"), stated("vgpr_spill_count")
    return stated("vgpr_count"), stack, spilled, len(re.findall(matrix, code))


def main() -> int:
    program = "python -m videogpt_kernels.aot"
    parser = argparse.ArgumentParser(prog=program, description="Compile every launch of every kernel.")
    parser.add_argument("--target", action="append", choices=TARGETS, help="may be given several times (all)")
    parser.add_argument("--width", action="append", type=int, choices=WIDTHS, help="likewise")
    parser.add_argument("--dtype", action="append", choices=COMPILED_DTYPES.values(), help="likewise")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="write the table here")
    arguments = parser.parse_args()
    if knobs.runtime.interpret:
        parser.error("TRITON_INTERPRET is set: nothing is compiled under the interpreter, unset it")
    table, faults = {}, []
    dtypes = [dtype for dtype, name in COMPILED_DTYPES.items() if name in (arguments.dtype or COMPILED_DTYPES.values())]
    for launch in compile_all(arguments.target or TARGETS, arguments.width or WIDTHS, dtypes):
        print("  ".join(f"{key} {value}" for key, value in launch.items()), flush=True)
        table[name_of(launch)] = launch
        faults += faults_of(launch)
    if arguments.output:
        content = {"triton": triton.__version__, "compiled": table}
        arguments.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print("\n".join(faults) or f"{len(table)} launches, none with a fault")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
