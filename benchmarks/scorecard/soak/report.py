"""What a soak has found: its rows and its table."""

import statistics as averages
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.table import Table

from benchmarks.scorecard.mix import Answer
from benchmarks.scorecard.rows import Row
from benchmarks.scorecard.soak.truth import Difference

CALM = "calm"
IN_A_ROW = 10
"""Right answers one after the other, after which a search is well again."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the soak: `answered` is when OpenSearch answered again, where it was away. Times are monotonic."""

    name: str
    began: float
    ended: float
    answered: float | None = None


@dataclass(slots=True)
class Findings:
    """All that a soak saw.

    Attributes:
        answers: What became of every request.
        phases: In order, without gaps.
        difference: Between the index and the truth, in the end.
        delays: Seconds from a part being written to its being searched, by part.
        written: When each part was written; time.monotonic().
        unseen: Parts that were never found.
        documents: How many the index should have in the end.
        messages, retries, dead: What the loader was given, what of that came back, and what was given up.
        refused: Writes of parts that S3 refused, after all retries.
        drained: Seconds from the end of the last phase until the queue was empty; None if it never was.
    """

    answers: list[Answer] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)
    difference: Difference = field(default_factory=lambda: Difference([], [], []))
    delays: dict[int, float] = field(default_factory=dict)
    written: dict[int, float] = field(default_factory=dict)
    unseen: list[int] = field(default_factory=list)
    documents: int = 0
    messages: int = 0
    retries: int = 0
    dead: int = 0
    refused: int = 0
    drained: float | None = None

    def of(self, phase: Phase) -> list[Answer]:
        """What was asked or answered in `phase`; where that was in two, the one that wasn't calm counts."""
        return [answer for answer in list(self.answers) if self._phase(answer) is phase]

    def _phase(self, answer: Answer) -> Phase | None:
        met = [phase for phase in self.phases if answer.began < phase.ended and answer.ended >= phase.began]
        return next((phase for phase in met if phase.name != CALM), met[0] if met else None)

    def problems(self) -> Iterator[str]:
        """Everything that must not be."""
        difference = self.difference
        kinds = ("lost", difference.lost), ("too many", difference.surplus), ("outdated", difference.outdated)
        for what, ids in kinds:
            if ids:
                yield f"{len(ids)} documents {what}: {', '.join(ids[:5])}"
        if self.dead:
            yield f"{self.dead} parts were given up"
        if self.drained is None:
            yield "the queue was never empty"
        if self.unseen:
            yield f"{len(self.unseen)} parts were never found: {self.unseen[:5]}"
        for problem, count in Counter(answer.problem for answer in self.answers if answer.problem).most_common(10):
            yield f"{count} answers: {problem}"
        for phase in self.phases:
            if phase.answered and recovered(self.answers, phase.answered, IN_A_ROW) is None:
                yield f"after the {phase.name}, the search was never well again"


def recovered(answers: Sequence[Answer], since: float, in_a_row: int) -> float | None:
    """Seconds from `since` until as many answers as `in_a_row` were right one after the other; None if never."""
    run = 0
    for answer in sorted(answers, key=lambda answer: answer.ended):
        if answer.ended >= since:
            run = run + 1 if answer.status == 200 and not answer.problem else 0
            if run == in_a_row:
                return answer.ended - since
    return None


def rows(found: Findings) -> Iterator[Row]:
    """The figures of a soak."""
    difference = found.difference
    yield Row("soak-queries", "queries asked", "", "queries", len(found.answers), better="more")
    yield Row("soak-documents", "documents in the end", "", "documents", found.documents, better="more")
    yield Row("soak-lost", "documents lost", "", "documents", len(difference.lost))
    yield Row("soak-surplus", "documents too many", "", "documents", len(difference.surplus))
    yield Row("soak-outdated", "documents of a wrong version", "", "documents", len(difference.outdated))
    wrong = [answer for answer in found.answers if answer.problem]
    yield Row("soak-wrong", "wrong answers", "", "answers", sum(answer.status == 200 for answer in wrong))
    yield Row(
        "soak-improper", "errors that are no 503 or 429", "", "answers", sum(answer.status != 200 for answer in wrong)
    )
    yield Row("soak-dead", "parts given up", "", "parts", found.dead)
    yield Row("soak-retries", "parts that came back", "", "parts", found.retries, note=f"of {found.messages} messages")
    yield Row("soak-slowest", "longest wait for an answer", "", "s", max(answer.ms for answer in found.answers) / 1_000)
    for phase in found.phases:
        if phase.answered:
            since = "from when OpenSearch answers again"
            for key, what, count in (
                ("first", "first right answer", 1),
                ("recovery", f"{IN_A_ROW} in a row", IN_A_ROW),
            ):
                after = recovered(found.answers, phase.answered, count)
                if after is not None:
                    yield Row(f"soak-{key}-{phase.name}", f"{what} after the {phase.name}", "", "s", after, note=since)
    for name, answers in _by_name(found).items():
        share = sum(answer.status != 200 for answer in answers) / max(1, len(answers))
        key = f"soak-errors-{name.lower().replace(' ', '-')}"
        yield Row(key, f"requests that failed ({name})", "", "%", 100 * share, note=f"of {len(answers):,}")
    if found.delays:
        delays = list(found.delays.values())
        for key, what, value in (("p50", "median", averages.median(delays)), ("max", "longest", max(delays))):
            yield Row(f"soak-searchable-{key}", f"from written to searched, {what}", "", "s", value)
    if found.drained is not None:
        yield Row("soak-drained", "from the last part to an empty queue", "", "s", found.drained)


def table(found: Findings) -> Table:
    """What happened, phase by phase."""
    shown = Table("phase", "s", "queries", "statuses", "failed %", "p50 ms", "max s", "well again s", "searchable s")
    for phase in found.phases:
        answers = found.of(phase)
        statuses = Counter(answer.status for answer in answers)
        failed = sum(answer.status != 200 for answer in answers)
        well = recovered(found.answers, phase.answered, IN_A_ROW) if phase.answered else None
        delays = [s for n, s in found.delays.items() if phase.began <= found.written[n] < phase.ended]
        shown.add_row(
            phase.name,
            f"{phase.ended - phase.began:.0f}",
            str(len(answers)),
            ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items())),
            f"{100 * failed / len(answers):.1f}" if answers else "",
            f"{averages.median(answer.ms for answer in answers):.0f}" if answers else "",
            f"{max(answer.ms for answer in answers) / 1_000:.1f}" if answers else "",
            f"{well:.1f}" if well is not None else "",
            f"{min(delays):.0f} to {max(delays):.0f}" if delays else "",
        )
    return shown


def _by_name(found: Findings) -> dict[str, list[Answer]]:
    named: dict[str, list[Answer]] = defaultdict(list)
    for phase in found.phases:
        named[phase.name] += found.of(phase)
    return named
