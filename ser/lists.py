"""`ser corpora` and `ser list`: prints corpora, experiments and costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

import data_prep
from common.contract import Experiment, Paper
from common.corpus import Corpus
from common.errors import CorpusAbsent, UserError
from data_prep.check import count_subsets
from ser.console import console
from ser.progress import counted
from ser.registry import experiments_of
from ser.results.report.content import table_title
from ser.results.reported import read_cells
from ser.subsets import corpus_and_subset

if TYPE_CHECKING:
    from ser.costs import Line


def show_corpora(corpora: list[Corpus], added: Sequence[str] = ()) -> None:
    """Prints one line per corpus.

    Args:
        corpora: corpora with a reader.
        added: names of tables of recordings, which may have been moved since.
    """
    table = Table(header_style="bold")
    for name in ("Corpus", "", "Utterances", "Speakers", "Licence", "Here"):
        table.add_column(name, justify="right" if name in ("Utterances", "Speakers") else "left")
    problems = []
    for name in added:
        try:
            corpora = [*corpora, data_prep.corpus(name)]
        except UserError as error:
            problems.append(f"{name}: {error}")
    for corpus in corpora:
        table.add_row(
            corpus.name, corpus.title, str(corpus.utterances), str(corpus.speakers), corpus.licence, _is_here(corpus)
        )
    console().print(table)
    for problem in problems:
        console().print(problem, markup=False)
    console().print(
        "`ser corpora NAME` shows how to get a corpus and how its folder must look; `ser corpora check NAME FOLDER` "
        "checks a folder.",
        style="dim",
    )


def _is_here(corpus: Corpus) -> str:
    if corpus.shipped is not None:
        return "shipped"
    try:
        data_prep.find_root(corpus.name)
    except CorpusAbsent:
        return "no"
    return "yes"


def show_corpus(corpus: Corpus, root: Path | None) -> None:
    """Prints what is known about a corpus and, if its folder is found, what was read from it.

    Args:
        corpus: the corpus.
        root: its folder; None: found by `data_prep.find_root`.

    Raises:
        CorpusAbsent: The folder `root` does not exist.
        UserError: The folder is not that corpus.
    """
    out = console()
    out.print(f"[bold]{corpus.title}[/bold] ({corpus.name})")
    known = {"Language": corpus.language, "Licence": corpus.licence, "Access": corpus.access, "Layout": corpus.layout}
    for name, text in known.items():
        if text:
            out.print(f"{name}: {text}", markup=False)
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
        out.print(
            f"  unreadable audio: {counted(len(unreadable), 'file')}; the first is {unreadable.iloc[0]}", markup=False
        )
    for note in table.attrs.get("notes", []):
        out.print(f"  {note}", markup=False)
    if corpus.own is None:
        for name, part in count_subsets(table, corpus).items():
            out.print(f"  {corpus.name}/{name}: {part.difference or 'as expected'}", markup=False)


def experiment_rows(paper: Paper, experiments: Iterable[Experiment]) -> list[dict[str, Any]]:
    """Describes experiments of a paper, one dictionary each (see `ser.api.experiments` for the keys)."""
    cells = Counter(cell.experiment for cell in read_cells(paper.reported))
    rows = []
    for one in experiments:
        corpus, subset = corpus_and_subset(one, None)
        rows.append(
            {
                "experiment": one.id,
                "paper": paper.name,
                "table": one.table,
                "title": one.title,
                "corpus": f"{corpus.name}/{subset}",
                "protocol": one.protocol.name,
                "trials": one.protocol.count(corpus) * one.repeats,
                "cells": cells[one.id],
            }
        )
    return rows


def show_experiments(paper: Paper, tables: Sequence[str]) -> None:
    """Prints a line per experiment: corpus, protocol, trials, and how many reported cells it measures.

    Raises:
        UserError: There is no such table.
    """
    shown = Table(title=f"{paper.name}: {paper.title}", title_justify="left", title_style="bold", header_style="bold")
    for name in ("Experiment", "Corpus", "Protocol", "Trials", "Cells"):
        shown.add_column(name, justify="right" if name in ("Trials", "Cells") else "left", no_wrap=name == "Experiment")
    for row in experiment_rows(paper, experiments_of(paper, tables)):
        shown.add_row(*(str(row[name]) for name in ("experiment", "corpus", "protocol", "trials", "cells")))
    out = console()
    out.print(shown)
    cells = read_cells(paper.reported)
    without = sum(not cell.experiment for cell in cells)
    rest = f"; {without} of them are quoted from other papers or have no experiment" if without else ""
    out.print(f"{counted(len(cells), 'reported cell')}{rest}.", style="dim")
    within = sum(one.within is not None for one in experiments_of(paper, tables))
    if within:
        out.print(
            f"{counted(within, 'experiment')}: `ser reproduce` measures them in the trials of other experiments, which "
            "train the same networks. `ser run` trains one of them alone.",
            style="dim",
        )


def show_costs(papers: Sequence[Paper], tables: Sequence[str], results: Path, *, scaled: bool, each: bool) -> None:
    """Prints trials, hours on a processor's core and hours on a GPU, before anything is run.

    Args:
        papers: which papers.
        tables: only these tables; empty: all.
        results: results folder, whose finished trials replace estimates.
        scaled: as `--scaled` runs them.
        each: one line per experiment; otherwise one per table.

    Raises:
        UserError: There is no such table.
    """
    from ser import costs

    shown = Table(header_style="bold")
    for name in ("", "Trials", *costs.DEVICES.values()):
        shown.add_column(name, justify="right" if name else "left", no_wrap=True)
    everything: list[Line] = []
    for paper in papers:
        found = costs.lines(paper, experiments_of(paper, tables), results, scaled=scaled)
        everything += found
        for table in dict.fromkeys(line.table for line in found):
            own = [line for line in found if line.table == table]
            for line in own if each else ():
                shown.add_row(line.name, *costs.cells([line]))
            title = "pretrainings" if table == "pretraining" else table_title(table)
            shown.add_row(f"{paper.name}, {title}", *costs.cells(own), style="bold" if each else None, end_section=each)
        whole = f"{paper.name}, {'these tables' if tables else 'all'}{', scaled' if scaled else ''}"
        shown.add_row(whole, *costs.cells(found), style="bold", end_section=True)
    if len(papers) > 1:
        shown.add_row("all papers", *costs.cells(everything), style="bold")
    out = console()
    out.print(shown)
    for note in costs.notes(everything):
        out.print(f" • {note}", style="dim", markup=False)
