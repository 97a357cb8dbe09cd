"""The side-by-side as Markdown, for a paper's card or an issue."""

from __future__ import annotations

from ser.results.report.content import LEGEND, Content, Section, amount, interval, number, with_std


def render(report: Content) -> str:
    """The whole report."""
    parts = [f"# Reported and measured\n\nMade {report.made}.\n"]
    parts += [render_section(section) for section in report.sections]
    parts += [f"## {one.heading}\n\n![{one.heading}]({one.file_name})\n" for one in report.figures]
    return "\n".join([*parts, LEGEND, ""])


def render_section(section: Section) -> str:
    """One table with its conditions."""
    lines = [
        f"## {section.title}",
        "",
        "| Row | | Reported | Measured | 95 % interval | n | Diff. | Verdict |",
        "|---|---|--:|--:|--:|--:|--:|---|",
    ]
    for comparison in section.comparisons:
        cell, measured = comparison.cell, comparison.measured
        remark = f" ({comparison.cell.note})" if comparison.cell.note else ""
        lines.append(
            f"| {cell.row} | {cell.column} | {with_std(cell.value, cell.std, cell.digits)} "
            f"| {with_std(measured.value, measured.std, measured.digits) if measured else '–'} "
            f"| {interval(measured) if measured else '–'} | {amount(measured) if measured else '–'} "
            f"| {number(comparison.difference, cell.digits)} | {comparison.verdict}{remark} |"
        )
    for reference in section.yardsticks:
        measured = reference.measured
        lines.append(
            f"| {reference.title} | {reference.column} | – | {number(measured.value, measured.digits)} "
            f"| {interval(measured)} | {amount(measured)} | – | yardstick |"
        )
    return "\n".join([*lines, "", *(f"- {line}" for line in section.conditions), ""])
