"""Facets: how often the values of a field occur among images, to narrow a search with."""

from collections.abc import Sequence

from imagesearch.errors import InvalidInput
from imagesearch.index.base import MAX_RESULTS

FIELDS = ("tags", "color", "credit", "format", "orientation", "year")
"""The fields that have facets. `year` is no field of a filter: filter `created_at` by a range instead."""
MAX_SIZE = 1_000
"""How many values of a field may be asked for."""


def check_facets(fields: Sequence[str], candidates: int, size: int) -> None:
    """Nothing, if the arguments of `VectorIndex.facets` are right.

    Raises:
        InvalidInput: one of them isn't.
    """
    if unknown := [field for field in fields if field not in FIELDS]:
        raise InvalidInput(f"there are no facets of {unknown[0]!r}; there are some of {', '.join(FIELDS)}", "facets")
    if not 1 <= candidates <= MAX_RESULTS:
        raise InvalidInput(f"candidates must be from 1 to {MAX_RESULTS:,}, not {candidates}", "candidates")
    if not 1 <= size <= MAX_SIZE:
        raise InvalidInput(f"size must be from 1 to {MAX_SIZE:,}, not {size}", "size")
