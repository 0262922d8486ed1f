"""The scorecard as people read it: a table in the terminal, and docs/benchmarks.md with its plots."""

import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path

from rich.table import Table

from benchmarks.scorecard.rows import Row
from local.containers import ROOT

DOCUMENT = ROOT / "docs" / "benchmarks.md"
PLOT, GROWTH_PLOT = ROOT / "docs" / "benchmarks.svg", ROOT / "docs" / "growth.svg"
"""As `plots` draws them."""
BEGIN, END = "<!-- scorecard: `make bench` writes what is between here -->", "<!-- and here -->"
ACCURACY = ("recall@10", "R@1", "cosine")
"""Units of what is no time and no size."""
TITLES = {
    "query": "The query path",
    "precision": "int8 beside fp32",
    "batch": "Batch encoding",
    "loader": "Loading",
    "knn": "Approximate search",
    "growth": "Growth",
    "api": "Under load",
    "cost": "Cost",
}
"""Of the sections, in their order."""
PACKAGES = ("onnxruntime", "torch", "open_clip_torch", "transformers", "numpy", "pillow", "opensearch-py")


def machine() -> str:
    """What it was measured on, and with which versions."""
    processors = re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    memory = int(re.findall(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[0]) / 2**20
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    where = f"{len(processors)} cores ({processors[0]}), {memory:.0f} GiB, Linux, Python {platform.python_version()}"
    return f"{date.today():%Y-%m-%d}, commit {commit()}; {where}; {packages}"


def commit() -> str:
    """The commit that was measured, with a + where files differ from it."""
    done = subprocess.run(["git", "describe", "--always", "--dirty=+"], cwd=ROOT, check=False, capture_output=True)
    return done.stdout.decode().strip() or "unknown"


def table(rows: Sequence[Row]) -> Table:
    """The rows, for the terminal."""
    shown = Table("what", "against", "ours", "theirs", "ratio", "target", "")
    for row in rows:
        colour = {True: "green", False: "red", None: ""}[row.met]
        shown.add_row(*cells(row), style=colour)
    return shown


def cells(row: Row) -> tuple[str, str, str, str, str, str, str]:
    """The columns of a row: what, against, ours, theirs, ratio, target, whether it is met."""
    return (
        row.what,
        row.against,
        amount(row.ours, row.unit),
        "" if row.theirs is None else amount(row.theirs, row.unit),
        "" if row.ratio is None else figure(row.ratio),
        "" if row.target is None else f"≥ {row.target:g}",
        {True: "met", False: "missed", None: ""}[row.met],
    )


def amount(value: float, unit: str) -> str:
    """A value with its unit."""
    return f"{value:.5f} cosine" if unit == "cosine" else f"{figure(value)} {unit}"


def figure(value: float) -> str:
    """Three digits that count, as people write them."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".")


def write_document(sections: Mapping[str, Sequence[Row]], seconds: float) -> None:
    """Put a table for each section into docs/benchmarks.md, in the place that is marked there, and show the plots."""
    lines = [BEGIN, "", f"Measured in {seconds / 60:.0f} minutes: {machine()}.", "", f"![Ratios]({PLOT.name})"]
    for section, rows in sections.items():
        lines += ["", f"### {TITLES[section]}", ""]
        if any(row.curve for row in rows):
            lines += [f"![Growth]({GROWTH_PLOT.name})", ""]
        lines += ["| what | against | ours | theirs | ratio | target | | spread of ours, remarks |"]
        lines += ["|---|---|---:|---:|---:|---:|---|---|"]
        for row in rows:
            spread = f"{figure(row.spread[0])} to {figure(row.spread[1])}" if row.spread else ""
            remarks = "; ".join(filter(None, (spread, row.note)))
            lines.append("| " + " | ".join((*cells(row), remarks)) + " |")
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(before + "\n".join([*lines, "", END]) + after)
