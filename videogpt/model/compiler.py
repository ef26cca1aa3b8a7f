"""Whether `torch.compile` can do its work here; on a CPU it writes C++.

check_compiler("model.blocks.compiled is true")
"""


def check_compiler(asked: str) -> None:
    """ValueError where there is no C++ compiler; `asked` says who wants one."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise ValueError(
            f"{asked}, and there is no C++ compiler here: install g++, name one in the environment (CXX), or leave it "
            "out"
        ) from error
