"""The report as one self-contained HTML page, without scripts and without fonts or images from elsewhere."""

from __future__ import annotations

import base64
import math
from html import escape
from pathlib import Path

from common.results import Comparison, Measurement
from ser.results.report.claims import LEGEND as CLAIMS_LEGEND
from ser.results.report.claims import html_section
from ser.results.report.content import (
    HEADS,
    LEGEND,
    Content,
    DrawnFigure,
    Section,
    YardstickRow,
    comparison_numbers,
    format_interval,
    format_number,
    verdict_in_words,
    verdict_kind,
    yardstick_numbers,
)

CHART_WIDTH, CHART_HEIGHT = 180, 18
"""Size of the chart in each row, in pixels."""


def render(report: Content) -> str:
    """Renders a report."""
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    versions = ", ".join(f"{escape(name)} {escape(value)}" for name, value in sorted(report.versions.items()))
    titles = {section.paper.name: section.paper.title for section in report.sections}
    parts = [html_section(paper, titles.get(paper, ""), own) for paper, own in report.claims_by_paper]
    if parts:
        parts.append(f'<p class="legend">{escape(CLAIMS_LEGEND)}</p>')
    parts += [_section(section) for section in report.sections] + [_figure(one) for one in report.figures]
    body = "\n".join(parts) or "<p>Nothing has been run yet.</p>"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Reported and measured</title>
<style>{style}</style>
</head>
<body>
<header><h1>Reported and measured</h1>
<p>Speech emotion recognition papers, rebuilt. Made {escape(report.made)}.</p></header>
<main>
{body}
<p class="legend">{escape(LEGEND)} In the charts, ◇ is the reported value and ● the measured one with its interval;
ticks mark the quarters of 100 % (of a CCC of 1).</p>
</main>
<footer>{versions}</footer>
</body>
</html>
"""


def _section(section: Section) -> str:
    badges = "".join(f' <span class="badge condition">{escape(qualifier)}</span>' for qualifier in section.qualifiers)
    rows = []
    last = None
    for comparison in section.comparisons:
        rows.append(_comparison_row(comparison, first=comparison.cell.row != last))
        last = comparison.cell.row
    for row in section.yardsticks:
        rows.append(_yardstick_row(row, first=row.title != last))
        last = row.title
    conditions = "".join(f"<li>{escape(line)}</li>" for line in section.conditions)
    heads = (*HEADS[:5], "", *HEADS[5:])  # the interval is followed by its chart
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    return f"""<section>
<h2>{escape(section.heading)}{badges}</h2>
<p class="title">{escape(section.paper.title)} <span>{escape(section.paper.reference)}</span></p>
<div class="scroll"><table>
<thead><tr>{head}</tr></thead>
<tbody>
{chr(10).join(rows)}
</tbody>
</table></div>
<ul class="conditions">{conditions}</ul>
</section>"""


def _comparison_row(comparison: Comparison, first: bool) -> str:
    cell = comparison.cell
    note = f'<span class="note">{escape(cell.note)}</span>' if cell.note else ""
    title = f"{escape(cell.row)}{note}" if first else ""
    numbers = comparison_numbers(comparison)
    chart = _chart(cell.value, comparison.measured, cell.digits)
    return (
        f'<tr{" class=first" if first else ""}><th scope="row">{title}</th><td>{escape(cell.column)}</td>'
        f"<td>{numbers.reported}</td><td>{numbers.measured}</td><td>{numbers.interval}</td><td>{chart}</td>"
        f"<td>{numbers.trials}</td><td>{numbers.difference}</td>"
        f'<td><span class="badge {verdict_kind(comparison)}">{escape(verdict_in_words(comparison))}</span></td></tr>'
    )


def _yardstick_row(row: YardstickRow, first: bool) -> str:
    numbers = yardstick_numbers(row)
    chart = _chart(math.nan, row.measured, row.measured.digits)
    return (
        f'<tr class="yardstick{" first" if first else ""}"><th scope="row">{escape(row.title) if first else ""}</th>'
        f"<td>{escape(row.column)}</td>"
        f"<td>{numbers.reported}</td><td>{numbers.measured}</td><td>{numbers.interval}</td><td>{chart}</td>"
        f"<td>{numbers.trials}</td><td>{numbers.difference}</td>"
        '<td><span class="badge quiet">yardstick</span></td></tr>'
    )


def _figure(figure: DrawnFigure) -> str:
    content = base64.b64encode(figure.png).decode()
    return (
        f"<section><h2>{escape(figure.heading)}</h2>"
        f'<p><img alt="{escape(figure.heading)}" src="data:image/png;base64,{content}"></p></section>'
    )


def _chart(reported: float, measured: Measurement | None, digits: int) -> str:
    """Draws the reported and the measured value on a line from 0 to 100 %, or from a CCC of 0 to one of 1."""
    top = 100.0 if digits == 2 else 1.0

    def place(value: float) -> float:
        return 6 + (CHART_WIDTH - 12) * min(max(value / top, 0.0), 1.0)

    middle = CHART_HEIGHT / 2
    parts = [f'<line class="axis" x1="{place(0)}" x2="{place(top)}" y1="{middle}" y2="{middle}"/>']
    parts += [
        f'<line class="axis" x1="{place(tick):.1f}" x2="{place(tick):.1f}" y1="{middle - 3}" y2="{middle + 3}"/>'
        for tick in (0, top / 4, top / 2, 3 * top / 4, top)
    ]
    label = []
    if measured is not None:
        if not math.isnan(measured.low):
            parts.append(
                f'<line class="interval" x1="{place(measured.low):.1f}" x2="{place(measured.high):.1f}" '
                f'y1="{middle}" y2="{middle}"/>'
            )
        parts.append(f'<circle class="measured" cx="{place(measured.value):.1f}" cy="{middle}" r="3.5"/>')
        label.append(f"measured {format_number(measured.value, digits)}, interval {format_interval(measured)}")
    if not math.isnan(reported):
        x = place(reported)
        diamond = f"M{x - 4.5:.1f} {middle}l4.5 -4.5l4.5 4.5l-4.5 4.5Z"
        parts.append(f'<path class="reported" d="{diamond}"/>')
        label.append(f"reported {format_number(reported, digits)}")
    return (
        f'<svg width="{CHART_WIDTH}" height="{CHART_HEIGHT}" role="img" aria-label="{escape("; ".join(label))}">'
        f"{''.join(parts)}</svg>"
    )
