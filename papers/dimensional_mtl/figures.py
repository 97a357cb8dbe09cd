"""Figures 4 to 6 and the significance tests of Table 5: the authors' numbers and, next to them, the measured ones.

Measured points of Figures 4 to 6 are CCCs of the whole test part; the authors' points are means over batches of 32 (see
README.md). So the two panels can be compared in shape, but not in scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.results import kinds_of
from papers.dimensional_mtl.config import DIMENSIONS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from common.results import Comparison, RunResults

COLOURS = {"valence": "#1b7837", "arousal": "#b2182b", "dominance": "#2166ac", "mean": "#222222"}
REPORTED, MEASURED = "Reported: batches of 32, averaged", "Measured: whole test part"


def _reported(comparisons: Sequence[Comparison], table: str) -> dict[str, dict[str, float]]:
    """The authors' points, by row ("alpha-0.7-beta-0.2") and dimension."""
    points: dict[str, dict[str, float]] = {}
    for cell in (one.cell for one in comparisons):
        if cell.table == table:
            points.setdefault(cell.experiment.rsplit("/", 1)[1], {})[cell.labels] = cell.value
    return points


def _measured(runs: Mapping[str, RunResults], table: str) -> dict[str, dict[str, float]]:
    """CCCs of the whole test part, averaged over trials, by row and dimension."""
    import numpy as np

    from common.metrics import ccc

    points = {}
    for experiment, run in runs.items():
        if run.predictions and experiment.startswith(f"dimensional_mtl/{table}/"):
            found = {
                name: float(np.mean([ccc(one[name], one[f"predicted_{name}"]) for one in run.predictions]))
                for name in DIMENSIONS
            }
            points[experiment.rsplit("/", 1)[1]] = {**found, "mean": float(np.mean(list(found.values())))}
    return points


def _measured_title(comparisons: Sequence[Comparison], table: str) -> str:
    """The title of the measured panel, with what the runs are ("synthetic, scaled")."""
    return ", ".join([MEASURED, *kinds_of(one for one in comparisons if one.cell.table == table)])


def _settings(row: str) -> dict[str, float]:
    """The settings in the name of a row: "alpha-0.7-beta-0.2" is alpha 0.7 and beta 0.2."""
    parts = row.split("-")
    return {name: float(value) for name, value in zip(parts[::2], parts[1::2], strict=True)}


def draw_weights(runs: Mapping[str, RunResults], comparisons: Sequence[Comparison]) -> Figure | None:
    """Fig. 4: mean CCC as a surface over alpha and beta."""
    import numpy as np
    from matplotlib.figure import Figure

    measured = _measured(runs, "fig4")
    if not measured:
        return None
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    for number, (title, points) in enumerate(
        ((REPORTED, _reported(comparisons, "fig4")), (_measured_title(comparisons, "fig4"), measured)), start=1
    ):
        axes = figure.add_subplot(1, 2, number, projection="3d")
        grid = np.full((11, 11), np.nan)
        for row, values in points.items():
            settings = _settings(row)
            grid[round(10 * settings["alpha"]), round(10 * settings["beta"])] = values["mean"]
        steps = np.linspace(0, 1, 11)
        alpha, beta = np.meshgrid(steps, steps, indexing="ij")
        if np.isnan(grid).any():  # a surface needs every point
            known = ~np.isnan(grid)
            axes.scatter(alpha[known], beta[known], grid[known], c=grid[known], cmap="viridis", depthshade=False)
        else:
            axes.plot_surface(alpha, beta, grid, cmap="viridis", rstride=1, cstride=1)
        best = max(points, key=lambda row, points=points: points[row]["mean"])
        at = _settings(best)
        axes.set_title(f"{title}\nbest {points[best]['mean']:.3f} at α {at['alpha']:g}, β {at['beta']:g}", size=9)
        axes.set(xlabel="α (valence)", ylabel="β (arousal)", xlim=(0, 1), ylim=(0, 1))
        axes.set_zlabel("mean CCC", labelpad=6)
        axes.view_init(28, -50)
        axes.set_box_aspect(None, zoom=0.85)
    return figure


def _draw_curves(
    size: tuple[float, float],
    columns: Sequence[tuple[str, str, Mapping[str, float]]],
    comparisons: Sequence[Comparison],
    runs: Mapping[str, RunResults],
    table: str,
) -> Figure | None:
    """Line plots, the reported points in the upper row and the measured ones in the lower; None if nothing was run.

    Args:
        size: size of the figure in inches.
        columns: for each column, the label of its x axis, the setting on that axis, and the other settings of the rows
            that it shows.
        comparisons: of the paper's cells, which hold the reported points.
        runs: the measured runs, by experiment.
        table: "fig5" or "fig6".
    """
    from matplotlib.figure import Figure

    measured = _measured(runs, table)
    if not measured:
        return None
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(2, len(columns), sharex=True, sharey="row", squeeze=False)
    panels = (REPORTED, _reported(comparisons, table)), (_measured_title(comparisons, table), measured)
    for line, (title, points) in zip(grid, panels, strict=True):
        for axes, (label, name, others) in zip(line, columns, strict=True):
            rows = [(_settings(row), values) for row, values in points.items()]
            shown = sorted((of[name], values) for of, values in rows if of == {**others, name: of.get(name)})
            positions = [position for position, _ in shown]
            for dimension, colour in COLOURS.items():
                axes.plot(
                    positions, [values[dimension] for _, values in shown], "o-", color=colour, label=dimension,
                    markersize=3, linewidth=2 if dimension == "mean" else 1,
                )  # fmt: skip
            axes.set(xlabel=label, xlim=(-0.03, 1.03))
            axes.grid(alpha=0.3)
        line[0].set_ylabel("CCC")
        line[0].set_title(title, size=9, loc="left")
    grid[0][-1].legend(fontsize=7, loc="lower right")
    return figure


def draw_three_weights(runs: Mapping[str, RunResults], comparisons: Sequence[Comparison]) -> Figure | None:
    """Fig. 5: CCC over each of alpha, beta and gamma, with the other two at 1."""
    columns = [("α (valence)", "alpha", {}), ("β (arousal)", "beta", {}), ("γ (dominance)", "gamma", {})]
    return _draw_curves((10, 6), columns, comparisons, runs, "fig5")


def draw_dropout(runs: Mapping[str, RunResults], comparisons: Sequence[Comparison]) -> Figure | None:
    """Fig. 6: CCC over the acoustic rate (text 0.3) and over the text rate (acoustic 0.1)."""
    columns = [
        ("acoustic dropout (text 0.3)", "acoustic", {}),
        ("text dropout (acoustic 0.1)", "text", {"acoustic": 0.1}),
    ]
    return _draw_curves((8, 6), columns, comparisons, runs, "fig6")


@dataclass(frozen=True)
class PairTest:
    """Two-sided tests of LSTM + LSTM against another pair of Table 5, on the mean CCC of each run (Sec. VI-C.1).

    The paper calls its test paired, although runs of different networks have nothing in common but the number of their
    seed; Welch's test does without pairs and without equal variances.

    Attributes:
        row: the other pair.
        difference: measured mean of LSTM + LSTM minus that of the other pair.
        welch: p of Welch's test; NaN with fewer than two runs of either.
        paired: p of the paired t test over seeds; NaN if the numbers of runs differ.
        reported: p of Welch's test from the printed means and deviations of 20 runs.
    """

    row: str
    difference: float
    welch: float
    paired: float
    reported: float


BEST = "table5/iemocap/lstm-lstm"
RUNS = 20


def pair_tests(comparisons: Sequence[Comparison]) -> list[PairTest]:
    """Tests LSTM + LSTM against every other reported pair of Table 5; p of what was not measured is NaN."""
    from scipy import stats

    rows = {
        one.cell.cell.rsplit("/", 1)[0]: one
        for one in comparisons
        if one.cell.table == "5" and one.cell.labels == "mean" and one.cell.function == "ccc_batch32"
    }
    best, tests = rows.pop(BEST), []
    for other in rows.values():
        if math.isnan(other.cell.value):
            continue
        printed = [(one.cell.value, one.cell.std, RUNS) for one in (best, other)]
        reported = stats.ttest_ind_from_stats(*printed[0], *printed[1], equal_var=False).pvalue
        difference = welch = paired = math.nan
        if best.measured is not None and other.measured is not None:
            ours, theirs = best.measured.by_repeat, other.measured.by_repeat
            difference = best.measured.value - other.measured.value
            if min(len(ours), len(theirs)) > 1:
                welch = float(stats.ttest_ind(ours, theirs, equal_var=False).pvalue)
                paired = float(stats.ttest_rel(ours, theirs).pvalue) if len(ours) == len(theirs) else math.nan
        tests.append(PairTest(other.cell.row, difference, welch, paired, float(reported)))
    return tests


def draw_pairs(runs: Mapping[str, RunResults], comparisons: Sequence[Comparison]) -> Figure | None:
    """Table 5: mean CCC and deviation of every pair, with p of its difference from LSTM + LSTM."""
    from matplotlib.figure import Figure

    tests = {one.row: one for one in pair_tests(comparisons)}
    if all(math.isnan(one.difference) for one in tests.values()):
        return None
    shown = [
        one for one in comparisons
        if one.cell.table == "5" and one.cell.labels == "mean" and one.cell.function == "ccc_batch32"
        and not math.isnan(one.cell.value)
    ]  # fmt: skip
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    title = ", ".join(["Measured", *kinds_of(one for one in comparisons if one.cell.table == "5")])
    for axes, heading, measured in zip(panels, ("Reported, 20 runs", title), (False, True), strict=True):
        for place, one in enumerate(shown):
            found = one.measured if measured else one.cell
            if found is None:
                continue
            axes.errorbar(found.value, place, xerr=0 if math.isnan(found.std) else found.std, fmt="o", color="#2166ac")
            test = tests.get(one.cell.row)
            if test is None:
                continue
            words = f"p = {test.reported:.1g}"
            if measured:
                words = f"p = {test.welch:.1g} (paired {test.paired:.1g}), {one.measured.repeats} runs"
            axes.annotate(words, (found.value, place), (0, 5), textcoords="offset points", ha="center", size=7)
        axes.set_title(heading, size=9, loc="left")
        axes.set_xlabel("mean CCC, batches of 32; p: Welch's test against LSTM + LSTM", size=8)
        axes.grid(alpha=0.3)
    panels[0].set_yticks(range(len(shown)), [one.cell.row for one in shown])
    panels[0].set_ylim(len(shown) - 0.4, -0.6)
    return figure
