"""The generated blocks of the documentation; `python -m ser.generated` rewrites them, and a test checks them.

So no number is typed twice. A generated block is between ``<!-- NAME: generated -->`` and ``<!-- NAME: end -->``. In a
paper's card (`papers/NAME/README.md`), the block "settings" comes from the fields of the config, "reported" from
`reported.csv`, and "measured" from a results folder. README.md has tables of papers and of corpora, and docs/scale.md
has the costs.
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
from ser.results.report.content import LEGEND, Section, format_mean, table_title
from ser.results.reported import read_cells

if TYPE_CHECKING:
    from common.results import Comparison


ROOT = Path(__file__).parents[1]


def settings_table(paper: Paper) -> str:
    """A table of all config fields with their defaults and sources."""
    config = type(paper.experiments[0].config)
    lines = ["| Field | Default | Source, or the choice and its alternatives |", "|---|---|---|"]
    for item in dataclasses.fields(config):
        source = item.metadata["source"].replace("|", "\\|")  # an unescaped bar would end the table cell
        lines.append(f"| `{item.name}` | {item.default} | {source} |")
    return "\n".join(lines)


def reported_tables(paper: Paper) -> str:
    """All reported numbers, with one table for each table and figure of the paper."""
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
            cells_of_row = (by_column.get(column) for column in columns)
            values = " | ".join(format_mean(c.value, c.std, c.places) if c else "–" for c in cells_of_row)
            lines.append(f"| {row} | {values} | {where} |")
        title = table_title(table)
        if len(rows) > COLLAPSED_ROWS:
            parts.append(_collapsed(f"<b>{title}</b> ({len(rows)} rows)", lines))
        else:
            parts.append("\n".join([f"**{title}**", "", *lines]))
    return "\n\n".join(parts)


COLLAPSED_ROWS = 40
"""Tables with more rows are collapsed; such a table is the grid of a figure, which nobody reads line by line."""


def _collapsed(summary: str, lines: list[str]) -> str:
    """Lines that a browser shows only after a click on the summary."""
    return "\n".join(["<details>", f"<summary>{summary}</summary>", "", *lines, "", "</details>"])


def measured_tables(paper: Paper, results: Path) -> str:
    """The numbers in a results folder compared with the reported ones, for each table and figure that was run.

    Raises:
        UserError: The folder contains no finished trial of the paper.
    """
    sections = build.from_results([paper], results).sections
    if not sections:
        raise UserError(f"{results} contains no finished trial of {paper.name}.")
    return "\n".join([*map(measured_table, sections), LEGEND])


COLLAPSED_CONDITIONS = 12
"""If a table has more conditions, they are collapsed."""


def measured_table(section: Section) -> str:
    """One table of a report for a card: only the cells that were run, and the corpus if it is not the cell's own."""

    def with_corpus(one: Comparison) -> Comparison:
        if section.paper.experiment(one.cell.experiment).corpus == one.corpus:
            return one
        return dataclasses.replace(one, cell=dataclasses.replace(one.cell, row=f"{one.cell.row} (on {one.corpus})"))

    run = tuple(with_corpus(one) for one in section.comparisons if one.measured is not None)
    missing = len(section.comparisons) - len(run)
    notes = [f"- {line}" for line in section.conditions]
    if len(notes) > COLLAPSED_CONDITIONS:
        notes = [_collapsed(f"{len(notes)} conditions", notes)]
    if missing:
        notes = [f"Not run: {missing} other cells.", "", *notes]
    table = markdown.render_section(dataclasses.replace(section, comparisons=run, conditions=()))
    return "\n".join([table.replace("## ", "### ", 1).rstrip(), "", *notes, ""])


def papers_table() -> str:
    """The table of papers for README.md."""
    lines = ["| Package | Paper | Rebuilt |", "|---|---|---|"]
    for one in registry.all_papers():
        tables = [table_title(table) for table in dict.fromkeys(experiment.table for experiment in one.experiments)]
        lines.append(f"| [papers/{one.name}](papers/{one.name}/README.md) | {one.reference} | {', '.join(tables)} |")
    return "\n".join(lines)


def corpora_table() -> str:
    """The table of supported corpora for README.md."""
    lines = ["| Name | Corpus | Utterances | Speakers | Language | Licence |", "|---|---|--:|--:|---|---|"]
    for name in data_prep.NAMES:
        one = data_prep.corpus(name)
        lines.append(f"| `{name}` | {one.title} | {one.utterances} | {one.speakers} | {one.language} | {one.licence} |")
    return "\n".join(lines)


def with_block(text: str, name: str, content: str) -> str:
    """Returns a text with new content in one generated block.

    Raises:
        UserError: The text has no such block.
    """
    pattern = re.compile(rf"(<!-- {name}: generated -->\n).*?(\n?<!-- {name}: end -->)", re.DOTALL)
    if not pattern.search(text):
        raise UserError(f"There is no block '<!-- {name}: generated -->' ... '<!-- {name}: end -->'.")
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2].lstrip(chr(10))}", text)


def updated_readme(text: str) -> str:
    """README.md with up-to-date generated blocks."""
    return with_block(with_block(text, "papers", papers_table()), "corpora", corpora_table())


def updated_card(paper: Paper, text: str, results: Path | None = None) -> str:
    """A paper's card with up-to-date generated blocks.

    Args:
        paper: the paper.
        text: the card.
        results: results folder for the block "measured"; None: keep that block.
    """
    text = with_block(text, "settings", settings_table(paper))
    text = with_block(text, "reported", reported_tables(paper))
    return text if results is None else with_block(text, "measured", measured_tables(paper, results))


def rewrite_blocks(names: Sequence[str], results: Path | None = None) -> list[Path]:
    """Rewrites the generated blocks of files.

    Args:
        names: papers whose cards are rewritten; empty: all cards, README.md and docs/scale.md.
        results: results folder for the block "measured" of the cards; None: keep that block.

    Returns:
        The files that were written.

    Raises:
        UserError: There is no such paper, or the results folder contains no finished trial of it.
    """
    from ser.costs import markdown

    written = []

    def rewrite(file: Path, change: Callable[[str], str]) -> None:
        write_text(file, change(file.read_text(encoding="utf-8")))
        written.append(file)

    for one in [registry.paper(name) for name in names] or registry.all_papers():
        rewrite(one.folder / "README.md", lambda text, one=one: updated_card(one, text, results))
    if not names:
        rewrite(ROOT / "README.md", updated_readme)
        costs = markdown(registry.all_papers())
        rewrite(ROOT / "docs" / "scale.md", lambda text: with_block(text, "costs", costs))
    return written


def main() -> int:
    """The command `python -m ser.generated`."""
    parser = argparse.ArgumentParser(prog="python -m ser.generated", description="Rewrite generated documentation.")
    parser.add_argument("paper", nargs="*", help="only the cards of these papers")
    parser.add_argument("--results", type=Path, help="also rewrite the cards' measured results from this folder")
    arguments = parser.parse_args()
    for file in rewrite_blocks(arguments.paper, arguments.results):
        print(f"Written: {file.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    from ser.cli import guarded

    sys.exit(guarded(main))
