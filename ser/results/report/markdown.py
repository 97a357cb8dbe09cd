"""The report as Markdown, for a paper's card or an issue."""

from __future__ import annotations

from ser.results.report.claims import LEGEND as CLAIMS_LEGEND
from ser.results.report.claims import markdown_table
from ser.results.report.content import (
    HEADS,
    LEGEND,
    Content,
    Section,
    comparison_numbers,
    verdict_in_words,
    yardstick_numbers,
)


def render(report: Content) -> str:
    """Renders a report."""
    parts = [f"# Reported and measured\n\nMade {report.made}.\n"]
    parts += [markdown_table(paper, own) for paper, own in report.claims_by_paper]
    if report.claims_by_paper:
        parts.append(f"{CLAIMS_LEGEND}\n")
    parts += [render_section(section) for section in report.sections]
    parts += [f"## {one.heading}\n\n![{one.heading}]({one.file_name})\n" for one in report.figures]
    return "\n".join([*parts, LEGEND, ""])


def render_section(section: Section) -> str:
    """Renders one table with its conditions."""
    lines = [
        f"## {section.title}",
        "",
        f"|{'|'.join(f' {head} ' if head else ' ' for head in HEADS)}|",
        "|---|---|--:|--:|--:|--:|--:|---|",
    ]
    for comparison in section.comparisons:
        cell = comparison.cell
        note = f" ({cell.note})" if cell.note else ""
        numbers = " | ".join(comparison_numbers(comparison))
        lines.append(f"| {cell.row} | {cell.column} | {numbers} | {verdict_in_words(comparison)}{note} |")
    for row in section.yardsticks:
        lines.append(f"| {row.title} | {row.column} | {' | '.join(yardstick_numbers(row))} | yardstick |")
    return "\n".join([*lines, "", *(f"- {line}" for line in section.conditions), ""])
