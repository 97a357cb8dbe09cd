"""The report on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from ser.console import console
from ser.results.report.claims import LEGEND as CLAIMS_LEGEND
from ser.results.report.claims import Claims, by_paper, conditions, summary, terminal_table
from ser.results.report.content import (
    HEADS,
    LEGEND,
    Content,
    Section,
    comparison_numbers,
    verdict_in_words,
    verdict_kind,
    yardstick_numbers,
)

if TYPE_CHECKING:
    from ser.results.claims import ClaimResult

STYLES = {"agrees": "green", "differs": "red", "undecided": "cyan", "condition": "yellow"}


def show(report: Content, out: Console | None = None, *, claims_last: bool = False) -> None:
    """Prints a report.

    Args:
        report: what to print.
        out: where to print it; None: see `ser.console`.
        claims_last: print the claims below the tables instead of above.
    """
    out = out or console()
    if not claims_last:
        _show_claims(report.claims_by_paper, out)
    for section in report.sections:
        out.print()
        out.print(section_table(section))
        for line in section.conditions:
            out.print(Padding(escape(f"• {line}"), (0, 0, 0, 1)), style="dim")
    if report.sections:
        out.print(Padding(LEGEND, (1, 0, 0, 1)), style="dim")
    if claims_last:
        _show_claims(by_paper(report.claims), out, all_of_them=True)


def show_all_claims(claims: Claims, out: Console | None = None) -> None:
    """Prints claims, also those that were not run, with a summary of each paper.

    Args:
        claims: what to print.
        out: where to print it; None: see `ser.console`.
    """
    out = out or console()
    _show_claims(by_paper(claims), out, all_of_them=True)
    if any(not one.was_run for one in claims):
        hint = "`ser reproduce PAPER --claim ID` runs exactly what a claim needs; with --scaled it fits a laptop."
        out.print(Padding(hint, (1, 0, 0, 1)), style="dim")


def _show_claims(claims: Sequence[tuple[str, list[ClaimResult]]], out: Console, *, all_of_them: bool = False) -> None:
    for paper, own in claims:
        out.print()
        out.print(terminal_table(paper, own if all_of_them else [one for one in own if one.was_run]))
        for line in [f"{paper}: {summary(own)}", *conditions(own)]:
            out.print(Padding(escape(f"• {line}"), (0, 0, 0, 1)), style="dim")
    if claims:
        out.print(Padding(CLAIMS_LEGEND, (1, 0, 0, 1)), style="dim")


def section_table(section: Section) -> Table:
    """A section as a table, without its conditions."""
    table = Table(title=section.title, title_justify="left", title_style="bold", header_style="bold")
    for name in HEADS:
        words = name in ("Row", "", "Verdict")
        table.add_column(name, justify="left" if words else "right", no_wrap=name not in ("Row", "Verdict"))
    last = None
    for comparison in section.comparisons:
        cell = comparison.cell
        style = STYLES.get(verdict_kind(comparison), "dim")
        title = "" if cell.row == last else cell.row
        verdict = f"[{style}]{verdict_in_words(comparison)}[/{style}]"
        table.add_row(title, cell.column, *comparison_numbers(comparison), verdict)
        last = cell.row
    if section.yardsticks:
        table.add_section()
    last = None
    for row in section.yardsticks:
        title = "" if row.title == last else row.title
        table.add_row(title, row.column, *yardstick_numbers(row), "[dim]yardstick[/dim]")
        last = row.title
    return table
