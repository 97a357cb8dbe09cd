"""The content of a report: tables, yardsticks, figures and conditions, and numbers as text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from common.contract import Figure, Paper
from common.intervals import FEWEST_SPEAKERS
from common.metrics import METRICS
from common.results import Comparison, Measurement, RunResults, kinds_of
from ser.results.report.claims import Claims, by_paper

if TYPE_CHECKING:
    from ser.execution.executor import Failure
    from ser.results.claims import ClaimResult


@dataclass(frozen=True)
class YardstickRow:
    """One metric of a yardstick.

    Attributes:
        title: the corpus and the kind of yardstick.
        column: the metric, as the table names it.
        measured: the metric's value.
    """

    title: str
    column: str
    measured: Measurement


@dataclass(frozen=True)
class Section:
    """One table of a paper.

    Attributes:
        paper: the paper.
        table: number of the table.
        comparisons: its cells, in the order of the paper.
        yardsticks: yardsticks on the same folds.
        conditions: under which the measured numbers hold: corpus, protocol, changes, flags, audit.
        own: name of a user's own recordings, if the table shows the paper's methods on them; otherwise empty.
    """

    paper: Paper
    table: str
    comparisons: tuple[Comparison, ...]
    yardsticks: tuple[YardstickRow, ...]
    conditions: tuple[str, ...]
    own: str = ""

    @property
    def heading(self) -> str:
        """Name of the table, or of the recordings."""
        if self.own:
            return f"{self.own}, own recordings: {self.paper.name}"
        return f"{self.paper.name}, {table_title(self.table)}"

    @property
    def qualifiers(self) -> tuple[str, ...]:
        """What must follow the heading: everything that the runs are, unless all are as declared."""
        return kinds_of(self.comparisons)

    @property
    def title(self) -> str:
        """The heading with its qualifiers."""
        return f"{self.heading} ({', '.join(self.qualifiers)})" if self.qualifiers else self.heading


@dataclass(frozen=True)
class DrawnFigure:
    """A figure drawn from trials.

    Attributes:
        paper: name of the paper.
        figure: the paper's figure.
        png: the image.
    """

    paper: str
    figure: Figure
    png: bytes

    @property
    def file_name(self) -> str:
        """Name of the image file that is written beside a report."""
        return f"{self.paper}-fig{self.figure.id}.png"

    @property
    def heading(self) -> str:
        """Heading of the figure."""
        return f"{self.paper}, Figure {self.figure.id}: {self.figure.title}"


@dataclass(frozen=True)
class Content:
    """Everything that a report shows.

    Attributes:
        sections: the tables.
        made: time of the report, UTC, ISO 8601.
        versions: of the software that computed the results.
        figures: the figures.
        failures: trials of this command that failed; empty for a report that is read from disk.
        runs: the runs that the tables show, with their trials and predictions.
        claims: verdicts on the papers' claims, also of those that were not run.
    """

    sections: tuple[Section, ...]
    made: str
    versions: Mapping[str, str]
    figures: tuple[DrawnFigure, ...] = ()
    failures: tuple[Failure, ...] = ()
    runs: tuple[RunResults, ...] = ()
    claims: Claims = field(default_factory=Claims)

    @property
    def claims_by_paper(self) -> list[tuple[str, list[ClaimResult]]]:
        """The claims of each paper of which at least one has a result."""
        return [(paper, own) for paper, own in by_paper(self.claims) if any(one.was_run for one in own)]


def table_title(table: str) -> str:
    """A table's or figure's name as a heading: "Table 1" for "1", "Figure 4" for "fig4", other names as they are."""
    return f"Table {table}" if table[:1].isdigit() else table.replace("fig", "Figure ", 1)


def format_number(value: float, digits: int = 2) -> str:
    """A number with that many digits after the decimal point; an en dash for NaN."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def format_mean(value: float, std: float, digits: int = 2) -> str:
    """Mean ± standard deviation, as papers print them; the mean alone if the deviation is NaN."""
    return format_number(value, digits) if math.isnan(std) else f"{value:.{digits}f} ± {std:.{digits}f}"


def format_interval(measured: Measurement) -> str:
    """The 95 % interval for new speakers."""
    digits = measured.digits - 1 if measured.digits == 2 else measured.digits
    return "–" if math.isnan(measured.low) else f"{measured.low:.{digits}f} … {measured.high:.{digits}f}"


def format_trials(measured: Measurement) -> str:
    """How many trials were used: repeats × folds."""
    folds = str(measured.folds) if measured.folds == measured.of_folds else f"{measured.folds}/{measured.of_folds}"
    return f"{measured.repeats}×{folds}"


HEADS = ("Row", "", "Reported", "Measured", "New speakers", "n", "Diff.", "Verdict")
"""Heads of a report's table; the empty one is the metric."""


class RowNumbers(NamedTuple):
    """The numbers in a row of a report's table, as text."""

    reported: str
    measured: str
    interval: str
    trials: str
    difference: str


def comparison_numbers(comparison: Comparison) -> RowNumbers:
    """The numbers in the row of a reported cell."""
    cell, measured = comparison.cell, comparison.measured
    return RowNumbers(
        format_mean(cell.value, cell.std, cell.digits),
        format_mean(measured.value, measured.std, measured.digits) if measured else "–",
        format_interval(measured) if measured else "–",
        format_trials(measured) if measured else "–",
        format_difference(comparison),
    )


def format_difference(comparison: Comparison) -> str:
    """Measured minus reported, with the interval over seeds if there is one."""
    found, digits = comparison.agreement, comparison.cell.digits
    if found is None:
        return "–"
    text = f"{found.difference:+.{digits}f}"
    return text if math.isnan(found.low) else f"{text} ({found.low:+.{digits}f} … {found.high:+.{digits}f})"


def verdict_in_words(comparison: Comparison) -> str:
    """The verdict; if more seeds would decide, with their number."""
    seeds = comparison.agreement.seeds if comparison.agreement else None
    return f"{comparison.verdict} ({seeds} seeds)" if seeds else comparison.verdict


def verdict_kind(comparison: Comparison) -> str:
    """How a verdict is coloured: "agrees", "differs", "undecided", "condition" (no run as declared) or "quiet"."""
    if comparison.condition is not None and not comparison.condition.as_declared:
        return "condition"
    return comparison.verdict if comparison.agreement else "quiet"


def yardstick_numbers(row: YardstickRow) -> RowNumbers:
    """The numbers in the row of a yardstick."""
    measured = row.measured
    value = format_number(measured.value, measured.digits)
    return RowNumbers("–", value, format_interval(measured), format_trials(measured), "–")


LEGEND = (
    "WA, UA and F1 in percent, CCC as it is. Reported: mean ± standard deviation as printed. Measured: mean over "
    "repeats (± standard deviation over repeats) of the mean over folds. New speakers: 95 % interval for other "
    f"speakers, by leaving each one out; none below {FEWEST_SPEAKERS} speakers. n: repeats × folds. Diff.: measured "
    "minus reported, with its 95 % interval over seeds. agrees: the difference is within "
    f"{METRICS['ua'].margin:g} points (CCC: {METRICS['ccc'].margin:g}); differs: it is not zero and may be larger; "
    "undecided: the seeds do not say (in brackets: how many would). Only a run as declared gets such a verdict. For "
    "any other run, the column says what it is: on a synthetic or another corpus instead of the paper's; scaled (with "
    "the settings of --scaled); with random weights instead of pretrained ones; modified (with other settings); "
    "partial (not on the whole corpus); declared differently today (made before the suite changed); incomplete "
    "(trials are missing, the difference is shown)."
)

WHOLE_VECTOR = (
    "CCC as the paper computed it: one for each batch of 32 utterances in file order, averaged. “whole”: the CCC of "
    "all test utterances together, which is the one to trust"
)
