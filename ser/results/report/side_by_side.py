"""All runs of some experiments side by side, so that what a changed setting does can be read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from common.contract import Paper
from common.errors import UserError, unknown
from common.results import Cell, Condition, Measurement, RunResults
from ser import registry
from ser.console import console
from ser.results.comparing import shown_cells, unreported_cells
from ser.results.condition import condition_of
from ser.results.measuring import measure, statistics_of_run
from ser.results.reading import read_run, runs_of
from ser.results.report.content import format_interval, format_mean
from ser.results.reported import read_cells

if TYPE_CHECKING:
    import pandas as pd

IDENTITY = (
    "version", "backend", "floatx", "image_data_format", "deterministic", "fingerprint", "auxiliary", "features",
    "pretrained",
)  # fmt: skip
"""Entries of `run.json`, besides the settings, that make runs of one experiment different ones."""


@dataclass(frozen=True)
class RunRow:
    """One run of an experiment.

    Attributes:
        run: the run.
        condition: what it is.
        identity: what else distinguishes it from the other runs of the experiment, in words.
        measured: cells with their measurements; the columns of cells are names of metrics.
    """

    run: RunResults
    condition: Condition
    identity: tuple[str, ...]
    measured: tuple[tuple[Cell, Measurement], ...]

    @property
    def name(self) -> str:
        """The run's id, which is the name of its folder."""
        return self.run.folders[0].parent.name

    @property
    def finished(self) -> str:
        """When its last trial was finished, as "2024-01-31 12:30" (UTC)."""
        return max(trial["finished"] for trial in self.run.trials)[:16].replace("T", " ")

    @property
    def seeds(self) -> int:
        """How many seeds were run per fold, counting only seeds with all folds that were run."""
        return max((measured.repeats for _, measured in self.measured), default=0)

    @property
    def details(self) -> tuple[str, ...]:
        """What differs from the declared experiment and from other runs, one line each."""
        return *self.condition.sentences, *self.identity, *self.run.left_out


def rows(prefix: str, results: Path) -> dict[str, list[RunRow]]:
    """All runs with finished trials, by experiment; those that a report prefers come first.

    Args:
        prefix: an experiment, or the beginning of some ids up to a slash ("mtap/table1/emodb").
        results: results folder.

    Raises:
        UserError: There is no such experiment, or no run of it, or a run is in another format.
    """
    prefix = prefix.rstrip("/")
    paper = registry.paper_of(prefix)
    chosen = [one.id for one in paper.experiments if f"{one.id}/".startswith(f"{prefix}/")]
    if not chosen and not runs_of(prefix, results):  # a run may be of an experiment that is not declared any more
        raise unknown("experiment", prefix, [one.id for one in paper.experiments])
    found = {name: _rows_of(paper, name, results) for name in chosen or [prefix]}
    found = {name: some for name, some in found.items() if some}
    if not found:
        raise UserError(
            f"{results} holds no finished trial of {prefix}. `ser run {(chosen or [prefix])[0]}` makes some."
        )
    return found


def _rows_of(paper: Paper, experiment: str, results: Path) -> list[RunRow]:
    runs = [run for run in map(read_run, runs_of(experiment, results)) if run.trials]
    cells = _cells(paper, experiment)
    found = [
        RunRow(run, condition_of(run, paper), identity, tuple(_measured(run, cells)))
        for run, identity in zip(runs, _identities([run.run for run in runs]), strict=True)
    ]
    return sorted(found, key=lambda row: (row.condition.unchanged, row.condition.complete, row.finished), reverse=True)


def _cells(paper: Paper, experiment: str) -> list[Cell]:
    """One cell for each metric of an experiment: those that the paper reports, then those that are always shown."""
    reported = [cell for cell in read_cells(paper.reported) if cell.experiment == experiment]
    cells = [one for cell in reported for one in shown_cells(cell)] + unreported_cells(reported)
    return list({cell.metric: cell for cell in reversed(cells)}.values())[::-1]


def _measured(run: RunResults, cells: Sequence[Cell]):
    statistics = {kind: statistics_of_run(run, kind) for kind in {cell.registered.statistic for cell in cells}}
    for cell in cells:
        yield cell, measure(statistics[cell.registered.statistic], cell, len(run.run["folds"]))


def _identities(records: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """For each run, the entries of `IDENTITY` in which the runs differ, in words."""

    def text(value: Any) -> str:
        if isinstance(value, (dict, list)):
            return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=4).hexdigest()
        return str(value)

    texts = [{name: text(record.get(name)) for name in IDENTITY} for record in records]
    differing = [name for name in IDENTITY if len({one[name] for one in texts}) > 1]
    return [tuple(f"{name} {one[name]}" for name in differing) for one in texts]


def frame(prefix: str, results: Path) -> pd.DataFrame:
    """All runs as a data frame with one row per run and metric (see `rows` for the arguments)."""
    import pandas as pd

    return pd.DataFrame(
        {
            "experiment": experiment,
            "run": row.name,
            "condition": row.condition.label,
            "details": "; ".join(row.details),
            "trials": len(row.run.trials),
            "seeds": row.seeds,
            "column": cell.column,
            "metric": cell.metric,
            "measured": measured.value,
            "std": measured.std,
            "low": measured.low,
            "high": measured.high,
            "finished": row.finished,
        }
        for experiment, some in rows(prefix, results).items()
        for row in some
        for cell, measured in row.measured
    )


def show(prefix: str, results: Path, out: Console | None = None) -> None:
    """Prints all runs: for each experiment a table, and below it what differs (see `rows` for the arguments)."""
    out = out or console()
    for experiment, some in rows(prefix, results).items():
        columns = [cell.column for cell, _ in some[0].measured]
        table = Table(title=experiment, title_justify="left", title_style="bold", header_style="bold")
        for name in ("Run", "What it is"):
            table.add_column(name, no_wrap=name == "Run")
        for name in ("Trials", "Seeds", *columns, "Finished"):
            table.add_column(name, justify="right", no_wrap=name != "Finished")
        for row in some:
            measured = [
                f"{format_mean(one.value, one.std, one.digits)}\n[dim]{format_interval(one)}[/dim]"
                for _, one in row.measured
            ]
            counts = str(len(row.run.trials)), str(row.seeds)
            table.add_row(row.name, row.condition.label, *counts, *measured, row.finished)
        out.print()
        out.print(table)
        for row in some:
            lines = row.details or ("As declared",)
            out.print(Padding(escape(f"• {row.name}: {'. '.join(lines)}"), (0, 0, 0, 1)), style="dim")
    text = (
        "Each metric: mean over seeds (± standard deviation over seeds), below it the 95 % interval for other speakers."
    )
    out.print(Padding(text, (1, 0, 0, 1)), style="dim")
