"""How a message names many things in one line: the first few, and how many more there are."""

from collections.abc import Collection


def some_of(names: Collection[str], limit: int = 3, joiner: str = ", ") -> str:
    """`a, b, c, and 4 more`; with the joiner "; " whole sentences."""
    more = [f"and {len(names) - limit} more"] if len(names) > limit else []
    return joiner.join([*list(names)[:limit], *more])
