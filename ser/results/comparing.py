"""Reported cells compared with measured runs, and the verdicts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping

from common.agreement import Agreement, agreement
from common.contract import Paper
from common.metrics import METRICS
from common.results import Cell, Comparison, Condition, RunResults
from ser.results.condition import condition_of
from ser.results.measuring import FoldStatistics, measure, statistics_of_run

VERDICTS = ("agrees", "differs", "undecided", "not reported", "own recordings", "not run", "corpus absent")
"""agrees, differs, undecided: see `common.agreement`. Only a run of the experiment as the paper declares it, with all
folds and repeats, gets one of these; for any other run, the words of `Condition.label` stand in place of a verdict.
"not reported": the metric was measured, and the paper prints no such number. "own recordings": the method was run on a
user's own recordings, about which the paper says nothing."""


def whole_vector(cell: Cell) -> Cell:
    """The cell of the same quantity over the whole vector of predictions, on which no order has an influence."""
    return dataclasses.replace(
        cell,
        cell=f"{cell.cell}/whole",
        column=f"{cell.column}, whole",
        metric=f"ccc/{cell.labels}/pooled",
        value=math.nan,
        std=math.nan,
        note="",
    )


def shown_cells(cell: Cell) -> tuple[Cell, ...]:
    """A cell with what is shown beside it: a CCC averaged over batches is followed by that of the whole vector."""
    return (cell, whole_vector(cell)) if cell.function == "ccc_batch32" else (cell,)


def unreported_cells(cells: Iterable[Cell]) -> list[Cell]:
    """For each experiment, cells of the metrics that are always shown (`Metric.always`) and that the paper lacks.

    Args:
        cells: reported cells of one table.
    """
    by_experiment: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.experiment:
            by_experiment.setdefault(cell.experiment, []).append(cell)
    added = []
    for own in by_experiment.values():
        first = own[0]
        for name, metric in METRICS.items():
            if metric.always and metric.task == first.registered.task and name not in {cell.function for cell in own}:
                aggregation = first.aggregation if first.aggregation in ("folds", "pooled") else "folds"
                added.append(
                    dataclasses.replace(
                        first,
                        cell=f"{first.cell}/{name}",
                        column=metric.title,
                        metric=f"{name}/{first.labels}/{aggregation}",
                        value=math.nan,
                        std=math.nan,
                        note="",
                    )
                )
    return added


def own_cells(run: RunResults) -> list[Cell]:
    """What is measured of a method on a user's own recordings: cells without a reported number.

    Args:
        run: the run.
    """
    record = run.run
    if record["classes"]:
        labels = f"{len(record['classes'])}class"
        metrics = {METRICS[name].title: f"{name}/{labels}/pooled" for name in ("wa", "ua")}
    else:
        metrics = {name: f"ccc/{name}/pooled" for name in (*record["dimensions"], "mean")}
    row, experiment = f"{record['title']} ({record['experiment']})", record["experiment"]
    return [
        Cell(f"own/{experiment}/{column}", "own", row, column, metric, math.nan, math.nan, experiment, "")
        for column, metric in metrics.items()
    ]


def compare(
    paper: Paper, cells: Iterable[Cell], runs: Mapping[str, RunResults], absent: Iterable[str] = ()
) -> list[Comparison]:
    """Compares cells with runs.

    Args:
        paper: the paper, which declares what its experiments are.
        cells: reported cells.
        runs: the run of each experiment, by the experiment's id.
        absent: experiments whose corpus is not on this machine.

    Returns:
        One comparison per cell (two where `shown_cells` adds one), in the same order.
    """
    absent = set(absent)
    conditions: dict[str, Condition] = {}
    known: dict[tuple[str, str], FoldStatistics] = {}
    result = []
    for cell in cells:
        run = runs.get(cell.experiment)
        if run is None or not run.trials:
            result.append(Comparison(cell, "corpus absent" if cell.experiment in absent else "not run"))
            continue
        if cell.experiment not in conditions:
            conditions[cell.experiment] = condition_of(run, paper)
        for one in shown_cells(cell):
            key = one.experiment, one.registered.statistic
            if key not in known:
                known[key] = statistics_of_run(run, one.registered.statistic)
            result.append(_compared(one, run, conditions[cell.experiment], known[key]))
    return result


def _compared(cell: Cell, run: RunResults, condition: Condition, found: FoldStatistics) -> Comparison:
    measured = measure(found, cell, len(run.run["folds"]))
    over_seeds = None
    if condition.unchanged and not math.isnan(cell.value):
        # A standard deviation that a paper prints is over its runs, of which the experiment declares the number.
        runs, margin = run.run["declared_repeats"], cell.registered.margin
        over_seeds = agreement(measured.by_repeat, cell.value, cell.std, runs, margin=margin)
    if not condition.as_declared:
        verdict = condition.label
        if over_seeds:  # Folds that are missing are no random spread, so there is a difference without an interval.
            over_seeds = Agreement("undecided", over_seeds.difference, math.nan, math.nan)
    else:
        verdict = over_seeds.verdict if over_seeds else "own recordings" if run.run.get("own") else "not reported"
    return Comparison(
        cell, verdict, measured, run.run["corpus"], over_seeds, condition, run.flags, audit_in_words(run.trials)
    )


def worst_overlap(trials: Iterable[dict]) -> dict[str, int]:
    """For each kind of overlap between test and training parts, the largest count in any trial."""
    worst: dict[str, int] = {}
    for trial in trials:
        for name, count in trial["audit"].items():
            worst[name] = max(worst.get(name, 0), count)
    return worst


def audit_in_words(trials: Iterable[dict]) -> tuple[str, ...]:
    """`worst_overlap` as phrases."""
    return tuple(f"{name} shared: {count}" for name, count in worst_overlap(trials).items())
