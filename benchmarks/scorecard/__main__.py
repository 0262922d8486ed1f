"""Measure all that a user compares, side by side with what they would use instead.

    python -m benchmarks.scorecard [SECTION ...] [--quick] [--write] [--keep]

prints a table, writes .bench/<full or quick>.json, and holds each ratio against those kept in ratios.json: where one
got worse by more than a margin, it says which and exits with 1. Sections run one after another, each in a process of
its own. `--write` puts the table into docs/benchmarks.md, `--keep` makes the ratios of this run those to hold others
against. Nothing else should run meanwhile.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

from rich.console import Console

from benchmarks.scorecard import cost, report
from benchmarks.scorecard.rows import Row, load, save

SECTIONS = [section for section in report.TITLES if section != "cost"]
QUICK = ["query", "loader"]
"""Sections of a quick run, where none is named."""
RATIOS = Path(__file__).parent / "ratios.json"
RESULTS = report.ROOT / ".bench"
MARGIN, MARGIN_OF_ACCURACY = 0.30, 0.01
"""How much worse than the kept one a ratio may be: of times, which differ from run to run, and of recalls, which
don't."""

console = Console(highlight=False)


def main() -> int:
    """Run the sections, report, and tell whether anything failed or got worse."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scorecard", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"one of {', '.join(SECTIONS)}; all if none")
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"measure little, in three minutes; of {', '.join(QUICK)} if no section is named",
    )
    parser.add_argument("--write", action="store_true", help="write the table into docs/benchmarks.md")
    parser.add_argument("--keep", action="store_true", help="keep the ratios, for later runs to be held against")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"there is no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    if options.into:
        (section,) = options.sections
        save(list(import_module(f"benchmarks.scorecard.{section}").measure(options.quick)), options.into)
        return 0

    started = time.perf_counter()
    measured, failed = run_all(options.sections or (QUICK if options.quick else SECTIONS), options.quick)
    measured["cost"] = list(cost.measure([row for rows in measured.values() for row in rows]))
    rows = [row for section in measured.values() for row in section]
    seconds = time.perf_counter() - started
    mode = "quick" if options.quick else "full"
    save(rows, RESULTS / f"{mode}.json")
    console.print(report.table(rows), f"{seconds / 60:.1f} minutes. {report.machine()}", sep="\n")
    worse = compare(rows, kept_ratios().get(mode, {}))
    for line in worse:
        console.print(f"[red]worse: {line}")
    for section in failed:
        console.print(f"[red]failed: {section}")
    if options.write and not failed:
        report.write_document(measured, seconds)
        from benchmarks.scorecard import plots  # matplotlib is of the group bench alone

        plots.draw_ratios(rows, report.PLOT)
        plots.draw_curves(rows, report.GROWTH_PLOT)
    if options.keep and not failed:
        keep(rows, mode)
    return 1 if worse or failed else 0


def run_all(sections: Sequence[str], quick: bool) -> tuple[dict[str, list[Row]], list[str]]:
    """The rows of each section, and the sections that failed. What one left in memory doesn't slow the next."""
    rows: dict[str, list[Row]] = {}
    failed = []
    for section in sections:
        console.rule(section)
        started = time.perf_counter()
        into = RESULTS / "sections" / f"{section}.json"
        into.unlink(missing_ok=True)
        command = [sys.executable, "-m", "benchmarks.scorecard", section, "--into", str(into)]
        subprocess.run([*command, *(["--quick"] if quick else [])], cwd=report.ROOT, check=False)
        if into.exists():
            rows[section] = load(into)
        else:
            failed.append(section)
        console.print(f"{section}: {time.perf_counter() - started:.0f} s")
    return rows, failed


def compare(rows: Sequence[Row], kept: Mapping[str, float]) -> list[str]:
    """What got worse than the ratios in `kept`, a line each."""
    lines = []
    for row in rows:
        before = kept.get(row.key)
        margin = MARGIN_OF_ACCURACY if row.unit in report.ACCURACY else MARGIN
        if before and row.ratio is not None and row.ratio < before * (1 - margin):
            lines.append(f"{row.key}: ratio {row.ratio:.3g}, kept is {before:.3g}, and {margin:.0%} less is allowed")
    return lines


def kept_ratios() -> dict[str, dict[str, float]]:
    """For each mode, the ratios that runs are held against."""
    kept: dict[str, dict[str, float]] = json.loads(RATIOS.read_text()) if RATIOS.exists() else {}
    return kept


def keep(rows: Sequence[Row], mode: str) -> None:
    """Make the ratios of `rows` those that later runs are held against; of sections that didn't run, the old stay."""
    kept = kept_ratios()
    ratios = {row.key: round(row.ratio, 4) for row in rows if row.ratio is not None}
    kept[mode] = dict(sorted({**kept.get(mode, {}), **ratios}.items()))
    RATIOS.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
