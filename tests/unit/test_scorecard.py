from pathlib import Path

import pytest

from benchmarks.scorecard import cost, report
from benchmarks.scorecard.__main__ import compare
from benchmarks.scorecard.rows import Curve, Row, compared, load, save

TIME = compared("warm", "a warm query", "torch", "ms", [20.0, 10.0, 40.0], [100.0, 90.0, 120.0], target=5.0)
RECALL = Row("recall", "recall", "exact", "recall@10", 0.98, 1.0, target=0.99, better="more")
STATED = Row("rate", "requests", "", "requests/s", 51.0)


def test_a_row_has_medians_their_ratio_and_the_spread_of_ours() -> None:
    assert (TIME.ours, TIME.theirs, TIME.spread, TIME.ratio) == (20.0, 100.0, (10.0, 40.0), 5.0)


def test_a_target_is_met_at_the_ratio_it_names() -> None:
    assert TIME.met is True
    assert RECALL.met is False
    assert STATED.met is None


def test_rows_survive_their_file(tmp_path: Path) -> None:
    grows = Row("growth", "grows", "", "exponent", 1.0, curve=Curve("s", (1, 10), (0.5, 5.0)))
    save([TIME, RECALL, STATED, grows], tmp_path / "deep" / "rows.json")
    assert load(tmp_path / "deep" / "rows.json") == [TIME, RECALL, STATED, grows]


@pytest.mark.parametrize(
    ("row", "kept", "worse"),
    [
        (TIME, 7.0, False),  # 5 is 29 % less
        (TIME, 7.3, True),
        (RECALL, 0.985, False),
        (RECALL, 0.995, True),  # of accuracy, 1 % is much
        (STATED, 100.0, False),  # without a ratio there is nothing to hold against
    ],
)
def test_a_ratio_that_got_worse_by_more_than_its_margin_is_named(row: Row, kept: float, worse: bool) -> None:
    lines = compare([row], {row.key: kept})
    assert [line.partition(":")[0] for line in lines] == ([row.key] if worse else [])


def test_a_new_row_is_held_against_nothing() -> None:
    assert compare([TIME], {}) == []


def test_costs_follow_from_the_times_that_were_measured() -> None:
    def of_queries(milliseconds: float) -> Row:
        warm = Row("text-handler/open_clip", "a text query", "torch + open_clip", "ms", milliseconds, 200.0)
        return next(row for row in cost.measure([warm]) if row.key == "cost-queries/open_clip")

    # 1,000 x 0.05 s x 2 GB at 16.67 a million GB-s, and 3.70 a million calls
    assert of_queries(50.0).ours == pytest.approx(0.001667 + 0.0037)
    assert of_queries(100.0).ours == pytest.approx(0.003334 + 0.0037)
    assert [row.key for row in cost.measure([])] == ["cost-idle"]


def test_the_document_gets_the_table_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = tmp_path / "benchmarks.md"
    document.write_text(f"# Before\n\n{report.BEGIN}\nold\n{report.END}\n\nAfter\n")
    monkeypatch.setattr(report, "DOCUMENT", document)
    report.write_document({"query": [TIME, STATED], "knn": [RECALL]}, 60)
    text = document.read_text()
    assert text.index("### The query path") < text.index("| a warm query") < text.index("### Approximate search")
    assert text.startswith("# Before\n")
    assert text.endswith("\nAfter\n")
    assert "| a warm query | torch | 20.0 ms | 100 ms | 5.00 | ≥ 5 | met | 10.0 to 40.0 |" in text
    assert "| recall | exact | 0.980 recall@10 | 1.00 recall@10 | 0.980 | ≥ 0.99 | missed |" in text
    assert "old" not in text
