"""The choices that a user has for a run, on the command line and from Python."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import UserError, unknown

EXECUTORS = ("local", "ray", "here")


def default_folder(variable: str, name: str) -> Path:
    """A folder named by an environment variable, or one of that name in the working folder."""
    return Path(os.environ.get(variable, name))


def default_executor() -> str:
    """Where trials run unless the user says otherwise."""
    return os.environ.get("SER_EXECUTOR", "local")


@dataclass(frozen=True)
class Options:
    """What a user may choose for a run, besides the experiment.

    Attributes:
        corpus: run on this corpus instead of the experiment's own; for a pretraining also "corpus/subset".
        data: a table of the user's own recordings, instead of a corpus (see `data_prep.recordings`).
        column: the table's own names of its columns, by the names used here: {"emotion": "label"}.
        merge: labels of the table that count as another one: {"excited": "happy"}.
        drop: labels of the table whose utterances are left out.
        root: folder of the corpus; None: found by `data_prep.find_root`.
        results: results folder; the default is SER_RESULTS, or "results" in the working folder.
        cache: feature cache; the default is SER_CACHE, or "cache" in the working folder.
        scaled: use the paper's scaled settings: a small network, few epochs, one run per fold.
        settings: config fields to change, by name; "protocol.NAME" changes a field of the protocol.
        folds: how many folds ("2"), or names of folds ("speaker-03,speaker-08"); None: all.
        repeats: runs per fold; None: as the experiment declares (or as the paper's scaled runs do).
        partial: continue if the corpus's counts differ; results say so.
        skip_bad_audio: continue without audio that cannot be used; results say so.
        allow_random_weights: continue with random weights where pretrained ones are not here; results say so. `scaled`
            implies it.
        redo: do trials again that other versions of the suite or its libraries made.
        deterministic: same seed, same bytes.
        keep_models: keep fitted models for `ser predict` and `ser.load_model`.
        yardstick: also evaluate eGeMAPS + SVM on the same folds.
        auxiliary: "corpus[/subset]" of the auxiliary data, or "none"; None: as the experiment declares.
        jobs: processes for feature extraction; None: one per core.
        executor: where trials run: "local" (processes of this machine), "ray" (a cluster) or "here" (this process).
        address: of the Ray cluster; None: RAY_ADDRESS, or a new one on this machine.
        workers: trials that run at the same time; None: as many as cores, memory and GPUs allow.
        gpus_per_trial: GPUs per trial, also a fraction; None: one if there is any.
        cpus_per_trial: cores per trial; None: the cores are divided among the workers.
    """

    corpus: str | None = None
    data: Path | None = None
    column: Mapping[str, str] = field(default_factory=dict)
    merge: Mapping[str, str] = field(default_factory=dict)
    drop: Sequence[str] = ()
    root: Path | None = None
    results: Path = field(default_factory=lambda: default_folder("SER_RESULTS", "results"))
    cache: Path = field(default_factory=lambda: default_folder("SER_CACHE", "cache"))
    scaled: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    folds: str | None = None
    repeats: int | None = None
    partial: bool = False
    skip_bad_audio: bool = False
    allow_random_weights: bool = False
    redo: bool = False
    deterministic: bool = False
    keep_models: bool = False
    yardstick: bool = True
    jobs: int | None = None
    auxiliary: str | None = None
    executor: str = field(default_factory=default_executor)
    address: str | None = None
    workers: int | None = None
    gpus_per_trial: float | None = None
    cpus_per_trial: int | None = None

    def __post_init__(self):
        if self.executor not in EXECUTORS:
            raise UserError(f"The executor (SER_EXECUTOR) is '{self.executor}'; it is one of {', '.join(EXECUTORS)}.")
        if self.address and self.executor != "ray":
            raise UserError("--address is the address of a Ray cluster; add --executor ray.")
        if self.data is not None and self.root is not None:
            raise UserError("--root is a corpus's folder; the paths in the table of --data are relative to the table.")
        if self.data is None and (self.column or self.merge or self.drop):
            raise UserError("--column, --merge and --drop say how to read a table; add --data TABLE.")

    def with_table_opened(self) -> Options:
        """The same options, with the table of recordings as the corpus.

        Raises:
            UserError: The table cannot be read, or a corpus was chosen as well.
        """
        if self.data is None:
            return self
        from data_prep.recordings import TableOptions, open_table

        name = open_table(self.data, TableOptions(self.column, self.merge, tuple(self.drop)))
        if self.corpus not in (None, name):
            raise UserError(f"--data and --corpus {self.corpus} exclude each other.")
        return dataclasses.replace(self, corpus=name)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `ser run` and `ser reproduce`; each is stored under the name of a field of `Options`."""
    add = parser.add_argument
    add("--corpus", help="run on this corpus (results are then never compared with another corpus's numbers)")
    add("--data", type=Path, metavar="TABLE", help="run on your own recordings: .csv, .tsv, .parquet, or a folder")
    add_table_options(parser)
    add("--root", type=Path, help="folder of the corpus (default: $SER_CORPORA/NAME or corpora/NAME)")
    add("--results", type=Path, default=default_folder("SER_RESULTS", "results"), help="results folder")
    add("--cache", type=Path, default=default_folder("SER_CACHE", "cache"), help="feature cache")
    add("--scaled", action="store_true", help="small network, few epochs, one run per fold: fits a laptop")
    add(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change a config field, or protocol.FIELD of the protocol",
    )
    add("--folds", metavar="N|NAMES", help="only the first N folds, or the named ones (comma-separated)")
    add("--repeats", type=positive, help="runs per fold (default: as the paper)")
    add("--partial", action="store_true", help="continue if the corpus is not complete; results say so")
    add("--skip-bad-audio", action="store_true", help="continue without unusable audio; results say so")
    add(
        "--allow-random-weights",
        action="store_true",
        help="continue without pretrained weights that are not here; results say so (--scaled implies it)",
    )
    add("--redo", action="store_true", help="do trials again that other versions of the suite or its libraries made")
    add("--deterministic", action="store_true", help="same seed, same bytes; slower")
    add("--keep-models", action="store_true", help="keep fitted models for `ser predict`")
    add("--no-yardstick", dest="yardstick", action="store_false", help="without eGeMAPS + SVM on the same folds")
    add(
        "--auxiliary",
        metavar="CORPUS[/SUBSET]",
        help="also train on this corpus, without its emotion labels, or 'none' (default: as the experiment)",
    )
    add("--jobs", type=positive, help="processes for feature extraction (default: one per core)")

    add = parser.add_argument_group("where trials run").add_argument
    add(
        "--executor",
        choices=EXECUTORS,
        default=default_executor(),
        help="local: processes of this machine; ray: a cluster; here: only this process, for a debugger",
    )
    add("--address", help="address of the Ray cluster, for example auto (default: $RAY_ADDRESS, or a new one here)")
    add("--workers", type=positive, help="trials at the same time (default: as many as cores, memory and GPUs allow)")
    add(
        "--gpus-per-trial",
        type=gpu_amount,
        metavar="N",
        help="GPUs per trial, or a fraction (default: 1 if there is any)",
    )
    add("--cpus-per-trial", type=positive, metavar="N", help="cores per trial (default: divided among the workers)")


def add_table_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say how to read a table of recordings: --column, --merge and --drop."""
    add = parser.add_argument
    repeated = {"action": "append", "default": []}
    add("--column", **repeated, metavar="NAME=OWN", help="the table's own name of a column, as in emotion=label")
    add("--merge", **repeated, metavar="LABEL=OTHER", help="count a label as another one, as in excited=happy")
    add("--drop", **repeated, metavar="LABEL", help="leave out the utterances of a label")


def gpu_amount(text: str) -> float:
    """An argument that must be a number of GPUs: a whole number, or a fraction below one."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if value < 0 or (value > 1 and value != int(value)):
        raise argparse.ArgumentTypeError(f"'{text}' is neither a whole number nor a fraction below 1")
    return value


def seconds(text: str) -> float:
    """An argument that must be a length of time of at least a tenth of a second."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds from 0.1")
    return value


def positive(text: str) -> int:
    """An argument that must be a whole number from 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1")
    return int(text)


def options_from(arguments: argparse.Namespace) -> Options:
    """Options as typed on the command line."""
    typed = {item.name: getattr(arguments, item.name) for item in dataclasses.fields(Options)}
    pairs = {name: pairs_from(f"--{name}", typed[name]) for name in ("column", "merge")}
    return Options(**{**typed, **pairs, "settings": settings_from(arguments.settings)})


def options_from_keywords(keywords: Mapping[str, Any]) -> Options:
    """Options as given to a function of `ser`: paths may be strings, folds also a number or a list of names.

    Raises:
        UserError: There is no such option; offers the nearest names.
    """
    known = [item.name for item in dataclasses.fields(Options)]
    given = dict(keywords)
    for name in given:
        if name not in known:
            raise unknown("option", name, known)
    for name in ("data", "root", "results", "cache"):
        if given.get(name) is not None:
            given[name] = Path(given[name])
    folds = given.get("folds")
    if folds is not None and not isinstance(folds, str):
        given["folds"] = str(folds) if isinstance(folds, int) else ",".join(folds)
    return Options(**given)


def settings_from(texts: Iterable[str]) -> dict[str, str]:
    """`--set` arguments as a mapping from field to value.

    Raises:
        UserError: An argument is not NAME=VALUE.
    """
    return pairs_from("--set", texts, ", for example --set epochs=5")


def pairs_from(option: str, texts: Iterable[str], example: str = "") -> dict[str, str]:
    """Arguments of the form NAME=VALUE as a mapping.

    Raises:
        UserError: An argument is not NAME=VALUE.
    """
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UserError(f"{option} {text}: write it as NAME=VALUE{example}.")
        pairs[name.strip()] = value.strip()
    return pairs
