"""`ser`: the one command line, and the only file that knows all papers.

Nothing heavy is imported before it is needed: `ser --help` and `ser list` never wait for TensorFlow.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError, unknown
from papers import options, runner

PAPERS = ("mtap", "dimensional_mtl", "quaternion_at", "gmp_atl", "mtl_aae")
"""Packages that are rebuilt, in the order of lists and reports."""


def paper(name: str):
    """The paper of that name.

    Raises:
        UserError: there is none; offers the nearest.
    """
    if name not in PAPERS:
        raise unknown("paper", name, PAPERS)
    return importlib.import_module(f"papers.{name}.experiments").PAPER


def paper_of(experiment: str):
    """The paper an experiment's id begins with.

    Raises:
        UserError: no paper of that name.
    """
    name = experiment.split("/")[0]
    if name not in PAPERS:
        raise unknown("experiment", experiment, [one.id for each in PAPERS for one in paper(each).experiments])
    return paper(name)


def corpora(arguments: argparse.Namespace) -> int:
    """`ser corpora`: what is supported, or one corpus' layout, licence and subsets, checked against a folder."""
    import data_prep
    from papers import lists

    if arguments.name is None:
        lists.show_corpora([data_prep.corpus(name) for name in data_prep.NAMES])
    else:
        lists.show_corpus(data_prep.corpus(arguments.name), arguments.root)
    return 0


def check_corpus(arguments: argparse.Namespace) -> int:
    """`ser corpora check`: a folder held against its corpus; 1 if something differs."""
    from papers import checking

    return checking.run(arguments.name, arguments.root, quick=arguments.quick, as_json=arguments.json)


def fetch(arguments: argparse.Namespace) -> int:
    """`ser fetch`: downloads what is public, or lists it."""
    from papers import fetching

    if arguments.name is None:
        fetching.show_sources(arguments.to)
    else:
        fetching.fetch(arguments.name, arguments.to)
    return 0


def list_experiments(arguments: argparse.Namespace) -> int:
    """`ser list`: experiments with their cells and trials, or what they cost."""
    from papers import lists

    names = PAPERS if arguments.paper is None else (arguments.paper,)
    if arguments.cost:
        chosen, each = [paper(name) for name in names], arguments.paper is not None
        lists.show_costs(chosen, arguments.table, arguments.results, scaled=arguments.scaled, each=each)
        return 0
    if arguments.scaled:
        raise UserError("--scaled tells what scaled runs cost; it goes with --cost.")
    for name in names:
        lists.show_experiments(paper(name), arguments.table)
    return 0


def run(arguments: argparse.Namespace) -> int:
    """`ser run`: one experiment."""
    return runner.run_one(paper_of(arguments.experiment), arguments.experiment, options.options_from(arguments))


def reproduce(arguments: argparse.Namespace) -> int:
    """`ser reproduce`: all trials of tables, then the side-by-side; finished trials are not done again."""
    import dataclasses

    from common.report import build, terminal
    from papers.progress import Progress

    wanted = options.options_from(arguments)
    if arguments.demo:
        wanted = dataclasses.replace(wanted, corpus="demo", scaled=True, keep_models=True, auxiliary="none")
    if arguments.paper == "all" and arguments.table and not arguments.demo:
        raise UserError("--table needs one paper: tables of different papers share nothing but their numbers.")
    papers = [paper(name) for name in (PAPERS if arguments.paper == "all" else (arguments.paper,))]
    if arguments.demo:
        papers = [dataclasses.replace(one, scaled={**one.scaled, **one.demo_changes}) for one in papers]
    tables = [one.demo if arguments.demo and not arguments.table else tuple(arguments.table) for one in papers]
    chosen = [(one, experiments_of(one, some, wanted.corpus)) for one, some in zip(papers, tables, strict=True)]
    with Progress() as observer:
        session = runner.Session(wanted, observer)
        folders, absent = runner.perform_all(session, chosen)
    sections, measured, drawings = [], [], []
    for one, experiments in chosen:
        only = {experiment.id for experiment in experiments} if wanted.corpus else None
        names = [experiment.id for experiment in experiments if experiment.id in folders]
        runs = {name: build.read_run(folders[name]) for name in names}
        for table in dict.fromkeys(experiment.table for experiment in experiments):
            sections.append(build.section(one, table, runs, absent, wanted.results, only=only))
        measured += runs.values()
        drawings += build.drawn(one, runs, build.read_cells(one.reported))
    whole = build.report(sections, measured, drawings)
    terminal.show(whole)
    write_pages(whole, wanted.results / "report.html", wanted.results / "report.md")
    return runner.tell_failures(session.failures)


def experiments_of(one, tables: Sequence[str], corpus: str | None) -> list:
    """A paper's experiments of some tables; with a corpus, those on it.

    A corpus that no row of the tables names stands in for the tables' first corpus: the rows then run on it instead.

    Raises:
        UserError: no such table.
    """
    import data_prep

    if corpus is not None:
        data_prep.corpus(corpus)
    known = list(dict.fromkeys(experiment.table for experiment in one.experiments))
    for table in tables:
        if table not in known:
            raise unknown(f"table of {one.name} with experiments", table, known)
    chosen = [experiment for experiment in one.experiments if not tables or experiment.table in tables]
    if corpus is None:
        return chosen
    own = [experiment for experiment in chosen if experiment.corpus == corpus]
    if own:
        return own
    first = {experiment.table: experiment.corpus for experiment in reversed(chosen)}
    return [experiment for experiment in chosen if experiment.corpus == first[experiment.table]]


def pretrain(arguments: argparse.Namespace) -> int:
    """`ser pretrain`: trains what a paper's experiments start from, or tells what there is to train."""
    from papers.progress import Progress

    one = paper(arguments.paper)
    if not one.pretrainings:
        raise UserError(f"{one.name} has nothing to pretrain.")
    if arguments.name is None:
        for pretraining in one.pretrainings:
            where = f"{pretraining.corpus}/{pretraining.subset}"
            print(f"ser pretrain {one.name} {pretraining.name}: {pretraining.title}, learnt on {where}")
        return 0
    pretraining = one.pretraining(arguments.name)
    with Progress() as observer:
        made = runner.Session(options.options_from(arguments), observer).pretrain(one, pretraining)
    print(f"{pretraining.title}: {made.digest} in {made.folder}")
    for flag in made.record["flags"]:
        print(f"  {flag}")
    return 0


def report(arguments: argparse.Namespace) -> int:
    """`ser report`: the side-by-side of everything in a results folder."""
    from common.report import build, terminal

    if not arguments.results.is_dir():
        raise UserError(f"There is no results folder {arguments.results}. `ser reproduce` makes one.")
    whole = build.from_results([paper(name) for name in PAPERS], arguments.results)
    if not whole.sections:
        raise UserError(f"{arguments.results} holds no finished trial. `ser reproduce` makes some.")
    terminal.show(whole)
    write_pages(
        whole,
        arguments.html or arguments.results / "report.html",
        arguments.markdown or arguments.results / "report.md",
    )
    return 0


def write_pages(whole, html_file: Path, markdown_file: Path) -> None:
    """Writes the page and its Markdown twin, and says where."""
    from common.files import write_atomic, write_text
    from common.report import html, markdown

    write_text(html_file, html.render(whole))
    write_text(markdown_file, markdown.render(whole))
    for drawing in whole.drawings:
        write_atomic(markdown_file.with_name(drawing.file_name), lambda file, png=drawing.png: file.write(png))
    print(f"\nWritten: {html_file} and {markdown_file}")


def predict(arguments: argparse.Namespace) -> int:
    """`ser predict`: emotions of audio files by a kept model."""
    from papers import predicting

    folder = arguments.model or predicting.newest_model(arguments.results)
    predicting.show(paper, folder, arguments.files)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="ser", description="Speech emotion recognition papers, rebuilt and held against."
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    verb = verbs.add_parser("corpora", help="supported corpora; with a name: layout, licence, counts, and a check")
    verb.add_argument("name", nargs="?", help="corpus")
    verb.add_argument("--root", type=Path, help="folder to read and count")
    verb.set_defaults(command=corpora)

    # One verb of two words, so that its arguments may stand in any order and `ser corpora NAME` stays.
    verb = verbs.add_parser("corpora check", help="a folder held against its corpus: counts, files, all audio")
    verb.add_argument("name", help="corpus")
    verb.add_argument("root", type=Path, help="its folder")
    verb.add_argument("--quick", action="store_true", help="only the headers of the audio files")
    verb.add_argument("--json", action="store_true", help="everything as JSON on standard output")
    verb.set_defaults(command=check_corpus)

    verb = verbs.add_parser("fetch", help="download a public corpus or model; without a name: what there is; resumes")
    verb.add_argument("name", nargs="?", help="corpus or model")
    verb.add_argument(
        "--to",
        type=Path,
        metavar="FOLDER",
        help="folder that will hold it (default: $SER_CORPORA or corpora; for models $SER_MODELS or models)",
    )
    verb.set_defaults(command=fetch, kept="What was downloaded is kept")

    verb = verbs.add_parser(
        "list", help="experiments, the cells they measure, how many trials they take, and with --cost the hours"
    )
    verb.add_argument("paper", nargs="?", help="paper (default: all)")
    verb.add_argument("--table", help="only this table")
    verb.add_argument("--cost", action="store_true", help="hours and GPU-hours, measured or estimated; nothing is run")
    verb.add_argument("--scaled", action="store_true", help="with --cost: of scaled runs")
    verb.add_argument(
        "--results",
        type=Path,
        default=options.default_folder("SER_RESULTS", "results"),
        help="with --cost: results folder whose finished trials are measurements",
    )
    verb.set_defaults(command=list_experiments)

    verb = verbs.add_parser("run", help="one experiment")
    verb.add_argument("experiment", help="as `ser list` names it, for example mtap/table1/emodb/apfl")
    options.add_run_options(verb)
    verb.set_defaults(command=run)

    verb = verbs.add_parser("pretrain", help="a network that a paper's experiments start from; without a name: which")
    verb.add_argument("paper", help="paper")
    verb.add_argument("name", nargs="?", help="which network; --corpus CORPUS[/SUBSET] lets it learn from another")
    options.add_run_options(verb)
    verb.set_defaults(command=pretrain, kept="What other commands made is kept")

    verb = verbs.add_parser("reproduce", help="all trials of a paper's tables, and the side-by-side; resumes")
    verb.add_argument("paper", help="paper, or 'all'")
    verb.add_argument("--table", action="append", default=[], help="only this table (repeatable)")
    verb.add_argument("--demo", action="store_true", help="scaled, on the embedded synthetic corpus")
    options.add_run_options(verb)
    verb.set_defaults(command=reproduce)

    verb = verbs.add_parser("report", help="the side-by-side of everything in a results folder")
    verb.add_argument("--results", type=Path, default=options.default_folder("SER_RESULTS", "results"))
    verb.add_argument("--html", type=Path, help="page to write (default: report.html in the results folder)")
    verb.add_argument("--markdown", type=Path, help="Markdown to write (default: report.md in the results folder)")
    verb.set_defaults(command=report)

    verb = verbs.add_parser("predict", help="emotions of audio files by a kept model")
    verb.add_argument("files", nargs="+", type=Path, help="audio files")
    verb.add_argument("--model", type=Path, help="model folder (default: the newest kept one in the results folder)")
    verb.add_argument("--results", type=Path, default=options.default_folder("SER_RESULTS", "results"))
    verb.set_defaults(command=predict)
    return top


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command; "corpora check" is one verb."""
    if list(words[:2]) == ["corpora", "check"]:
        words = ["corpora check", *words[2:]]
    return parser().parse_args(words)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `ser`."""
    arguments = parse(sys.argv[1:] if argv is None else argv)
    kept = getattr(arguments, "kept", "Finished trials are kept")
    return runner.guarded(lambda: arguments.command(arguments), kept)


if __name__ == "__main__":
    sys.exit(main())
