"""From runs on disk to what a report shows; the renderers beside this file only draw it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from common import yardstick
from common.experiments import Paper
from common.reported import Cell, Comparison, Measurement, compare, measure, read_cells, worst_overlap
from common.trials import Measured, find_runs, read_run


@dataclass(frozen=True)
class Reference:
    """A yardstick's number for one metric.

    Attributes:
        title: what was fitted.
        column: the metric as the table prints it.
        measured: its number.
    """

    title: str
    column: str
    measured: Measurement


@dataclass(frozen=True)
class Section:
    """One table of a paper.

    Attributes:
        paper: whose.
        table: number.
        comparisons: its cells, in the paper's order.
        references: yardsticks on the same folds.
        conditions: what is true of every measured number here: corpus, protocol, changes, flags, audit.
    """

    paper: Paper
    table: str
    comparisons: tuple[Comparison, ...]
    references: tuple[Reference, ...]
    conditions: tuple[str, ...]

    @property
    def heading(self) -> str:
        """Name of the table."""
        return f"{self.paper.name}, Table {self.table}" if self.table.isdigit() else f"{self.paper.name}, {self.table}"

    @property
    def qualifiers(self) -> tuple[str, ...]:
        """What must stand beside the heading: "scaled", and "synthetic corpus" if no person spoke."""
        scaled = any(comparison.verdict == "scaled run" for comparison in self.comparisons)
        synthetic = any(flag.startswith("synthetic") for comparison in self.comparisons for flag in comparison.flags)
        return (*(("scaled",) if scaled else ()), *(("synthetic corpus",) if synthetic else ()))

    @property
    def title(self) -> str:
        """Heading with its qualifiers."""
        return f"{self.heading} ({', '.join(self.qualifiers)})" if self.qualifiers else self.heading


@dataclass(frozen=True)
class Report:
    """A whole side-by-side.

    Attributes:
        sections: the tables.
        made: when, UTC, ISO 8601.
        versions: of what measured.
    """

    sections: tuple[Section, ...]
    made: str
    versions: Mapping[str, str]


def section(
    paper: Paper,
    table: str,
    folders: Mapping[str, Path],
    absent: Iterable[str],
    results: Path,
    *,
    only: Collection[str] | None = None,
) -> Section:
    """One table's comparisons from the run folders of its experiments.

    Args:
        paper: whose table.
        table: its number; cells of other tables are left out.
        folders: run folder by experiment.
        absent: experiments whose corpus is not here.
        results: results folder, for the yardsticks.
        only: show the cells of these experiments; None: all of the table.
    """
    cells = [cell for cell in read_cells(paper.reported) if cell.table == table]
    if only is not None:
        cells = [cell for cell in cells if cell.experiment in only]
    runs = {experiment: read_run(folder) for experiment, folder in folders.items()}
    comparisons = compare(cells, runs, absent)
    used = [runs[experiment] for experiment in dict.fromkeys(cell.experiment for cell in cells) if experiment in runs]
    used = [run for run in used if run.trials]
    return Section(paper, table, tuple(comparisons), tuple(_references(used, cells, results)), tuple(_conditions(used)))


def _references(runs: Sequence[Measured], cells: Sequence[Cell], results: Path) -> list[Reference]:
    metrics = {cell.column: (cell.function, cell.aggregation) for cell in cells}
    references = []
    shown = set()
    for run in runs:
        file = yardstick.file_of(results, run.run)
        folds = sorted({trial["fold"] for trial in run.trials})
        if (file, tuple(folds)) in shown:
            continue
        shown.add((file, tuple(folds)))
        for one in yardstick.read(file):
            synthetic = " (synthetic)" if run.run["synthetic"] else ""
            title = f"{run.run['corpus'].upper()}{synthetic} {yardstick.KINDS[one.kind]}"
            for column, (function, aggregation) in metrics.items():
                measured = measure(one.on(folds), function, aggregation, len(run.run["folds"]))
                references.append(Reference(title, column, measured))
    return references


def _conditions(runs: Sequence[Measured]) -> list[str]:
    """What holds for the section's runs; a line that does not hold for all of them names those it holds for."""
    lines: dict[str, list[str]] = {}
    for run in runs:
        described = run.run
        flags = sorted({flag for trial in run.trials for flag in trial["flags"]})
        counts = f"{described['utterances']} utterances, {described['protocol_name']}"
        own = [f"{described['corpus']}/{described['subset']}: {counts}"]
        if described["changes"]:
            own.append(f"Scaled, not the paper's experiment: {'; '.join(described['changes'])}")
        own += [flag[0].upper() + flag[1:] for flag in flags]
        overlap = ", ".join(f"{name} {count}" for name, count in worst_overlap(run.trials).items())
        own.append(f"Audit, largest overlap of a test part with what is learnt from: {overlap or 'none'}")
        for line in own:
            lines.setdefault(line, []).append(described["title"])
    everyone = len(runs)
    return [line if len(titles) == everyone else f"{line} ({', '.join(titles)})" for line, titles in lines.items()]


def report(sections: Sequence[Section], runs: Iterable[Measured] = ()) -> Report:
    """A report of sections, stamped with the time."""
    versions: dict[str, str] = {}
    for run in runs:
        for trial in run.trials:
            versions.update(trial["versions"])
    return Report(tuple(sections), datetime.now(UTC).isoformat(timespec="minutes"), versions)


def from_results(papers: Sequence[Paper], results: Path) -> Report:
    """Everything that a results folder holds; of several runs of one experiment the most complete, then the newest.

    Args:
        papers: papers to look for.
        results: results folder.
    """
    sections, used = [], []
    for paper in papers:
        best: dict[str, tuple[tuple, Path, Measured]] = {}
        for age, folder in enumerate(find_runs(results, f"{paper.name}/")):
            measured = read_run(folder)
            rank = (not measured.run["changes"], measured.complete, len(measured.trials) > 0, age)
            experiment = measured.run["experiment"]
            if measured.trials and (experiment not in best or rank > best[experiment][0]):
                best[experiment] = rank, folder, measured
        folders = {experiment: folder for experiment, (_, folder, _) in best.items()}
        used += [measured for _, _, measured in best.values()]
        tables = dict.fromkeys(cell.table for cell in read_cells(paper.reported) if cell.experiment in folders)
        sections += [section(paper, table, folders, (), results) for table in tables]
    return report(sections, used)


def number(value: float) -> str:
    """A percentage with two digits; an en dash for none."""
    return "–" if math.isnan(value) else f"{value:.2f}"


def with_std(value: float, std: float) -> str:
    """Mean and deviation as papers print them."""
    return number(value) if math.isnan(std) else f"{value:.2f} ± {std:.2f}"


def interval(measured: Measurement) -> str:
    """The 95 % interval."""
    return "–" if math.isnan(measured.low) else f"{measured.low:.1f} … {measured.high:.1f}"


def amount(measured: Measurement) -> str:
    """How much went in: repeats x folds."""
    folds = str(measured.folds) if measured.folds == measured.of_folds else f"{measured.folds}/{measured.of_folds}"
    return f"{measured.repeats}×{folds}"


LEGEND = (
    "Percent. Reported: mean ± deviation as printed. Measured: mean over repeats (± deviation over repeats) of the "
    "mean over folds. 95 % interval: speakers resampled (rough for few of them; without the spread over seeds). "
    "n: repeats × folds. within, above, below: the interval lies around, above or below the reported value. "
    "A scaled run, or one on another corpus, is never compared."
)
