"""The plots of docs/benchmarks.md."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

from benchmarks.scorecard.report import ACCURACY
from benchmarks.scorecard.rows import Row

mpl.use("svg")
mpl.rcParams |= {"svg.hashsalt": "scorecard", "svg.fonttype": "none"}  # the same figures give the same, small file

from matplotlib import pyplot, ticker  # noqa: E402

GOOD, BAD = "#2a7f62", "#b5483a"
COLUMNS = 3


def draw_ratios(rows: Sequence[Row], path: Path) -> None:
    """Plot the ratios of times and sizes that have a target, each with its target, by their keys."""
    drawn = [row for row in rows if row.target and row.ratio and row.unit not in ACCURACY]
    figure, axes = pyplot.subplots(figsize=(9, 0.26 * len(drawn) + 1), layout="constrained")
    names = [row.key for row in drawn]
    colours = [GOOD if row.met else BAD for row in drawn]
    axes.barh(names, [row.ratio - 1 for row in drawn if row.ratio], left=1, color=colours)
    axes.scatter([row.target for row in drawn if row.target], names, marker="|", s=160, color="black", label="target")
    axes.set_xscale("log")
    axes.set_xticks([1, 2, 5, 10, 20], minor=False)
    axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.invert_yaxis()
    axes.set_xlabel("times better than the other")
    axes.legend(loc="lower right")
    axes.tick_params(labelsize=8)
    figure.savefig(path, metadata={"Date": None})


def draw_curves(rows: Sequence[Row], path: Path) -> None:
    """Plot how each of `rows` that has a curve grows with the collection, and the power of n that fits it."""
    drawn = [(row, row.curve) for row in rows if row.curve]
    if not drawn:
        return
    lines = -(-len(drawn) // COLUMNS)
    plot, grid = pyplot.subplots(lines, COLUMNS, figsize=(9, 2.6 * lines), layout="constrained", squeeze=False)
    for axes in grid.flat[len(drawn) :]:
        axes.set_visible(False)
    for axes, (row, curve) in zip(grid.flat, drawn, strict=False):
        sizes, figures = np.array(curve.sizes), np.array(curve.figures)
        ends = np.array([sizes.min(), sizes.max()])
        fitted = np.exp(np.log(figures).mean() + row.ours * (np.log(ends) - np.log(sizes).mean()))
        axes.loglog(ends, fitted, color="grey", linewidth=0.8)
        axes.loglog(sizes, figures, "o", color=GOOD)
        axes.set_title(f"{row.key.removeprefix('growth-')}, {curve.unit}: n to the power of {row.ours:.2f}", fontsize=8)
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.set_yticks(figures, [f"{figure:,.4g}" for figure in figures])
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_formatter(ticker.NullFormatter())
        axes.tick_params(labelsize=7)
    plot.savefig(path, metadata={"Date": None})
