"""Verdicts on claims as text: for the terminal, a notebook, Markdown and the HTML page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape as escape_html
from typing import TYPE_CHECKING

from common.intervals import FEWEST_SPEAKERS
from ser.results.claims import VERDICTS, ClaimResult

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

HEADS = ("Claim", "Metric", "Paper", "Measured", "n", "Verdict")
"""Heads of a table of claims."""

STYLES = {"holds": "green", "contradicted": "red", "undecided": "cyan"}

LEGEND = (
    "Claims: Paper and Measured are the difference first minus second, with its 95 % interval over n: test speakers "
    f"(from {FEWEST_SPEAKERS} of them, in several folds), otherwise seeds, for costs trials. A claim holds if the "
    "interval is on the claimed side of zero (a claimed equality: if the difference is surely within the margin), is "
    "contradicted if it is on the other side, and is undecided otherwise. “At that scale”: the runs are not the "
    "paper's experiments, so this is evidence under the stated conditions and not the paper's result."
)


class Claims(list[ClaimResult]):
    """Verdicts on claims; a notebook displays them as a table, and `to_frame()` gives a data frame."""

    def to_frame(self) -> pd.DataFrame:
        """One row per claim, indexed by paper and id."""
        import pandas as pd

        rows = [
            {
                "paper": one.claim.paper,
                "id": one.claim.id,
                "claim": one.claim.claim,
                "section": one.claim.section,
                "relation": one.claim.relation,
                "metric": one.claim.metric,
                "reported": one.claim.difference,
                "measured": one.difference,
                "low": one.low,
                "high": one.high,
                "over": one.over,
                "units": one.units,
                "trials": one.trials,
                "needed": one.needed,
                "verdict": one.verdict,
                "as_declared": one.as_declared,
                "conditions": "; ".join(one.conditions),
                "missing": " ".join(one.missing),
            }
            for one in self
        ]
        columns = list(rows[0]) if rows else ["paper", "id"]
        return pd.DataFrame(rows, columns=columns).set_index(["paper", "id"])

    @property
    def summary(self) -> str:
        """How many claims there are of each verdict; evidence at another scale is counted apart."""
        return summary(self)

    def markdown(self) -> str:
        """The claims as Markdown tables, one per paper."""
        return "\n".join(markdown_table(paper, some, all_of_them=True) for paper, some in by_paper(self))

    def _repr_markdown_(self) -> str:
        return self.markdown()

    def __str__(self) -> str:
        return self.markdown()


def by_paper(results: Iterable[ClaimResult]) -> list[tuple[str, list[ClaimResult]]]:
    """Results of each paper, in their order."""
    found: dict[str, list[ClaimResult]] = {}
    for one in results:
        found.setdefault(one.claim.paper, []).append(one)
    return list(found.items())


def summary(results: Sequence[ClaimResult]) -> str:
    """How many claims there are of each verdict; evidence at another scale is counted apart."""

    def count(some: Iterable[ClaimResult], verdicts: Sequence[str]) -> str:
        counts = Counter(one.verdict for one in some)
        words = {"holds": "hold" if counts["holds"] != 1 else "holds"}
        return ", ".join(f"{counts[verdict]} {words.get(verdict, verdict)}" for verdict in verdicts)

    elsewhere = [one for one in results if one.was_run and not one.as_declared]
    text = count([one for one in results if one not in elsewhere], VERDICTS)
    return f"{text}; at another scale only: {count(elsewhere, VERDICTS[:3])}" if elsewhere else text


def numbers(one: ClaimResult) -> tuple[str, str, str]:
    """The paper's difference, the measured one with its interval, and what it is over, as text."""
    digits = one.claim.digits

    def signed(value: float) -> str:
        return "–" if math.isnan(value) else f"{value:+,.{digits}f}"

    measured = signed(one.difference)
    if one.over != "nothing" and not math.isnan(one.low):
        measured += f" ({signed(one.low)} … {signed(one.high)})"
    units = [counted(one.units, one.over.removesuffix("s"))] if one.units and one.over != "trials" else []
    count = ", ".join([*units, counted(one.trials, "trial")]) if one.was_run else "–"
    return signed(one.claim.difference), measured, count


def counted(number: int, thing: str) -> str:
    """A number of things, for example "1 trial" or "40 trials"."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def conditions(results: Iterable[ClaimResult]) -> list[str]:
    """The conditions of evidence at another scale and what is missing, each line with the claims that it is for."""
    lines: dict[str, list[str]] = {}
    for one in results:
        if one.was_run and not one.as_declared:
            lines.setdefault(f"At that scale: {', '.join(one.conditions)}", []).append(one.claim.id)
        if one.was_run and one.missing:
            lines.setdefault(f"Not run: {', '.join(one.missing)}", []).append(one.claim.id)
    return [f"{line} ({', '.join(ids)})" for line, ids in lines.items()]


def terminal_table(paper: str, results: Sequence[ClaimResult]) -> Table:
    """The claims of a paper as a table for a terminal."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"{paper}, claims", title_justify="left", title_style="bold", header_style="bold")
    for name in HEADS:
        right = name in ("Paper", "Measured")
        fixed = name in ("Metric", "Paper", "Measured")
        table.add_column(name, justify="right" if right else "left", no_wrap=fixed, overflow="fold")
    for one in results:
        style = STYLES.get(one.verdict, "dim") if one.as_declared else "yellow" if one.was_run else "dim"
        needed = f"\n({one.needed_in_words})" if one.needed_in_words else ""
        reported, measured, count = numbers(one)
        table.add_row(
            f"{escape(one.claim.id)}\n[dim]{escape(one.claim.claim)}[/dim]",
            escape(one.claim.unit),
            reported,
            measured,
            count.replace(", ", "\n"),
            f"[{style}]{one.label}[/{style}]{needed}",
        )
    return table


def markdown_table(paper: str, results: Sequence[ClaimResult], *, all_of_them: bool = False) -> str:
    """The claims of a paper that have a result (or all) as a Markdown table; the others are only counted."""
    lines = [f"## {paper}, claims", "", f"| {' | '.join(HEADS)} |", "|---|---|--:|--:|---|---|"]
    for one in results:
        if all_of_them or one.was_run:
            needed = f" ({one.needed_in_words})" if one.needed_in_words else ""
            claim = f"{one.claim.claim} ({one.claim.id})"
            cells = (claim, one.claim.unit, *numbers(one), f"{one.label}{needed}")
            lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join([*lines, "", *(f"- {line}" for line in [summary(results), *conditions(results)]), ""])


def html_section(paper: str, title: str, results: Sequence[ClaimResult]) -> str:
    """The claims of a paper that have a result as a section of the HTML page."""
    rows = []
    for one in results:
        if not one.was_run:
            continue
        reported, measured, count = numbers(one)
        rows.append(
            f'<tr class="first"><th scope="row">{escape_html(one.claim.claim)}'
            f'<span class="note">{escape_html(one.claim.id)}; {escape_html(one.claim.section)}</span></th>'
            f"<td>{escape_html(one.claim.unit)}</td><td>{reported}</td><td>{measured}</td><td>{escape_html(count)}</td>"
            f'<td><span class="badge {one.verdict if one.as_declared else "condition"}">{one.label}</span>'
            f'<span class="note">{escape_html(one.needed_in_words)}</span></td></tr>'
        )
    head = "".join(f'<th scope="col">{name}</th>' for name in HEADS)
    below = "".join(f"<li>{escape_html(line)}</li>" for line in [summary(results), *conditions(results)])
    return f"""<section>
<h2>{escape_html(paper)}, claims</h2>
<p class="title">{escape_html(title)}</p>
<div class="scroll"><table class="claims">
<thead><tr>{head}</tr></thead>
<tbody>
{chr(10).join(rows)}
</tbody>
</table></div>
<ul class="conditions">{below}</ul>
</section>"""
