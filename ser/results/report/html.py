"""The side-by-side as one self-contained HTML page: no script, no font or picture from elsewhere."""

from __future__ import annotations

import base64
import math
from html import escape
from pathlib import Path

from common.results import Comparison, Measurement
from ser.results.report.content import (
    LEGEND,
    Content,
    DrawnFigure,
    Section,
    amount,
    interval,
    number,
    with_std,
)

STRIP_WIDTH, STRIP_HEIGHT = 180, 18


def render(report: Content) -> str:
    """The page."""
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    versions = ", ".join(f"{escape(name)} {escape(value)}" for name, value in sorted(report.versions.items()))
    parts = [_section(section) for section in report.sections] + [_figure(one) for one in report.figures]
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
<p class="legend">{escape(LEGEND)} In the strip, ◇ is the reported value, ● the measured one with its interval,
and ticks mark the quarters of 100 % (of a CCC of 1).</p>
</main>
<footer>{versions}</footer>
</body>
</html>
"""


def _section(section: Section) -> str:
    badges = "".join(f' <span class="badge scaled">{escape(word)}</span>' for word in section.qualifiers)
    rows = []
    last = None
    for comparison in section.comparisons:
        rows.append(_row(comparison, first=comparison.cell.row != last))
        last = comparison.cell.row
    for reference in section.yardsticks:
        measured = reference.measured
        title = escape(reference.title) if reference.title != last else ""
        last = reference.title
        rows.append(
            f'<tr class="yardstick{" first" if title else ""}"><th scope="row">{title}</th>'
            f"<td>{escape(reference.column)}</td>"
            f"<td>–</td><td>{number(measured.value, measured.digits)}</td><td>{interval(measured)}</td>"
            f"<td>{_strip(math.nan, measured, measured.digits)}</td>"
            f'<td>{amount(measured)}</td><td>–</td><td><span class="badge quiet">yardstick</span></td></tr>'
        )
    conditions = "".join(f"<li>{escape(line)}</li>" for line in section.conditions)
    heads = ("Row", "", "Reported", "Measured", "95 % interval", "", "n", "Diff.", "Verdict")
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


def _row(comparison: Comparison, first: bool) -> str:
    cell, measured = comparison.cell, comparison.measured
    remark = f'<span class="note">{escape(comparison.cell.note)}</span>' if comparison.cell.note else ""
    title = f"{escape(cell.row)}{remark}" if first else ""
    kind = comparison.verdict.split()[0]
    return (
        f'<tr{" class=first" if first else ""}><th scope="row">{title}</th><td>{escape(cell.column)}</td>'
        f"<td>{with_std(cell.value, cell.std, cell.digits)}</td>"
        f"<td>{with_std(measured.value, measured.std, measured.digits) if measured else '–'}</td>"
        f"<td>{interval(measured) if measured else '–'}</td>"
        f"<td>{_strip(cell.value, measured, cell.digits)}</td>"
        f"<td>{amount(measured) if measured else '–'}</td>"
        f"<td>{number(comparison.difference, cell.digits)}</td>"
        f'<td><span class="badge {kind}">{escape(comparison.verdict)}</span></td></tr>'
    )


def _figure(drawing: DrawnFigure) -> str:
    content = base64.b64encode(drawing.png).decode()
    return (
        f"<section><h2>{escape(drawing.heading)}</h2>"
        f'<p><img alt="{escape(drawing.heading)}" src="data:image/png;base64,{content}"></p></section>'
    )


def _strip(reported: float, measured: Measurement | None, digits: int) -> str:
    """Reported and measured value on a line from 0 to 100 %, or from a CCC of 0 to one of 1."""
    top = 100.0 if digits == 2 else 1.0

    def place(value: float) -> float:
        return 6 + (STRIP_WIDTH - 12) * min(max(value / top, 0.0), 1.0)

    middle = STRIP_HEIGHT / 2
    parts = [f'<line class="axis" x1="{place(0)}" x2="{place(top)}" y1="{middle}" y2="{middle}"/>']
    parts += [
        f'<line class="axis" x1="{place(tick):.1f}" x2="{place(tick):.1f}" y1="{middle - 3}" y2="{middle + 3}"/>'
        for tick in (0, top / 4, top / 2, 3 * top / 4, top)
    ]
    words = []
    if measured is not None:
        if not math.isnan(measured.low):
            parts.append(
                f'<line class="interval" x1="{place(measured.low):.1f}" x2="{place(measured.high):.1f}" '
                f'y1="{middle}" y2="{middle}"/>'
            )
        parts.append(f'<circle class="measured" cx="{place(measured.value):.1f}" cy="{middle}" r="3.5"/>')
        words.append(f"measured {number(measured.value, digits)}, interval {interval(measured)}")
    if not math.isnan(reported):
        x = place(reported)
        diamond = f"M{x - 4.5:.1f} {middle}l4.5 -4.5l4.5 4.5l-4.5 4.5Z"
        parts.append(f'<path class="reported" d="{diamond}"/>')
        words.append(f"reported {number(reported, digits)}")
    return (
        f'<svg width="{STRIP_WIDTH}" height="{STRIP_HEIGHT}" role="img" aria-label="{escape("; ".join(words))}">'
        f"{''.join(parts)}</svg>"
    )
