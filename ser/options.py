"""What a person may choose for a run, and how it is typed."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import UserError


@dataclass(frozen=True)
class Options:
    """What a person may choose for a run, besides the experiment.

    Attributes:
        corpus: run on this corpus instead of the experiment's own.
        root: folder of the corpus; None: found by `data_prep.find_root`.
        results: results folder.
        cache: feature cache.
        scaled: apply the paper's scaled settings.
        changes: config fields to set, as typed; "protocol.NAME" sets a field of the protocol.
        folds: how many folds, or names of folds; None: all.
        repeats: runs a fold; None: as the experiment declares (or as the paper's scaled runs do).
        partial: go on if the corpus' counts differ.
        skip_bad_audio: go on without audio that cannot be used.
        deterministic: same seed, same bytes.
        keep_models: keep fitted models for `ser predict`.
        yardstick: evaluate eGeMAPS + SVM on the same folds.
        auxiliary: "corpus[/subset]" to learn from besides, or "none"; None: as the experiment declares.
        jobs: processes for feature extraction; None: one a core.
        executor: where trials run: "local" (processes of this machine), "ray" (a cluster) or "here" (this process).
        address: of the Ray cluster; None: RAY_ADDRESS, or one of this machine alone.
        workers: trials at once; None: as many as cores, memory and GPUs allow.
        gpus_per_trial: GPUs a trial, also a fraction; None: one if there is any.
        cpus_per_trial: cores a trial; None: the cores shared out among the workers.
    """

    corpus: str | None = None
    root: Path | None = None
    results: Path = Path("results")
    cache: Path = Path("cache")
    scaled: bool = False
    changes: Mapping[str, str] = field(default_factory=dict)
    folds: str | None = None
    repeats: int | None = None
    partial: bool = False
    skip_bad_audio: bool = False
    deterministic: bool = False
    keep_models: bool = False
    yardstick: bool = True
    jobs: int | None = None
    auxiliary: str | None = None
    executor: str = field(default_factory=lambda: default_executor())
    address: str | None = None
    workers: int | None = None
    gpus_per_trial: float | None = None
    cpus_per_trial: int | None = None


EXECUTORS = ("local", "ray", "here")


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """The options of `ser run` and `ser reproduce`."""
    parser.add_argument("--corpus", help="run on this corpus (results then never compare with another corpus' numbers)")
    parser.add_argument("--root", type=Path, help="folder of the corpus (default: $SER_CORPORA/NAME or corpora/NAME)")
    parser.add_argument("--results", type=Path, default=default_folder("SER_RESULTS", "results"), help="results folder")
    parser.add_argument("--cache", type=Path, default=default_folder("SER_CACHE", "cache"), help="feature cache")
    parser.add_argument(
        "--scaled", action="store_true", help="small network, few epochs, one run a fold: fits a laptop"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change a config field, or protocol.FIELD of the protocol",
    )
    parser.add_argument("--folds", metavar="N|NAMES", help="only the first N folds, or these (comma-separated)")
    parser.add_argument("--repeats", type=positive, help="runs a fold (default: as the paper)")
    parser.add_argument("--partial", action="store_true", help="go on if the corpus is not complete; results say so")
    parser.add_argument("--skip-bad-audio", action="store_true", help="go on without unusable audio; results say so")
    parser.add_argument("--deterministic", action="store_true", help="same seed, same bytes; slower")
    parser.add_argument("--keep-models", action="store_true", help="keep fitted models for `ser predict`")
    parser.add_argument("--no-yardstick", action="store_true", help="without eGeMAPS + SVM on the same folds")
    parser.add_argument(
        "--auxiliary",
        metavar="CORPUS[/SUBSET]",
        help="learn from this corpus besides, without its emotions, or 'none' (default: as the experiment)",
    )
    parser.add_argument("--jobs", type=positive, help="processes for feature extraction (default: one a core)")

    where = parser.add_argument_group("where trials run")
    where.add_argument(
        "--executor",
        choices=EXECUTORS,
        default=default_executor(),
        help="local: processes of this machine; ray: a cluster; here: this one process, for a debugger",
    )
    where.add_argument(
        "--address", help="of the Ray cluster, for example auto (default: $RAY_ADDRESS, or one of this machine)"
    )
    where.add_argument("--workers", type=positive, help="trials at once (default: as cores, memory and GPUs allow)")
    where.add_argument(
        "--gpus-per-trial", type=amount, metavar="N", help="also a fraction (default: 1, if there is any)"
    )
    where.add_argument("--cpus-per-trial", type=positive, metavar="N", help="default: the cores, shared out")


def default_executor() -> str:
    """Where trials run if nothing is said."""
    return os.environ.get("SER_EXECUTOR", "local")


def amount(text: str) -> float:
    """An argument that must be a number of GPUs: a whole one, or a fraction below one."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if value < 0 or (value > 1 and value != int(value)):
        raise argparse.ArgumentTypeError(f"'{text}' is neither a whole number nor a fraction below 1")
    return value


def positive(text: str) -> int:
    """An argument that must be a whole number from 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1")
    return int(text)


def default_folder(variable: str, name: str) -> Path:
    """A folder from the environment, or below the working folder."""
    return Path(os.environ.get(variable, name))


def options_from(arguments: argparse.Namespace) -> Options:
    """Options as typed."""
    return Options(
        corpus=arguments.corpus,
        root=arguments.root,
        results=arguments.results,
        cache=arguments.cache,
        scaled=arguments.scaled,
        changes=changes_from(arguments.set),
        folds=arguments.folds,
        repeats=arguments.repeats,
        partial=arguments.partial,
        skip_bad_audio=arguments.skip_bad_audio,
        deterministic=arguments.deterministic,
        keep_models=arguments.keep_models,
        yardstick=not arguments.no_yardstick,
        jobs=arguments.jobs,
        auxiliary=arguments.auxiliary,
        executor=executor_from(arguments),
        address=arguments.address,
        workers=arguments.workers,
        gpus_per_trial=arguments.gpus_per_trial,
        cpus_per_trial=arguments.cpus_per_trial,
    )


def executor_from(arguments: argparse.Namespace) -> str:
    """Where trials run.

    Raises:
        UserError: SER_EXECUTOR names none, or an option does not go with it.
    """
    executor = arguments.executor
    if executor not in EXECUTORS:
        raise UserError(f"SER_EXECUTOR is '{executor}'; it is one of {', '.join(EXECUTORS)}.")
    if arguments.address and executor != "ray":
        raise UserError("--address is of a Ray cluster; add --executor ray.")
    return executor


def changes_from(settings: Iterable[str]) -> dict[str, str]:
    """`--set` arguments as a mapping.

    Raises:
        UserError: one that is not NAME=VALUE.
    """
    changes = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise UserError(f"--set {setting}: write it as NAME=VALUE, for example --set epochs=5.")
        changes[name.strip()] = value.strip()
    return changes
