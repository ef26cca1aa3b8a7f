"""The oldest supported versions of all dependencies, as pins: what `make oldest` installs.

    python tests/lower_bounds.py               # einops==0.8, ... from the metadata of videogpt-lm, extras included
    python tests/lower_bounds.py torch=2.13.0  # another version of one of them, where the oldest cannot be had

Refuses a dependency without a lower bound.
"""

import sys
from importlib.metadata import requires

from packaging.requirements import Requirement


def lower_bound(dependency: Requirement) -> str:
    """The oldest version that a dependency allows."""
    bounds = [part.version for part in dependency.specifier if part.operator == ">="]
    if len(bounds) != 1:
        raise ValueError(f"{dependency}: give it a lower bound, as in {dependency.name}>=1.0")
    return bounds[0]


def main(instead: dict[str, str]) -> None:
    """Print a pin for every dependency."""
    pins = set()
    for dependency in map(Requirement, requires("videogpt-lm") or []):
        if dependency.marker is None or dependency.marker.evaluate({"extra": "dev"}):
            extras = f"[{','.join(sorted(dependency.extras))}]" if dependency.extras else ""
            pins.add(f"{dependency.name}{extras}=={instead.get(dependency.name, lower_bound(dependency))}")
    print("\n".join(sorted(pins)))


if __name__ == "__main__":
    main(dict(argument.split("=", 1) for argument in sys.argv[1:]))
