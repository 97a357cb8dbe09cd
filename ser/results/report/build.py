"""From runs on disk to what a report shows; the renderers beside this file only draw it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from common import yardstick
from common.experiments import Figure, Paper, by_name
from common.reported import Cell, Comparison, Measurement, compare, measure, read_cells, whole_vector, worst_overlap
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
        if self.table.startswith("fig"):
            return f"{self.paper.name}, Figure {self.table.removeprefix('fig')}"
        return f"{self.paper.name}, {'Table ' if self.table[:1].isdigit() else ''}{self.table}"

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
class Drawing:
    """A figure drawn from trials.

    Attributes:
        paper: name of the paper.
        figure: which.
        png: the picture.
    """

    paper: str
    figure: Figure
    png: bytes

    @property
    def file_name(self) -> str:
        """Name of its file beside a report."""
        return f"{self.paper}-fig{self.figure.id}.png"

    @property
    def heading(self) -> str:
        """What stands above it."""
        return f"{self.paper}, Figure {self.figure.id}: {self.figure.title}"


@dataclass(frozen=True)
class Report:
    """A whole side-by-side.

    Attributes:
        sections: the tables.
        made: when, UTC, ISO 8601.
        versions: of what measured.
        drawings: the figures.
    """

    sections: tuple[Section, ...]
    made: str
    versions: Mapping[str, str]
    drawings: tuple[Drawing, ...] = ()


def section(
    paper: Paper,
    table: str,
    runs: Mapping[str, Measured],
    absent: Iterable[str],
    results: Path,
    *,
    only: Collection[str] | None = None,
) -> Section:
    """One table's comparisons from the runs of its experiments.

    Args:
        paper: whose table.
        table: its number; cells of other tables are left out.
        runs: run by experiment.
        absent: experiments whose corpus is not here.
        results: results folder, for the yardsticks.
        only: show the cells of these experiments; None: all of the table.
    """
    cells = [cell for cell in read_cells(paper.reported) if cell.table == table]
    if only is not None:
        cells = [cell for cell in cells if cell.experiment in only]
    comparisons = compare(cells, runs, absent)
    used = [runs[experiment] for experiment in dict.fromkeys(cell.experiment for cell in cells) if experiment in runs]
    used = [run for run in used if run.trials]
    conditions = _conditions(used)
    if any(one.measured and one.cell.function == "ccc_batch32" for one in comparisons):
        conditions.insert(0, WHOLE_VECTOR)
    return Section(paper, table, tuple(comparisons), tuple(_references(used, cells, results)), tuple(conditions))


def _references(runs: Sequence[Measured], cells: Sequence[Cell], results: Path) -> list[Reference]:
    references = []
    shown = set()
    for run in runs:
        # One cell a column: a yardstick is the same for every row on the same folds.
        metrics = {cell.column: cell for cell in cells if cell.experiment == run.run["experiment"]}
        file = yardstick.file_of(results, run.run)
        folds = sorted({trial["fold"] for trial in run.trials})
        for one in yardstick.read(file):
            synthetic = " (synthetic)" if run.run["synthetic"] else ""
            title = f"{run.run['corpus'].upper()}{synthetic} {yardstick.KINDS[one.kind]}"
            for cell in metrics.values():
                for part in (cell, whole_vector(cell)) if cell.function == "ccc_batch32" else (cell,):
                    found = one.of(part.function)
                    if found is None or (title, file, tuple(folds), part.column, part.metric) in shown:
                        continue
                    shown.add((title, file, tuple(folds), part.column, part.metric))
                    measured = measure(found.on(folds), part, len(run.run["folds"]))
                    # Protocols that differ in what validates only have the same yardstick, but for rounding.
                    printed = title, part.column, number(measured.value, 3), interval(measured), amount(measured)
                    if printed not in shown:
                        shown.add(printed)
                        references.append(Reference(title, part.column, measured))
    # Rows of one title stay together, in the order in which titles first came.
    titles = list(dict.fromkeys(reference.title for reference in references))
    return sorted(references, key=lambda reference: titles.index(reference.title))


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


def report(sections: Sequence[Section], runs: Iterable[Measured] = (), drawings: Sequence[Drawing] = ()) -> Report:
    """A report of sections, stamped with the time."""
    versions: dict[str, str] = {}
    for run in runs:
        for trial in run.trials:
            versions.update(trial["versions"])
    return Report(tuple(sections), datetime.now(UTC).isoformat(timespec="minutes"), versions, tuple(drawings))


def best_runs(paper: Paper, results: Path) -> dict[str, Measured]:
    """The run of each experiment that has trials: of several the most complete, then the newest."""
    best: dict[str, tuple[tuple, Measured]] = {}
    for age, folder in enumerate(find_runs(results, f"{paper.name}/")):
        measured = read_run(folder)
        rank = (not measured.run["changes"], measured.complete, len(measured.trials) > 0, age)
        experiment = measured.run["experiment"]
        if measured.trials and (experiment not in best or rank > best[experiment][0]):
            best[experiment] = rank, measured
    return {experiment: measured for experiment, (_, measured) in best.items()}


def from_results(papers: Sequence[Paper], results: Path) -> Report:
    """Everything that a results folder holds (see `best_runs`).

    Args:
        papers: papers to look for.
        results: results folder.
    """
    sections, drawings, used = [], [], []
    for paper in papers:
        runs = best_runs(paper, results)
        if not runs:
            continue
        cells = read_cells(paper.reported)
        used += runs.values()
        for table in dict.fromkeys(cell.table for cell in cells if cell.experiment in runs):
            # A figure's cells are the points of a grid: those that were not run are not worth a line each.
            only = runs if table.startswith("fig") else None
            sections.append(section(paper, table, runs, (), results, only=only))
        drawings += drawn(paper, runs, cells)
    return report(sections, used, drawings)


def drawn(paper: Paper, runs: Mapping[str, Measured], cells: Sequence[Cell]) -> list[Drawing]:
    """The paper's figures that the runs can show."""
    import io

    drawings = []
    for figure in paper.figures:
        picture = by_name(figure.draw)(runs, cells)
        if picture is not None:
            content = io.BytesIO()
            picture.savefig(content, format="png", dpi=120, bbox_inches="tight")
            drawings.append(Drawing(paper.name, figure, content.getvalue()))
    return drawings


def number(value: float, digits: int = 2) -> str:
    """A number with so many digits; an en dash for none."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def with_std(value: float, std: float, digits: int = 2) -> str:
    """Mean and deviation as papers print them."""
    return number(value, digits) if math.isnan(std) else f"{value:.{digits}f} ± {std:.{digits}f}"


def interval(measured: Measurement) -> str:
    """The 95 % interval."""
    digits = measured.digits - 1 if measured.digits == 2 else measured.digits
    return "–" if math.isnan(measured.low) else f"{measured.low:.{digits}f} … {measured.high:.{digits}f}"


def amount(measured: Measurement) -> str:
    """How much went in: repeats x folds."""
    folds = str(measured.folds) if measured.folds == measured.of_folds else f"{measured.folds}/{measured.of_folds}"
    return f"{measured.repeats}×{folds}"


LEGEND = (
    "WA and UA in percent, CCC as it is. Reported: mean ± deviation as printed. Measured: mean over repeats "
    "(± deviation over repeats) of the mean over folds. 95 % interval: speakers resampled (rough for few of them; "
    "without the spread over seeds). n: repeats × folds. within, above, below: the interval lies around, above or "
    "below the reported value. A scaled run, or one on another corpus, is never compared."
)

WHOLE_VECTOR = (
    "CCC as the paper computed it: one for each batch of 32 utterances in file order, averaged. “whole”: the CCC of "
    "all test utterances together, which is the one to trust"
)
