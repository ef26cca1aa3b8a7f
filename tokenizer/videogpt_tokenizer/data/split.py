"""Which clips train and which validate.

    training, validation = split_by_name(["a.mp4", "b.mp4", "a.mp4"], fraction=0.05)    # indices into the list

The hash of a name decides, never its place in a list, so that a clip stays on its side when others come or go. Another
hash would validate models on clips that they were trained on.
"""

import hashlib
from collections.abc import Sequence


def split_by_name(names: Sequence[str], fraction: float) -> tuple[list[int], list[int]]:
    """Split what has these names, one or more: the indices that train, and those that validate, both ascending.

    About `fraction` of the names validate. Equal names fall on the same side. The name of the lowest hash validates in
    any case: only where all names are equal does nothing train.
    """
    place = {
        name: int(hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:13], 16) / 16**13 for name in names
    }
    limit = max(fraction, min(place.values()))
    validates = [place[name] <= limit for name in names]
    training = [index for index, yes in enumerate(validates) if not yes]
    return training, [index for index, yes in enumerate(validates) if yes]
