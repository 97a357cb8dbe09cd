"""The generated parts of the documentation: `python -m ser.generated` rewrites them, a test compares them.

A generated block stands between ``<!-- NAME: generated -->`` and ``<!-- NAME: end -->``. In a paper's card
(`papers/NAME/README.md`), "settings" comes from the fields of the config, "reported" from `reported.csv`, and
"measured" from a results folder. README.md has a table of papers and one of corpora, docs/scale.md the costs. So no
number is typed twice.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import data_prep
from common.contract import Paper
from common.errors import UserError
from common.files import write_text
from common.results import Cell
from ser import registry
from ser.results.report import build, markdown
from ser.results.report.content import LEGEND, Section, table_title, with_std
from ser.results.reported import read_cells

if TYPE_CHECKING:
    from common.results import Comparison


ROOT = Path(__file__).parents[1]


def settings(paper: Paper) -> str:
    """Every config field with its default and its source."""
    config = type(paper.experiments[0].config)
    lines = ["| Field | Default | Source, or the choice and its alternatives |", "|---|---|---|"]
    for item in dataclasses.fields(config):
        source = item.metadata["source"].replace("|", "\\|")  # a bar would end the cell
        lines.append(f"| `{item.name}` | {item.default} | {source} |")
    return "\n".join(lines)


def reported(paper: Paper) -> str:
    """Every reported number, a table each."""
    cells = read_cells(paper.reported)
    parts = []
    for table in dict.fromkeys(cell.table for cell in cells):
        own = [cell for cell in cells if cell.table == table]
        columns = list(dict.fromkeys(cell.column for cell in own))
        rows: dict[str, dict[str, Cell]] = {}
        for cell in own:
            rows.setdefault(cell.row, {})[cell.column] = cell
        lines = [f"| Row | {' | '.join(columns)} | Experiment |"]
        lines.append("|---|" + "--:|" * len(columns) + "---|")
        for row, by_column in rows.items():
            first = next(iter(by_column.values()))
            where = f"`{first.experiment}`" if first.experiment else first.note or "not rebuilt yet"
            values = " | ".join(_value(by_column[column]) if column in by_column else "–" for column in columns)
            lines.append(f"| {row} | {values} | {where} |")
        title = table_title(table)
        parts.append(_folded(title, lines) if len(rows) > FOLDED else "\n".join([f"**{title}**", "", *lines]))
    return "\n\n".join(parts)


FOLDED = 40
"""Rows above which a table is folded: a figure's grid is data to look up, not to read."""


def _folded(title: str, lines: list[str]) -> str:
    summary = f"<summary><b>{title}</b> ({len(lines) - 2} rows)</summary>"
    return "\n".join(["<details>", summary, "", *lines, "", "</details>"])


def _value(cell: Cell) -> str:
    return with_std(cell.value, cell.std, cell.places)


def measured(paper: Paper, results: Path) -> str:
    """The side-by-side of a results folder: of each table what was run, and how much of it was not.

    Raises:
        UserError: the folder holds no finished trial of the paper.
    """
    sections = build.from_results([paper], results).sections
    if not sections:
        raise UserError(f"{results} holds no finished trial of {paper.name}.")
    return "\n".join([*map(shown, sections), LEGEND])


NOTES = 12
"""Conditions above which they are folded."""


def shown(section: Section) -> str:
    """A table of the side-by-side on a card: rows that were run, and where they were run if not on their own corpus."""

    def named(one: Comparison) -> Comparison:
        if section.paper.experiment(one.cell.experiment).corpus == one.corpus:
            return one
        return dataclasses.replace(one, cell=dataclasses.replace(one.cell, row=f"{one.cell.row} (on {one.corpus})"))

    run = tuple(named(one) for one in section.comparisons if one.measured is not None)
    missing = len(section.comparisons) - len(run)
    notes = [f"- {line}" for line in section.conditions]
    if len(notes) > NOTES:
        notes = ["<details>", f"<summary>{len(notes)} conditions</summary>", "", *notes, "", "</details>"]
    if missing:
        notes = [f"Not run: {missing} other cells.", "", *notes]
    table = markdown.render_section(dataclasses.replace(section, comparisons=run, conditions=()))
    return "\n".join([table.replace("## ", "### ", 1).rstrip(), "", *notes, ""])


def papers() -> str:
    """The table of papers for the README."""
    lines = ["| Package | Paper | Rebuilt |", "|---|---|---|"]
    for one in registry.all_papers():
        tables = [table_title(table) for table in dict.fromkeys(experiment.table for experiment in one.experiments)]
        lines.append(f"| [papers/{one.name}](papers/{one.name}/README.md) | {one.reference} | {', '.join(tables)} |")
    return "\n".join(lines)


def corpora() -> str:
    """The table of supported corpora for the README."""
    lines = ["| Name | Corpus | Utterances | Speakers | Language | Licence |", "|---|---|--:|--:|---|---|"]
    for name in data_prep.NAMES:
        one = data_prep.corpus(name)
        lines.append(f"| `{name}` | {one.title} | {one.utterances} | {one.speakers} | {one.language} | {one.licence} |")
    return "\n".join(lines)


def with_block(text: str, name: str, content: str) -> str:
    """A text with one generated block replaced.

    Raises:
        UserError: The text has no such block.
    """
    pattern = re.compile(rf"(<!-- {name}: generated -->\n).*?(\n?<!-- {name}: end -->)", re.DOTALL)
    if not pattern.search(text):
        raise UserError(f"There is no block '<!-- {name}: generated -->' ... '<!-- {name}: end -->'.")
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2].lstrip(chr(10))}", text)


def update_readme(text: str) -> str:
    """README.md with its generated blocks."""
    return with_block(with_block(text, "papers", papers()), "corpora", corpora())


def update(paper: Paper, text: str, results: Path | None = None) -> str:
    """A card with its generated blocks written anew.

    Args:
        paper: whose card.
        text: the card.
        results: results folder for the block "measured"; None leaves that block as it is.
    """
    text = with_block(text, "settings", settings(paper))
    text = with_block(text, "reported", reported(paper))
    return text if results is None else with_block(text, "measured", measured(paper, results))


def write(names: Sequence[str], results: Path | None = None) -> list[Path]:
    """Rewrites generated blocks.

    Args:
        names: papers whose cards are rewritten; empty: all cards, README.md and docs/scale.md.
        results: results folder for the cards' block "measured"; None leaves that block as it is.

    Returns:
        The files that were written.

    Raises:
        UserError: There is no such paper, or the results folder holds nothing of it.
    """
    from ser.costs import markdown

    written = []

    def rewrite(file: Path, change: Callable[[str], str]) -> None:
        write_text(file, change(file.read_text(encoding="utf-8")))
        written.append(file)

    for one in [registry.paper(name) for name in names] or registry.all_papers():
        rewrite(one.folder / "README.md", lambda text, one=one: update(one, text, results))
    if not names:
        rewrite(ROOT / "README.md", update_readme)
        costs = markdown(registry.all_papers())
        rewrite(ROOT / "docs" / "scale.md", lambda text: with_block(text, "costs", costs))
    return written


def main() -> int:
    """The command `python -m ser.generated`."""
    parser = argparse.ArgumentParser(prog="python -m ser.generated", description="Rewrite generated documentation.")
    parser.add_argument("paper", nargs="*", help="only the cards of these papers")
    parser.add_argument("--results", type=Path, help="also rewrite the cards' measured results from this folder")
    arguments = parser.parse_args()
    for file in write(arguments.paper, arguments.results):
        print(f"Written: {file.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    from ser.cli import guarded

    sys.exit(guarded(main))
