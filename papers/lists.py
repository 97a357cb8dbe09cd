"""What `ser corpora` and `ser list` print."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

import data_prep
from common.console import console
from common.corpus import Corpus
from common.errors import CorpusAbsent
from common.experiments import Paper
from common.reported import read_cells
from data_prep.check import count_subsets
from papers.runner import target


def show_corpora(corpora: list[Corpus]) -> None:
    """A line a corpus."""
    table = Table(header_style="bold")
    for name in ("Corpus", "", "Utterances", "Speakers", "Licence", "Here"):
        table.add_column(name, justify="right" if name in ("Utterances", "Speakers") else "left")
    for corpus in corpora:
        table.add_row(
            corpus.name, corpus.title, str(corpus.utterances), str(corpus.speakers), corpus.licence, _found(corpus)
        )
    console().print(table)
    console().print(
        "`ser corpora NAME` shows how to get a corpus and the layout it should have; `ser corpora check NAME FOLDER` "
        "holds a folder against it.",
        style="dim",
    )


def _found(corpus: Corpus) -> str:
    if corpus.shipped is not None:
        return "shipped"
    try:
        data_prep.find_root(corpus.name)
    except CorpusAbsent:
        return "no"
    return "yes"


def show_corpus(corpus: Corpus, root: Path | None) -> None:
    """One corpus, and, if its folder is here or given, what was read from it.

    Raises:
        CorpusAbsent: a folder was given that does not exist.
        UserError: the folder is not that corpus.
    """
    out = console()
    out.print(f"[bold]{corpus.title}[/bold] ({corpus.name})")
    for name, text in (("Language", corpus.language), ("Licence", corpus.licence), ("Access", corpus.access)):
        out.print(f"{name}: {text}")
    out.print(f"Layout: {corpus.layout}", markup=False)
    out.print("Subsets:")
    for subset in corpus.subsets:
        counts = ", ".join(f"{emotion} {count}" for emotion, count in subset.counts.items()) or "all labels"
        out.print(f"  {corpus.name}/{subset.name}: {subset.expected} = {counts}", markup=False)
    try:
        folder = data_prep.find_root(corpus.name, root)
    except CorpusAbsent as error:
        if root is not None:
            raise
        out.print(f"Not here: {error}", markup=False)
        return
    table = data_prep.read(corpus.name, root)
    out.print(
        f"Read from {folder}: {len(table)} utterances of {table['speaker'].nunique()} speakers, "
        f"{table['duration'].sum() / 60:.1f} minutes",
        markup=False,
    )
    unreadable = table.loc[table["duration"].isna(), "path"]
    if len(unreadable):
        out.print(f"  unreadable audio: {len(unreadable)} files, first {unreadable.iloc[0]}", markup=False)
    for note in table.attrs.get("notes", []):
        out.print(f"  {note}", markup=False)
    for name, part in count_subsets(table, corpus).items():
        out.print(f"  {corpus.name}/{name}: {part.difference or 'as stated'}", markup=False)


def show_experiments(paper: Paper, table: str | None) -> None:
    """A line an experiment: corpus, protocol, trials, and how many reported cells it measures.

    Raises:
        UserError: no such table.
    """
    from common.errors import unknown

    tables = list(dict.fromkeys(experiment.table for experiment in paper.experiments))
    if table is not None and table not in tables:
        raise unknown(f"table of {paper.name} with experiments", table, tables)
    cells = read_cells(paper.reported)
    shown = Table(title=f"{paper.name}: {paper.title}", title_justify="left", title_style="bold", header_style="bold")
    for name in ("Experiment", "Corpus", "Protocol", "Trials", "Cells"):
        shown.add_column(name, justify="right" if name in ("Trials", "Cells") else "left", no_wrap=name == "Experiment")
    for experiment in paper.experiments:
        if table is not None and experiment.table != table:
            continue
        corpus, subset = target(experiment, None)
        trials = experiment.protocol.count(corpus) * experiment.repeats
        measured = sum(cell.experiment == experiment.id for cell in cells)
        shown.add_row(experiment.id, f"{corpus.name}/{subset}", experiment.protocol.name, str(trials), str(measured))
    out = console()
    out.print(shown)
    without = sum(not cell.experiment for cell in cells)
    out.print(
        f"{len(cells)} reported cells, {without} of them quoted from others or without an experiment yet.", style="dim"
    )
