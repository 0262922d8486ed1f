"""What the scorecard is made of: rows, each a figure of ours beside that of what a user would use instead."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

Section = Callable[[bool], Iterator["Row"]]
"""A part of the scorecard: measures, little if its argument `quick` is true, and gives rows as they come."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Figures in `unit` at several sizes of a collection."""

    unit: str
    sizes: tuple[int, ...]
    figures: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the scorecard.

    Attributes:
        key: Stable name by which runs are compared: `text-warm/transformers`.
        what: What is measured, in words.
        against: What ours is compared with, in words; empty for a figure that is only stated.
        unit: Of `ours` and `theirs`, such as ms or images/s.
        ours: Our figure, a median where there are several.
        theirs: The other's.
        spread: The lowest and the highest of ours.
        target: What the ratio should be at least.
        better: Whether less is better, as of time and memory, or more, as of rates and recall.
        note: What a reader has to know of it.
        curve: What it was fitted to, of an exponent.
    """

    key: str
    what: str
    against: str
    unit: str
    ours: float
    theirs: float | None = None
    spread: tuple[float, float] | None = None
    target: float | None = None
    better: Literal["less", "more"] = "less"
    note: str = ""
    curve: Curve | None = None

    @property
    def ratio(self) -> float | None:
        """How many times better ours is: below 1, it is worse."""
        if not self.theirs or not self.ours:
            return None
        return self.theirs / self.ours if self.better == "less" else self.ours / self.theirs

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.target is None or self.ratio is None:
            return None
        return self.ratio >= self.target


def compared(
    key: str, what: str, against: str, unit: str, ours: Sequence[float], theirs: Sequence[float], **more: object
) -> Row:
    """A row of the medians of two series that were measured in turns; `more` is as in Row."""
    return Row(
        key, what, against, unit, statistics.median(ours), statistics.median(theirs), (min(ours), max(ours)),
        **more,  # type: ignore[arg-type]
    )  # fmt: skip


def save(rows: Sequence[Row], path: Path) -> None:
    """Write `rows` as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_ROWS.dump_json(list(rows), indent=1) + b"\n")


def load(path: Path) -> list[Row]:
    """The rows of a file that `save` wrote."""
    return _ROWS.validate_json(path.read_bytes())


_ROWS = TypeAdapter(list[Row])
