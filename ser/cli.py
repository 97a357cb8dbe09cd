"""`ser`: the command line.

Nothing heavy is imported before it is needed: `ser --help` and `ser list` never wait for TensorFlow.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UserError
from ser import api, registry
from ser.options import add_run_options, add_table_options, default_folder, options_from, pairs_from, seconds

if TYPE_CHECKING:
    from ser.execution.executor import Failure
    from ser.results.report.build import Report


def show_corpora(arguments: argparse.Namespace) -> int:
    """`ser corpora`: what is supported, or one corpus's layout, licence and subsets, checked against a folder."""
    import data_prep
    from data_prep import recordings
    from ser import lists

    if arguments.name is None:
        lists.show_corpora([data_prep.corpus(name) for name in data_prep.NAMES], recordings.added())
    else:
        lists.show_corpus(data_prep.corpus(arguments.name), arguments.root)
    return 0


def check_corpus(arguments: argparse.Namespace) -> int:
    """`ser corpora check`: compares a folder with what is known of its corpus; 1 if something differs."""
    from ser import checking

    return checking.check_folder(arguments.name, arguments.root, quick=arguments.quick, as_json=arguments.json)


def add_corpus(arguments: argparse.Namespace) -> int:
    """`ser corpora add`: keeps a table of recordings under a name."""
    from data_prep import recordings
    from ser import lists

    options = recordings.TableOptions(
        pairs_from("--column", arguments.column), pairs_from("--merge", arguments.merge), tuple(arguments.drop)
    )
    made = recordings.add(arguments.name, arguments.table, options)
    lists.show_corpus(made.CORPUS, None)
    print(f"Added: --corpus {arguments.name} names it from now on (its entry is {made.entry}).")
    return 0


def fetch(arguments: argparse.Namespace) -> int:
    """`ser fetch`: downloads what is public, or lists it."""
    from ser import fetching

    if arguments.name is None:
        fetching.show_sources(arguments.to)
    else:
        fetching.fetch(arguments.name, arguments.to)
    return 0


def list_experiments(arguments: argparse.Namespace) -> int:
    """`ser list`: experiments with their cells and trials, or what they cost."""
    from ser import lists

    if arguments.scaled and not arguments.cost:
        raise UserError("--scaled goes with --cost: it asks what scaled runs cost.")
    papers = registry.all_papers() if arguments.paper is None else [registry.paper(arguments.paper)]
    if arguments.cost:
        each = arguments.paper is not None
        lists.show_costs(papers, arguments.table, arguments.results, scaled=arguments.scaled, each=each)
        return 0
    for one in papers:
        lists.show_experiments(one, arguments.table)
    return 0


def run(arguments: argparse.Namespace) -> int:
    """`ser run`: one experiment."""
    return show(api.run(arguments.experiment, **vars(options_from(arguments))))


def reproduce(arguments: argparse.Namespace) -> int:
    """`ser reproduce`: all trials of tables, then the comparison; finished trials are not done again."""
    options = options_from(arguments)
    report = api.reproduce(
        arguments.paper, arguments.table, claims=arguments.claim, demo=arguments.demo, **vars(options)
    )
    code = show(report, claims_last=bool(arguments.claim))
    write_pages(report, options.results / "report.html", options.results / "report.md")
    return code


def pretrain(arguments: argparse.Namespace) -> int:
    """`ser pretrain`: trains a network that a paper's experiments start from, or lists these networks."""
    from ser.progress import Progress
    from ser.session import Session

    one = registry.paper(arguments.paper)
    if not one.pretrainings:
        raise UserError(f"{one.name} has nothing to pretrain.")
    if arguments.name is None:
        for pretraining in one.pretrainings:
            where = f"{pretraining.corpus}/{pretraining.subset}"
            print(f"ser pretrain {one.name} {pretraining.name}: {pretraining.title}, trained on {where}")
        return 0
    pretraining = one.pretraining(arguments.name)
    with Progress() as observer:
        made = Session(options_from(arguments).with_table_opened(), observer).pretrain(one, pretraining)
    print(f"{pretraining.title}: {made.digest} in {made.folder}")
    for flag in made.record["flags"]:
        print(f"  {flag}")
    return 0


def report(arguments: argparse.Namespace) -> int:
    """`ser report`: compares everything in a results folder with the reported numbers, or shows runs side by side."""
    if arguments.runs:
        from ser.results.report import side_by_side

        side_by_side.show(arguments.runs, api.results_folder(arguments.results))
        return 0
    whole = api.report(arguments.results)
    show(whole)
    write_pages(
        whole,
        arguments.html or arguments.results / "report.html",
        arguments.markdown or arguments.results / "report.md",
    )
    return 0


def claims(arguments: argparse.Namespace) -> int:
    """`ser claims`: what papers claim, and whether the results so far say that it holds."""
    from ser.results.report import terminal

    terminal.show_all_claims(api.claims(arguments.paper, results=arguments.results))
    return 0


def predict(arguments: argparse.Namespace) -> int:
    """`ser predict`: emotions of recordings, predicted by a kept model; 1 if one could not be used."""
    from ser import predicting

    model = api.load_model(arguments.model, results=arguments.results)
    return predicting.predict(
        model, arguments.files, form=arguments.form, timeline=arguments.timeline, window_s=arguments.window
    )


def show(report: Report, *, claims_last: bool = False) -> int:
    """Prints a report, and below it which trials failed.

    Args:
        report: what to print.
        claims_last: print the claims below the tables.

    Returns:
        The exit code: 1 if a trial failed.
    """
    from ser.results.report import terminal

    terminal.show(report, claims_last=claims_last)
    for line in failure_lines(report.failures):
        print(f"ser: {line}", file=sys.stderr)
    return int(bool(report.failures))


def failure_lines(failures: Sequence[Failure]) -> list[str]:
    """One line per reason, with the trials that failed for it."""
    trials: dict[str, list[str]] = {}
    for failure in failures:
        trial = failure.trial
        trials.setdefault(failure.message, []).append(f"{trial.run.experiment.id} {trial.name}")
    lines = []
    for message, names in trials.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        lines.append(f"{names[0]}{more} failed: {message}")
    return lines


def write_pages(report: Report, html_file: Path, markdown_file: Path) -> None:
    """Writes a report's page and its Markdown twin, and says where they are."""
    report.write(html_file, markdown_file)
    print(f"\nWritten: {html_file} and {markdown_file}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="ser",
        description="Speech emotion recognition papers, rebuilt: run them and compare with the reported numbers.",
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    results = default_folder("SER_RESULTS", "results")

    verb = verbs.add_parser("corpora", help="supported corpora; with a name: layout, licence, counts, and a check")
    verb.add_argument("name", nargs="?", help="corpus")
    verb.add_argument("--root", type=Path, help="folder to read and count")
    verb.set_defaults(command=show_corpora)

    # One verb of two words, so that its arguments may be in any order and `ser corpora NAME` still works.
    verb = verbs.add_parser("corpora check", help="compare a folder with its corpus: counts, files, all audio")
    verb.add_argument("name", help="corpus")
    verb.add_argument("root", type=Path, help="its folder")
    verb.add_argument("--quick", action="store_true", help="read only the headers of the audio files")
    verb.add_argument("--json", action="store_true", help="everything as JSON on standard output")
    verb.set_defaults(command=check_corpus)

    verb = verbs.add_parser("corpora add", help="give a table of your own recordings a name")
    verb.add_argument("name", help="name for --corpus: small letters, digits, _ and -")
    verb.add_argument("table", type=Path, help=".csv, .tsv, .parquet, or a folder with metadata.csv")
    add_table_options(verb)
    verb.set_defaults(command=add_corpus)

    verb = verbs.add_parser("fetch", help="download a public corpus or model; without a name: list them; resumes")
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
    verb.add_argument("--table", action="append", default=[], help="only this table (repeatable)")
    verb.add_argument("--cost", action="store_true", help="hours and GPU-hours, measured or estimated; runs nothing")
    verb.add_argument("--scaled", action="store_true", help="with --cost: of scaled runs")
    verb.add_argument(
        "--results", type=Path, default=results, help="with --cost: results folder whose finished trials are used"
    )
    verb.set_defaults(command=list_experiments)

    verb = verbs.add_parser("run", help="run one experiment")
    verb.add_argument("experiment", help="as `ser list` names it, for example mtap/table1/emodb/apfl")
    add_run_options(verb)
    verb.set_defaults(command=run)

    verb = verbs.add_parser("pretrain", help="train a network that experiments start from; without a name: list them")
    verb.add_argument("paper", help="paper")
    verb.add_argument("name", nargs="?", help="which network; --corpus CORPUS[/SUBSET] trains it on another corpus")
    add_run_options(verb)
    verb.set_defaults(command=pretrain, kept="What other commands made is kept")

    verb = verbs.add_parser("reproduce", help="run all trials of a paper's tables and compare the results; resumes")
    verb.add_argument("paper", help="paper, or 'all'")
    verb.add_argument("--table", action="append", default=[], help="only this table (repeatable)")
    verb.add_argument(
        "--claim",
        action="append",
        default=[],
        metavar="ID",
        help="only what this claim needs, then its verdict (repeatable; `ser claims` lists them)",
    )
    verb.add_argument("--demo", action="store_true", help="scaled, on the embedded synthetic corpus")
    add_run_options(verb)
    verb.set_defaults(command=reproduce)

    verb = verbs.add_parser("claims", help="what papers claim, and whether the results so far say that it holds")
    verb.add_argument("paper", nargs="?", help="paper (default: all)")
    verb.add_argument("--results", type=Path, default=results, help="results folder")
    verb.set_defaults(command=claims)

    verb = verbs.add_parser("report", help="compare everything in a results folder with the reported numbers")
    verb.add_argument("--results", type=Path, default=results, help="results folder")
    verb.add_argument(
        "--runs", metavar="EXPERIMENT", help="instead: all runs of an experiment, or of all whose id starts so"
    )
    verb.add_argument("--html", type=Path, help="page to write (default: report.html in the results folder)")
    verb.add_argument("--markdown", type=Path, help="Markdown to write (default: report.md in the results folder)")
    verb.set_defaults(command=report)

    verb = verbs.add_parser("predict", help="predict the emotions of recordings with a kept model")
    verb.add_argument(
        "files", nargs="+", metavar="PATH", help="audio files, folders, patterns; - reads a list from standard input"
    )
    form = verb.add_mutually_exclusive_group()
    form.add_argument("--csv", dest="form", action="store_const", const="csv", help="print CSV with all numbers")
    form.add_argument("--json", dest="form", action="store_const", const="json", help="print JSON with all numbers")
    verb.add_argument("--timeline", action="store_true", help="also an answer for each window of a long recording")
    verb.add_argument(
        "--window",
        type=seconds,
        metavar="S",
        help="length of a window in seconds (default: what the network takes in at once)",
    )
    verb.add_argument("--model", type=Path, help="model folder (default: the newest one in the results folder)")
    verb.add_argument("--results", type=Path, default=results, help="results folder")
    verb.set_defaults(command=predict, form="table")
    return top


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command; "corpora check" and "corpora add" are one verb each."""
    if list(words[:2]) in (["corpora", "check"], ["corpora", "add"]):
        words = [" ".join(words[:2]), *words[2:]]
    return parser().parse_args(words)


def guarded(command: Callable[[], int], kept: str = "Finished trials are kept") -> int:
    """Runs a command and turns errors into one message and an exit code.

    Args:
        command: returns the exit code.
        kept: what an interruption leaves, for its message.

    Returns:
        The command's exit code; 2 for an error that the user can fix; 130 or 143 for an interruption.
    """
    stopped_by = []

    def stop(number, frame):
        stopped_by.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        return command()
    except UserError as error:
        print(f"ser: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The process that reads the output has ended (`ser list | head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print(f"\nser: stopped. {kept}; the same command continues from here.", file=sys.stderr)
        return 128 + (stopped_by[0] if stopped_by else signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, before)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `ser`."""
    arguments = parse(sys.argv[1:] if argv is None else argv)
    kept = getattr(arguments, "kept", "Finished trials are kept")
    return guarded(lambda: arguments.command(arguments), kept)


def train_main(paper: str, argv: Sequence[str] | None = None) -> int:
    """`python -m papers.NAME.train EXPERIMENT [options]`: the same as `ser run`."""
    one = registry.paper(paper)
    words = argparse.ArgumentParser(prog=f"python -m papers.{paper}.train", description=one.title)
    words.add_argument("experiment", help=f"for example {one.experiments[0].id}")
    add_run_options(words)
    arguments = words.parse_args(argv)
    return guarded(lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())
