"""Builds a report from runs on disk; the other modules in this folder render it."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from common.contract import Paper
from common.files import write_atomic, write_text
from common.results import Cell, Comparison, RunResults
from ser.results import yardstick
from ser.results.claims import ClaimResult, chosen_claims, read_claims
from ser.results.comparing import compare, own_cells, shown_cells, unreported_cells, worst_overlap
from ser.results.condition import condition_of
from ser.results.judging import Judge
from ser.results.measuring import measure
from ser.results.reading import best_runs, read_runs, runs_of
from ser.results.report import html, markdown
from ser.results.report.claims import Claims
from ser.results.report.content import (
    WHOLE_VECTOR,
    Content,
    DrawnFigure,
    Section,
    YardstickRow,
    format_number,
    yardstick_numbers,
)
from ser.results.reported import read_cells

if TYPE_CHECKING:
    import pandas as pd

    from ser.execution.executor import Failure


class Report(Content):
    """Reported and measured numbers side by side (see `Content` for the attributes).

    A notebook displays it as tables, and `print` writes Markdown; `to_frame()` gives a data frame.
    """

    def predictions(self) -> pd.DataFrame:
        """The predictions of all trials behind the report, one row per test utterance and trial.

        Columns: experiment, fold, repeat, then those of the trials (utterance, speaker, label, one probability per
        class `p_...`, or `predicted_...` for ratings). A column that some experiment lacks is empty there.
        """
        import pandas as pd

        frames = []
        for run in self.runs:
            for trial, predicted in zip(run.trials, run.predictions, strict=True):
                known = {"experiment": run.run["experiment"], "fold": trial["fold"], "repeat": trial["repeat"]}
                frames.append(pd.DataFrame({**known, **predicted}, index=predicted.index))
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def to_frame(self) -> pd.DataFrame:
        """One row per cell: paper, table, row, column, metric, reported, measured, interval, verdict, and more."""
        import pandas as pd

        rows = []
        for section in self.sections:
            for one in section.comparisons:
                measured = one.measured
                rows.append(
                    {
                        "paper": section.paper.name,
                        "table": section.table,
                        "row": one.cell.row,
                        "column": one.cell.column,
                        "metric": one.cell.metric,
                        "reported": one.cell.value,
                        "reported_std": one.cell.std,
                        "measured": measured.value if measured else math.nan,
                        "std": measured.std if measured else math.nan,
                        "low": measured.low if measured else math.nan,
                        "high": measured.high if measured else math.nan,
                        "difference": one.difference,
                        "difference_low": one.agreement.low if one.agreement else math.nan,
                        "difference_high": one.agreement.high if one.agreement else math.nan,
                        "seeds_to_decide": one.agreement.seeds if one.agreement else None,
                        "verdict": one.verdict,
                        "corpus": one.corpus,
                        "experiment": one.cell.experiment,
                    }
                )
            for one in section.yardsticks:
                rows.append(
                    {
                        "paper": section.paper.name,
                        "table": section.table,
                        "row": one.title,
                        "column": one.column,
                        "measured": one.measured.value,
                        "std": one.measured.std,
                        "low": one.measured.low,
                        "high": one.measured.high,
                        "verdict": "yardstick",
                    }
                )
        return pd.DataFrame(rows)

    def html(self) -> str:
        """The report as one self-contained HTML page."""
        return html.render(self)

    def markdown(self) -> str:
        """The report as Markdown."""
        return markdown.render(self)

    def _repr_markdown_(self) -> str:
        return self.markdown()

    def __str__(self) -> str:
        return self.markdown()

    def __repr__(self) -> str:
        return f"<Report: {'; '.join(section.title for section in self.sections) or 'nothing'}>"

    def write(self, html_file: Path, markdown_file: Path) -> None:
        """Writes the HTML page and the Markdown file, and the figures next to the latter."""
        write_text(html_file, self.html())
        write_text(markdown_file, self.markdown())
        for figure in self.figures:
            write_atomic(markdown_file.with_name(figure.file_name), lambda file, png=figure.png: file.write(png))


def section(
    paper: Paper,
    table: str,
    runs: Mapping[str, RunResults],
    absent: Iterable[str],
    results: Path,
    *,
    only: Collection[str] | None = None,
) -> Section:
    """Builds one table from the runs of its experiments.

    Args:
        paper: the paper.
        table: number of the table.
        runs: the run of each experiment, by the experiment's id.
        absent: experiments whose corpus is not on this machine.
        results: results folder, which contains the yardsticks.
        only: show only the cells of these experiments; None: all cells of the table.
    """
    cells = [cell for cell in read_cells(paper.reported) if cell.table == table]
    if only is not None:
        cells = [cell for cell in cells if cell.experiment in only]
    return _section(paper, table, cells, runs, absent, results)


def own_section(paper: Paper, runs: Sequence[RunResults], results: Path) -> Section:
    """Builds the table of a paper's methods on a user's own recordings.

    Args:
        paper: the paper.
        runs: runs of its experiments on one table of recordings.
        results: results folder, which contains the yardsticks.
    """
    by_experiment = {run.run["experiment"]: run for run in runs}
    cells = [cell for run in by_experiment.values() for cell in own_cells(run)]
    return _section(paper, "own", cells, by_experiment, (), results, own=runs[0].run["corpus"])


def _section(
    paper: Paper,
    table: str,
    cells: list[Cell],
    runs: Mapping[str, RunResults],
    absent: Iterable[str],
    results: Path,
    own: str = "",
) -> Section:
    if not table.startswith("fig"):  # a figure's cells are the points of a grid
        cells = _with_added(cells, unreported_cells(cell for cell in cells if cell.experiment in runs))
    comparisons = compare(paper, cells, runs, absent)
    used = [runs[experiment] for experiment in dict.fromkeys(cell.experiment for cell in cells) if experiment in runs]
    used = [run for run in used if run.trials]
    conditions = _conditions(paper, used, results)
    if any(one.measured and one.cell.function == "ccc_batch32" for one in comparisons):
        conditions.insert(0, WHOLE_VECTOR)
    yardsticks = tuple(_yardsticks(used, cells, results))
    return Section(paper, table, tuple(comparisons), yardsticks, tuple(conditions), own)


def _with_added(cells: Sequence[Cell], added: Sequence[Cell]) -> list[Cell]:
    """Cells, with each added cell after the last one of its experiment."""
    result = []
    for place, cell in enumerate(cells):
        result.append(cell)
        if cell.experiment not in {later.experiment for later in cells[place + 1 :]}:
            result += [one for one in added if one.experiment == cell.experiment]
    return result


def _yardsticks(runs: Sequence[RunResults], cells: Sequence[Cell], results: Path) -> list[YardstickRow]:
    rows = []
    shown = set()
    for run in runs:
        # One cell per column is enough: a yardstick is the same for every row on the same folds.
        cell_of_column = {cell.column: cell for cell in cells if cell.experiment == run.run["experiment"]}
        file = yardstick.file_of(results, run.run)
        folds = sorted({trial["fold"] for trial in run.trials})
        for stick in yardstick.read(file):
            synthetic = " (synthetic)" if run.run["synthetic"] else ""
            title = f"{run.run['corpus'].upper()}{synthetic} {yardstick.KINDS[stick.kind]}"
            for cell in (one for reported in cell_of_column.values() for one in shown_cells(reported)):
                found = stick.of(cell.function)
                if found is None or (title, file, tuple(folds), cell.column, cell.metric) in shown:
                    continue
                shown.add((title, file, tuple(folds), cell.column, cell.metric))
                measured = measure(found.on(folds), cell, len(run.run["folds"]))
                row = YardstickRow(title, cell.column, measured)
                # Protocols that differ only in the validation part give the same row, except for rounding errors.
                printed = title, cell.column, format_number(measured.value, 3), *yardstick_numbers(row)
                if printed not in shown:
                    shown.add(printed)
                    rows.append(row)
    # Rows of one title stay together, in the order in which the titles first appeared.
    titles = list(dict.fromkeys(row.title for row in rows))
    return sorted(rows, key=lambda row: titles.index(row.title))


def _conditions(paper: Paper, runs: Sequence[RunResults], results: Path) -> list[str]:
    """The conditions of runs, one per line; a line that does not hold for all runs names the rows that it holds for."""
    lines: dict[str, list[str]] = {}
    for run in runs:
        record = run.run
        counts = f"{record['utterances']} utterances, {record['protocol_name']}"
        own = [f"{record['corpus']}/{record['subset']}: {counts}", *condition_of(run, paper).sentences]
        own += [flag[0].upper() + flag[1:] for flag in run.flags]
        own += [
            f"From {one['title']}: {one['name']}, checksum {one['checksum']}" for one in record.get("pretrained", ())
        ]
        own += run.left_out
        overlap = ", ".join(f"{name} {count}" for name, count in worst_overlap(run.trials).items())
        own.append(f"Audit, largest overlap of a test part with training and validation: {overlap or 'none'}")
        for line in dict.fromkeys(own):
            lines.setdefault(line, []).append(record["title"])
    everyone = len(runs)
    conditions = [
        line if len(titles) == everyone else f"{line} ({', '.join(titles)})" for line, titles in lines.items()
    ]
    return conditions + _other_runs([run.run["experiment"] for run in runs], results)


def _other_runs(experiments: Sequence[str], results: Path) -> list[str]:
    """Lines that say how many other runs of the experiments are not shown; none if all are."""
    outdated = sum(len(runs_of(one, results, outdated=True)) for one in experiments)
    lines = [f"Not read, because written in an older format: {outdated}"] * bool(outdated)
    others = {one: len(runs_of(one, results)) - 1 for one in experiments}
    others = {one: number for one, number in others.items() if number > 0}
    if not others:
        return lines
    number = sum(others.values())
    of = "this experiment" if len(experiments) == 1 else "these experiments"
    where = next(iter(others)) if len(others) == 1 else os.path.commonpath(list(others))
    is_are = "run of {} is" if number == 1 else "runs of {} are"
    return [f"{number} other {is_are.format(of)} not shown: `ser report --runs {where}`", *lines]


def report(
    sections: Sequence[Section],
    runs: Iterable[RunResults] = (),
    figures: Sequence[DrawnFigure] = (),
    failures: Sequence[Failure] = (),
    claims: Iterable[ClaimResult] = (),
) -> Report:
    """Makes a report of some sections, with the current time and the versions that the runs recorded."""
    found: dict[str, dict[str, None]] = {}
    runs = tuple(runs)
    for run in runs:
        for trial in run.trials:
            own = dict(trial["versions"])
            if "commit" in trial:
                own["commit"] = trial["commit"][:10] + " (modified)" * trial["modified"]
            for name, value in own.items():
                found.setdefault(name, {})[value] = None
    versions = {name: " and ".join(values) for name, values in found.items()}
    made = datetime.now(UTC).isoformat(timespec="minutes")
    return Report(tuple(sections), made, versions, tuple(figures), tuple(failures), runs, Claims(claims))


def from_results(papers: Sequence[Paper], results: Path) -> Report:
    """Reports everything that a results folder holds, with the best run of each experiment (see `best_runs`).

    Args:
        papers: papers to look for.
        results: results folder.
    """
    sections, figures, used, claims = [], [], [], []
    for paper in papers:
        everything = read_runs(paper, results)
        found = [run for run in everything if not run.run.get("own")]
        sections += own_sections(paper, [run for run in everything if run.run.get("own")], results)
        runs = best_runs(paper, found)
        if not runs:
            continue
        claims += judged(paper, found)
        used += runs.values()
        own = []
        for table in dict.fromkeys(cell.table for cell in read_cells(paper.reported) if cell.experiment in runs):
            # A figure has many cells, so those that were not run are left out.
            only = runs if table.startswith("fig") else None
            own.append(section(paper, table, runs, (), results, only=only))
        figures += draw_figures(paper, runs, own)
        sections += own
    return report(sections, used, figures, claims=claims)


def own_sections(paper: Paper, runs: Iterable[RunResults], results: Path) -> list[Section]:
    """A table for each of a user's own tables of recordings, with the newest run of each experiment on it.

    Args:
        paper: the paper.
        runs: runs on own recordings, newest last.
        results: results folder.
    """
    by_table: dict[str, list[RunResults]] = {}
    for run in runs:
        if run.trials:
            by_table.setdefault(run.run["corpus"], []).append(run)
    return [own_section(paper, own, results) for own in by_table.values()]


def judged(paper: Paper, runs: Iterable[RunResults], ids: Sequence[str] = ()) -> list[ClaimResult]:
    """Verdicts on a paper's claims.

    Args:
        paper: the paper.
        runs: the runs to judge them by.
        ids: only these claims; empty: all.

    Raises:
        UserError: There is no such claim.
    """
    judge = Judge(paper, runs)
    return [judge.judge(claim) for claim in (chosen_claims(paper, ids) if ids else read_claims(paper))]


def draw_figures(paper: Paper, runs: Mapping[str, RunResults], sections: Iterable[Section]) -> list[DrawnFigure]:
    """Draws the figures of a paper for which there are enough runs.

    Args:
        paper: the paper.
        runs: the run of each experiment, by the experiment's id.
        sections: the paper's tables, whose comparisons the figures show.
    """
    compared = {one.cell.cell: one for section in sections for one in section.comparisons}
    comparisons = [compared.get(cell.cell, Comparison(cell, "not run")) for cell in read_cells(paper.reported)]
    figures = []
    for figure in paper.figures:
        drawn = paper.function(figure.draw)(runs, comparisons)
        if drawn is not None:
            content = io.BytesIO()
            drawn.savefig(content, format="png", dpi=120, bbox_inches="tight")
            figures.append(DrawnFigure(paper.name, figure, content.getvalue()))
    return figures
