"""What `import ser` offers; the command line calls the same functions.

Options are keyword arguments with the names and defaults of `ser.options.Options`: `corpus`, `scaled`, `settings`,
`folds`, `repeats`, `partial`, `results`, `cache`, `executor`, `workers` and others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.contract import Paper
from common.errors import UserError
from ser import registry
from ser.options import Options, options_from_keywords

if TYPE_CHECKING:
    import pandas as pd

    from ser.models import Model
    from ser.results.report.build import Report
    from ser.results.report.claims import Claims


def experiments(paper: str | None = None, tables: Sequence[str] = ()) -> pd.DataFrame:
    """Lists what can be run.

    Args:
        paper: only this paper; None: all.
        tables: only these tables and figures of the paper, for example ["3", "fig2"].

    Returns:
        One row per experiment, indexed by its id: paper, table, title, corpus (with subset), protocol, number of
        trials, and how many reported cells it measures.

    Raises:
        UserError: There is no such paper or table.

    Example:
        >>> list(experiments("gmp_atl", ["2"])["corpus"])
        ['iemocap/4class-excited']
    """
    import pandas as pd

    from ser.lists import experiment_rows

    papers = registry.all_papers() if paper is None else [registry.paper(paper)]
    rows = [row for one in papers for row in experiment_rows(one, registry.experiments_of(one, tables))]
    return pd.DataFrame(rows).set_index("experiment")


def run(experiment: str, **options: Any) -> Report:
    """Runs one experiment and compares it with the reported numbers; finished trials are not done again.

    Args:
        experiment: its id, as `experiments` lists it.
        **options: see `ser.options.Options`.

    Returns:
        The report of this experiment alone. In a notebook it shows itself as tables.

    Raises:
        UserError: Anything that the user can fix: an unknown name, an absent corpus, a full disk.

    Example:
        >>> report = run("mtap/table3/iemocap/softmax", corpus="demo", scaled=True, folds=1)  # doctest: +SKIP
        >>> report.to_frame()[["row", "column", "reported", "measured"]]  # doctest: +SKIP
    """
    from ser.progress import Progress
    from ser.results.reading import read_run
    from ser.results.report import build
    from ser.session import Session

    paper = registry.paper_of(experiment)
    wanted = paper.experiment(experiment)
    chosen = options_from_keywords(options).with_table_opened()
    with Progress() as observer:
        session = Session(chosen, observer)
        folders, _ = session.run_all([(paper, [wanted])])
    runs = {name: read_run(folder) for name, folder in folders.items()}
    if any(run.run["own"] for run in runs.values()):
        shown = build.own_section(paper, list(runs.values()), chosen.results)
    else:
        shown = build.section(paper, wanted.table, runs, (), chosen.results, only={wanted.id})
    return build.report([shown], runs.values(), failures=session.failures)


def reproduce(
    paper: str, tables: Sequence[str] = (), *, claims: Sequence[str] = (), demo: bool = False, **options: Any
) -> Report:
    """Runs all experiments of a paper, or of some of its tables, and compares them with the reported numbers.

    Args:
        paper: name of the paper, or "all".
        tables: only these tables and figures; empty: all, or with `demo` those that the paper chose for it.
        claims: ids of claims, instead of tables: exactly the experiments that they need.
        demo: run scaled, on the embedded synthetic corpus.
        **options: see `ser.options.Options`.

    Returns:
        The report, with figures; it judges the claims (with `claims`: only those) by the runs of this call.

    Raises:
        UserError: Anything that the user can fix.

    Example:
        >>> report = reproduce("mtap", ["3"], corpus="demo", scaled=True)  # doctest: +SKIP
        >>> reproduce("mtap", claims=["apfl-over-softmax-emodb-wa"], demo=True).claims  # doctest: +SKIP
    """
    from ser.progress import Progress
    from ser.results.reading import read_experiment
    from ser.results.report import build
    from ser.session import Session

    wanted = _demo(options_from_keywords(options).with_table_opened(), demo)
    chosen, notes = _with_experiments(paper, tables, claims, demo, wanted)
    with Progress() as observer:
        for note in notes:
            observer.note(note)
        session = Session(wanted, observer)
        # A claim may need one of the many experiments within another one; trained by itself, it is cheaper.
        trained = [(one, some if claims else registry.performed(one, some)) for one, some in chosen]
        folders, absent = session.run_all(trained)
    sections, measured, figures, judged = [], [], [], []
    for one, some in chosen:
        only = {experiment.id for experiment in some} if wanted.corpus or claims else None
        read = {experiment.id: read_experiment(one, experiment, folders) for experiment in some}
        runs = {name: run for name, run in read.items() if run is not None}
        measured += runs.values()
        if any(run.run["own"] for run in runs.values()):
            sections += build.own_sections(one, runs.values(), wanted.results)
            continue
        absent |= {each.id: absent[each.within[0]] for each in some if each.within and each.within[0] in absent}
        shown = [
            build.section(one, table, runs, absent, wanted.results, only=only)
            for table in dict.fromkeys(experiment.table for experiment in some)
        ]
        sections += shown
        figures += build.draw_figures(one, runs, shown)
        judged += build.judged(one, runs.values(), claims)
    return build.report(sections, measured, figures, session.failures, judged)


def _demo(options: Options, demo: bool) -> Options:
    if not demo:
        return options
    return dataclasses.replace(options, corpus="demo", scaled=True, keep_models=True, auxiliary="none")


def _with_experiments(name: str, tables: Sequence[str], claims: Sequence[str], demo: bool, options: Options):
    """Papers with the experiments to run, and what is left out, in sentences."""
    if tables and claims:
        raise UserError("--table and --claim exclude each other: a claim names the rows that it needs.")
    if name == "all" and claims:
        raise UserError("--claim needs one paper: a claim belongs to the paper that makes it.")
    if name == "all" and tables and not demo:
        raise UserError("--table needs one paper: tables of different papers share nothing but their numbers.")
    from ser.claiming import experiments_of_claims
    from ser.results.claims import chosen_claims

    papers: list[Paper] = registry.all_papers() if name == "all" else [registry.paper(name)]
    chosen, notes = [], []
    for one in papers:
        some = tuple(tables)
        if demo:
            one = dataclasses.replace(one, scaled={**one.scaled, **one.demo_changes})
            some = some or one.demo
        if claims:
            experiments, notes = experiments_of_claims(one, chosen_claims(one, claims), options.corpus)
        else:
            experiments = registry.experiments_on(one, some, options.corpus)
        chosen.append((one, experiments))
    return chosen, notes


def claims(paper: str | None = None, *, results: str | Path | None = None) -> Claims:
    """Judges what papers claim (one method is better than another) by everything in a results folder.

    Args:
        paper: only this paper; None: all.
        results: the folder, which need not exist; None: SER_RESULTS, or "results" in the working folder.

    Returns:
        A list of `ser.results.claims.ClaimResult`. A notebook displays it as tables; `to_frame()` gives a data frame.

    Raises:
        UserError: There is no such paper.

    Example:
        >>> claims("mtap").to_frame()[["reported", "measured", "verdict"]]  # doctest: +SKIP
    """
    from ser.results.claims import read_claims
    from ser.results.judging import Judge
    from ser.results.reading import read_runs
    from ser.results.report.claims import Claims

    folder = Options().results if results is None else Path(results)
    found = Claims()
    for one in registry.all_papers() if paper is None else [registry.paper(paper)]:
        stated = read_claims(one)
        needed = {name for claim in stated for name in claim.experiments}
        judge = Judge(one, read_runs(one, folder, needed))
        found += [judge.judge(claim) for claim in stated]
    return found


def report(results: str | Path | None = None) -> Report:
    """Compares everything in a results folder with the reported numbers.

    Args:
        results: the folder; None: SER_RESULTS, or "results" in the working folder.

    Raises:
        UserError: There is no such folder, or it holds no finished trial.
    """
    from ser.results.report import build

    folder = results_folder(results)
    whole = build.from_results(registry.all_papers(), folder)
    if not whole.sections:
        raise UserError(f"{folder} holds no finished trial. `ser reproduce` makes some.")
    return whole


def results_folder(results: str | Path | None) -> Path:
    """An existing results folder.

    Args:
        results: the folder; None: SER_RESULTS, or "results" in the working folder.

    Raises:
        UserError: There is no such folder.
    """
    folder = Options().results if results is None else Path(results)
    if not folder.is_dir():
        raise UserError(f"There is no results folder {folder}. `ser reproduce` makes one.")
    return folder


def runs(experiment: str, results: str | Path | None = None) -> pd.DataFrame:
    """Lists all runs of an experiment side by side, so that what a changed setting does can be read.

    Args:
        experiment: its id, or the beginning of several ids up to a slash ("mtap/table1/emodb").
        results: the folder; None: SER_RESULTS, or "results" in the working folder.

    Returns:
        One row per run and metric: experiment, run, condition ("as declared", "scaled", "modified" ...), details (what
        differs), trials, seeds, column, metric, measured, std, low, high, finished.

    Raises:
        UserError: There is no such experiment, or no finished trial of it.
    """
    from ser.results.report import side_by_side

    return side_by_side.frame(experiment, results_folder(results))


def load_model(folder: str | Path | None = None, *, results: str | Path | None = None) -> Model:
    """Loads a model that was kept by a run with `keep_models=True`.

    Args:
        folder: a trial's `model` folder; None: the one in `results` that was written last.
        results: results folder; None: SER_RESULTS, or "results" in the working folder.

    Returns:
        The model; ``model.predict("a.wav")`` gives a data frame.

    Raises:
        UserError: There is no such model.
    """
    from ser import models

    if folder is None:
        folder = models.newest_model(Options().results if results is None else Path(results))
    return models.load_model(Path(folder))
