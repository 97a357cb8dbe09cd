"""The side-by-side on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from ser.console import console
from ser.results.report.content import LEGEND, Content, Section, amount, interval, number, with_std

STYLES = {"within": "green", "above": "cyan", "below": "red", "scaled run": "yellow"}


def show(report: Content, out: Console | None = None) -> None:
    """Prints a report.

    Args:
        report: what to print.
        out: where; None: as `ser.console` says.
    """
    out = out or console()
    for section in report.sections:
        out.print()
        out.print(table_of(section))
        for line in section.conditions:
            out.print(Padding(escape(f"• {line}"), (0, 0, 0, 1)), style="dim")
    if report.sections:
        out.print(Padding(LEGEND, (1, 0, 0, 1)), style="dim")


def table_of(section: Section) -> Table:
    """A section as a table."""
    table = Table(title=section.title, title_justify="left", title_style="bold", header_style="bold")
    for name in ("Row", "", "Reported", "Measured", "95 % interval", "n", "Diff.", "Verdict"):
        table.add_column(name, justify="left" if name in ("Row", "", "Verdict") else "right", no_wrap=name != "Row")
    last = None
    for comparison in section.comparisons:
        cell, measured = comparison.cell, comparison.measured
        style = STYLES.get(comparison.verdict, "dim")
        table.add_row(
            "" if cell.row == last else cell.row,
            cell.column,
            with_std(cell.value, cell.std, cell.digits),
            with_std(measured.value, measured.std, measured.digits) if measured else "–",
            interval(measured) if measured else "–",
            amount(measured) if measured else "–",
            number(comparison.difference, cell.digits),
            f"[{style}]{comparison.verdict}[/{style}]",
        )
        last = cell.row
    if section.yardsticks:
        table.add_section()
    last = None
    for reference in section.yardsticks:
        measured = reference.measured
        table.add_row(
            "" if reference.title == last else reference.title,
            reference.column,
            "–",
            number(measured.value, measured.digits),
            interval(measured),
            amount(measured),
            "–",
            "[dim]yardstick[/dim]",
        )
        last = reference.title
    return table
