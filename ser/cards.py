"""The generated parts of papers' cards: `python -m papers.cards [--results FOLDER]` writes them anew.

A card (`papers/NAME/README.md`) holds blocks between ``<!-- NAME: generated -->`` and ``<!-- NAME: end -->``.
"settings" comes from the config's fields, "reported" from `reported.csv`, "measured" from a results folder; a test
holds the first two against their sources, so no number is typed twice.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UserError
from common.experiments import Paper
from common.files import write_text
from common.reported import Cell, read_cells

if TYPE_CHECKING:
    from common.report.build import Section
    from common.reported import Comparison


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
        title = f"Table {table}" if table[:1].isdigit() else table.replace("fig", "Figure ", 1)
        parts.append(_folded(title, lines) if len(rows) > FOLDED else "\n".join([f"**{title}**", "", *lines]))
    return "\n\n".join(parts)


FOLDED = 40
"""Rows above which a table is folded: a figure's grid is data to look up, not to read."""


def _folded(title: str, lines: list[str]) -> str:
    summary = f"<summary><b>{title}</b> ({len(lines) - 2} rows)</summary>"
    return "\n".join(["<details>", summary, "", *lines, "", "</details>"])


def _value(cell: Cell) -> str:
    from common.report.build import with_std

    return with_std(cell.value, cell.std, cell.places)


def measured(paper: Paper, results: Path) -> str:
    """The side-by-side of a results folder: of each table what was run, and how much of it was not.

    Raises:
        UserError: the folder holds no finished trial of the paper.
    """
    from common.report import build

    sections = build.from_results([paper], results).sections
    if not sections:
        raise UserError(f"{results} holds no finished trial of {paper.name}.")
    return "\n".join(shown(section) for section in sections) + build.LEGEND


NOTES = 12
"""Conditions above which they are folded."""


def shown(section: Section) -> str:
    """A table of the side-by-side on a card: rows that were run, and where they were run if not on their own corpus."""
    from common.report import markdown

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


def corpora() -> str:
    """The supported corpora, for the README."""
    import data_prep

    lines = ["| Name | Corpus | Utterances | Speakers | Language | Licence |", "|---|---|--:|--:|---|---|"]
    for name in data_prep.NAMES:
        one = data_prep.corpus(name)
        lines.append(f"| `{name}` | {one.title} | {one.utterances} | {one.speakers} | {one.language} | {one.licence} |")
    return "\n".join(lines)


def with_block(text: str, name: str, content: str) -> str:
    """A card with one generated block replaced.

    Raises:
        UserError: the card has no such block.
    """
    pattern = re.compile(rf"(<!-- {name}: generated -->\n).*?(\n?<!-- {name}: end -->)", re.DOTALL)
    if not pattern.search(text):
        raise UserError(f"The card has no block '<!-- {name}: generated -->' ... '<!-- {name}: end -->'.")
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2].lstrip(chr(10))}", text)


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


def main() -> int:
    """Writes all cards anew."""
    from papers.cli import PAPERS, paper
    from papers.costs import markdown

    parser = argparse.ArgumentParser(prog="python -m papers.cards", description="Write the papers' cards anew.")
    parser.add_argument("paper", nargs="?", help="only this paper")
    parser.add_argument("--results", type=Path, help="also write the measured side-by-side from this folder")
    arguments = parser.parse_args()
    for name in (arguments.paper,) if arguments.paper else PAPERS:
        card = paper(name).folder / "README.md"
        write_text(card, update(paper(name), card.read_text(encoding="utf-8"), arguments.results))
        print(f"Written: {card}")
    readme = Path(__file__).parents[1] / "README.md"
    write_text(readme, with_block(readme.read_text(encoding="utf-8"), "corpora", corpora()))
    scale = readme.with_name("docs") / "scale.md"
    write_text(scale, with_block(scale.read_text(encoding="utf-8"), "costs", markdown(map(paper, PAPERS))))
    return 0


if __name__ == "__main__":
    from papers.runner import guarded

    sys.exit(guarded(main))
