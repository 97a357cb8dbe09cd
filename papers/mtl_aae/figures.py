"""Figures 2 and 3, and a figure of the training, drawn from finished trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from common.results import kinds_of

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from common.results import Comparison, RunResults

SINGLE, MULTI = "#9aa5b1", "#1f5f8b"
"""Colours of single- and multi-task networks; they differ in lightness, so that they also differ in grey."""


TRAINING_ROWS = 6
"""The figure of the training shows at most this many runs."""


def _measured(comparisons: Sequence[Comparison], table: str) -> list[Comparison]:
    return [one for one in comparisons if one.cell.table == table and one.measured is not None]


def _error_bars(comparisons: Sequence[Comparison]):
    """Distances from the values to the ends of their intervals, shape (2, comparisons); 0 if there is no interval."""
    import numpy as np

    ends = [(one.measured.value - one.measured.low, one.measured.high - one.measured.value) for one in comparisons]
    return np.nan_to_num(np.maximum(np.array(ends).T, 0.0))


def _caption(runs: Mapping[str, RunResults], comparisons: Sequence[Comparison]) -> str:
    """What a reader must know about the runs, in one line."""
    used = [runs[one.cell.experiment] for one in comparisons]
    words = ["95 % intervals over speakers", *kinds_of(comparisons)]
    words += ["without auxiliary data"] * any("without auxiliary" in flag for run in used for flag in run.run["flags"])
    return ", ".join(words)


def draw_tasks(runs: Mapping[str, RunResults], comparisons: Sequence[Comparison]) -> Figure | None:
    """Fig. 2: UA of CNN, autoencoder and adversarial autoencoder, each with one task and with several.

    There is one panel for each corpus and target that was run (see `common.contract.Figure` for the arguments).
    """
    from matplotlib.figure import Figure

    found = _measured(comparisons, "fig2")
    panels = list(dict.fromkeys("/".join(one.cell.cell.split("/")[1:3]) for one in found))
    if not panels:
        return None
    figure = Figure(figsize=(3.4 * len(panels) + 0.6, 3.4), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axis, panel in zip(axes, panels, strict=True):
        own = [one for one in found if one.cell.cell.startswith(f"fig2/{panel}/")]
        models = [name for name in ("cnn", "ae", "aae") if any(one.cell.cell.split("/")[3] == name for one in own)]
        for shift, mode, colour in ((-0.2, "single", SINGLE), (0.2, "multi", MULTI)):
            bars = [one for one in own if one.cell.cell.endswith(f"/{mode}")]
            if not bars:
                continue
            places = [models.index(one.cell.cell.split("/")[3]) + shift for one in bars]
            values = [one.measured.value for one in bars]
            axis.bar(places, values, 0.38, yerr=_error_bars(bars), color=colour, label=f"{mode}-task", capsize=3)
            for place, value in zip(places, values, strict=True):
                axis.text(place, 1.5, f"{value:.1f}", ha="center", color="white", fontsize=8)
        axis.set_xticks(range(len(models)), [name.upper() for name in models])
        axis.set_title(own[0].cell.row.split(",")[0] if own[0].corpus in panel else f"{own[0].corpus}, as {panel}")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("UA (%)")
    axes[0].set_ylim(0, 100)
    axes[-1].legend(frameon=False, loc="upper right")
    figure.supxlabel(_caption(runs, found), fontsize=8)
    return figure


def draw_speakers(runs: Mapping[str, RunResults], comparisons: Sequence[Comparison]) -> Figure | None:
    """Fig. 3: UA of gender, speaker and emotion over the number of auxiliary speakers.

    Each task has a panel, with a line for each corpus (see `common.contract.Figure` for the arguments). Gender and
    speaker are those of networks with that task alone, as in the paper; dotted lines show them in the multi-task
    networks, on their development folds.
    """
    import numpy as np
    from matplotlib.figure import Figure

    found = _measured(comparisons, "fig3")
    if not found:
        return None
    figure = Figure(figsize=(10.2, 3.3), layout="constrained")
    axes = figure.subplots(1, 3)
    for axis, task in zip(axes, ("gender", "speaker", "emotion"), strict=True):
        for corpus in dict.fromkeys(one.cell.cell.split("/")[1] for one in found):
            every = [one for one in found if one.cell.cell.startswith(f"fig3/{corpus}/")]
            alone = [one for one in every if one.cell.cell.split("/")[2].startswith(f"{task}-")]
            own = [one for one in every if "-" not in one.cell.cell.split("/")[2]]
            title = every[0].cell.row.split()[0] if every[0].corpus == corpus else every[0].corpus
            own_runs = [runs[one.cell.experiment] for one in own]
            speakers = np.nan_to_num([_mean_of_history(run, "auxiliary_speakers") for run in own_runs])
            shown = own if task == "emotion" else alone
            if shown:
                counts = [_mean_of_history(runs[one.cell.experiment], "auxiliary_speakers") for one in shown]
                values = [one.measured.value for one in shown]
                axis.errorbar(np.nan_to_num(counts), values, _error_bars(shown), fmt="o-", capsize=3, label=title)
            if task == "emotion":
                continue
            values = 100 * np.array([_mean_of_history(run, f"{task}_development_ua") for run in own_runs])
            known = ~np.isnan(values)
            if known.any():
                axis.plot(speakers[known], values[known], "o:", label=f"{title}, with all tasks")
        if not axis.has_data():
            axis.text(0.5, 0.5, "held-out speakers\nwere not trained on", ha="center", transform=axis.transAxes)
        axis.set_title(task)
        axis.set_xlabel("auxiliary speakers")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("UA (%)")
    for axis in axes:
        if axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False, fontsize=8)
    figure.suptitle(_caption(runs, found), fontsize=8)
    return figure


def draw_training(runs: Mapping[str, RunResults], comparisons: Sequence[Comparison]) -> Figure | None:
    """How the objectives of the encoder balance: one row for each autoencoder, at most `TRAINING_ROWS`.

    The first panel has the share of each phase in the encoder's gradient, the second the accuracy of the discriminator
    (0.5: it cannot distinguish codes from draws of the prior), the third the distance of the code to the prior. Lines
    are means over trials.
    """
    from matplotlib.figure import Figure

    chosen = [name for name, run in runs.items() if len(_curve(run, "prior_distance"))][:TRAINING_ROWS]
    if not chosen:
        return None
    figure = Figure(figsize=(10.2, 2.3 * len(chosen) + 0.4), layout="constrained")
    for axes, name in zip(figure.subplots(len(chosen), 3, squeeze=False, sharex=True), chosen, strict=True):
        for phase, colour in (("reconstruction", "#d08a2e"), ("generator", "#7a4f9a"), ("classification", MULTI)):
            curve = _curve(runs[name], f"gradient_share_{phase}")
            if len(curve):
                axes[0].plot(range(1, len(curve) + 1), curve, color=colour, label=phase)
        for axis, measure in zip(axes[1:], ("discriminator_accuracy", "prior_distance"), strict=True):
            curve = _curve(runs[name], measure)
            if len(curve):
                axis.plot(range(1, len(curve) + 1), curve, color=MULTI)
            else:
                axis.text(0.5, 0.5, "no discriminator", ha="center", transform=axis.transAxes)
        axes[0].set_ylabel(name.split("/", 1)[1], fontsize=8)
        for axis in axes:
            axis.set_ylim(0, 1)
            axis.spines[["top", "right"]].set_visible(False)
    top, bottom = figure.axes[:3], figure.axes[-3:]
    titles = ("share of the encoder's gradient", "accuracy of the discriminator", "distance of code and prior")
    for axis, title in zip(top, titles, strict=True):
        axis.set_title(title, fontsize=9)
    for axis in bottom:
        axis.set_xlabel("epoch")
    if top[0].lines:
        top[0].legend(frameon=False, fontsize=8)
    return figure


def _curve(run: RunResults, name: str) -> np.ndarray:
    """Mean over trials of a history's values by epoch; an epoch counts the trials that reached it."""
    import numpy as np

    histories = [trial["history"].get(name, []) for trial in run.trials]
    longest = max(map(len, histories), default=0)
    padded = [[*values, *[np.nan] * (longest - len(values))] for values in histories if values]
    return np.nanmean(padded, axis=0) if padded else np.zeros(0)


def _mean_of_history(run: RunResults, name: str) -> float:
    """Mean over trials of a single value in their histories; NaN if no trial has it."""
    values = [trial["history"][name][0] for trial in run.trials if trial["history"].get(name)]
    return sum(values) / len(values) if values else math.nan
