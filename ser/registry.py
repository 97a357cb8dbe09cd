"""All papers, found in the folder `papers`: every package there with an `experiments.py` is one."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import papers
from common.contract import Experiment, Paper
from common.errors import unknown

PAPERS = tuple(sorted(file.parent.name for file in Path(papers.__path__[0]).glob("*/experiments.py")))
"""Names of all papers, in the order of lists and reports."""


def paper(name: str) -> Paper:
    """The paper of that name.

    Raises:
        UserError: There is no such paper; offers the nearest names.
    """
    if name not in PAPERS:
        raise unknown("paper", name, PAPERS)
    return importlib.import_module(f"papers.{name}.experiments").PAPER


def all_papers() -> list[Paper]:
    """All papers, in the order of `PAPERS`."""
    return [paper(name) for name in PAPERS]


def paper_of(experiment: str) -> Paper:
    """The paper that an experiment's id begins with.

    Raises:
        UserError: There is no such paper; offers the nearest experiments.
    """
    name = experiment.split("/")[0]
    if name not in PAPERS:
        raise unknown("experiment", experiment, [one.id for each in all_papers() for one in each.experiments])
    return paper(name)


def experiments_of(one: Paper, tables: Sequence[str] = ()) -> list[Experiment]:
    """A paper's experiments, in its order.

    Args:
        one: the paper.
        tables: only these tables and figures, for example "3" or "fig2"; empty: all.

    Raises:
        UserError: There is no such table.
    """
    known = list(dict.fromkeys(experiment.table for experiment in one.experiments))
    for table in tables:
        if table not in known:
            raise unknown(f"table of {one.name} with experiments", table, known)
    return [experiment for experiment in one.experiments if not tables or experiment.table in tables]


def experiments_on(one: Paper, tables: Sequence[str], corpus: str | None) -> list[Experiment]:
    """The experiments to run for some tables when a corpus may be chosen by hand.

    If no row of the tables is on that corpus, it takes the place of the tables' first corpus: those rows are then run
    on it instead of their own.

    Args:
        one: the paper.
        tables: as for `experiments_of`.
        corpus: the chosen corpus; None: every experiment runs on its own.

    Raises:
        UserError: There is no such table or corpus.
    """
    import data_prep

    if corpus is not None:
        data_prep.corpus(corpus)
    chosen = experiments_of(one, tables)
    if corpus is None:
        return chosen
    own = [experiment for experiment in chosen if experiment.corpus == corpus]
    if own:
        return own
    first = {experiment.table: experiment.corpus for experiment in reversed(chosen)}
    return [experiment for experiment in chosen if experiment.corpus == first[experiment.table]]


def performed(one: Paper, experiments: Iterable[Experiment]) -> list[Experiment]:
    """The experiments whose trials give the results of some experiments, each once.

    An experiment that is declared within another one has no trials of its own here; `ser run` can still train it alone.
    """
    names = [each.id if each.within is None else each.within[0] for each in experiments]
    return [one.experiment(name) for name in dict.fromkeys(names)]
