"""What a paper hands to the harness, and what the harness hands to a paper.

A paper is a `Paper`: its experiments, its reported cells, and three functions by name ("module:function", imported when
needed so that `ser list` never waits for TensorFlow):

- ``features(config) -> {name: extractor}``: what a part must carry;
- ``fit(config, train, validation, context) -> Fitted``: sees no test data;
- ``load(folder) -> Fitted``: what `Fitted.save` wrote.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import time
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError, unknown
from common.targets import EMOTION, Target

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from common.artefacts import Artefacts
    from common.features.store import Features


def setting(default: Any, source: str) -> Any:
    """A config field with its provenance.

    Args:
        default: the value.
        source: section, equation or table of the paper; or "not given: ..." with the alternatives.
    """
    return field(default=default, metadata={"source": source})


def override(config: Any, changes: Mapping[str, Any]) -> Any:
    """A config with some fields changed; strings, as typed on a command line, are read as the field's type.

    Args:
        config: frozen dataclass.
        changes: values by field name.

    Raises:
        UserError: no such field, or a value that the field cannot hold.
    """
    hints = typing.get_type_hints(type(config))
    values = {}
    for name, value in changes.items():
        if name not in hints:
            raise unknown(f"config field of {type(config).__name__}", name, hints)
        values[name] = _converted(name, value, hints[name])
    return dataclasses.replace(config, **values)


def _converted(name: str, value: Any, hint: Any) -> Any:
    if not isinstance(value, str):
        return value
    options = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        if value not in options:
            raise UserError(f"{name} cannot be '{value}'; it is one of {', '.join(map(str, options))}.")
        return value
    # `Literal[...] | None` and `Optional[...]` are typing's own unions, `int | None` is Python's.
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        if value.lower() == "none" and type(None) in options:
            return None
        return _converted(name, value, next(option for option in options if option is not type(None)))
    if hint is bool:
        if value.lower() not in ("true", "false"):
            raise UserError(f"{name} cannot be '{value}'; it is true or false.")
        return value.lower() == "true"
    try:
        return hint(value)
    except ValueError:
        raise UserError(f"{name} cannot be '{value}'; it needs a value of type {hint.__name__}.") from None


@dataclass(frozen=True)
class Experiment:
    """One row of a table: a corpus, a protocol and a config, repeated over folds and seeds.

    Attributes:
        id: "paper/table/corpus/row", what `ser run` takes and reported cells name.
        title: the row as a person reads it.
        corpus: name of the corpus.
        subset: name of its subset.
        protocol: cuts the folds (see `common.splits`).
        config: the paper's config dataclass.
        repeats: runs a fold, each with a seed of its own.
        target: what is predicted (see `common.targets`).
        auxiliary: "corpus/subset" whose utterances a fit may learn from besides, without their emotions; empty: none.
    """

    id: str
    title: str
    corpus: str
    subset: str
    protocol: Any
    config: Any
    repeats: int
    target: Target = EMOTION
    auxiliary: str = ""

    @property
    def table(self) -> str:
        """The table or figure the experiment belongs to first, for example "1" or "fig4"."""
        return self.id.split("/")[1].removeprefix("table")


@dataclass(frozen=True)
class Figure:
    """A figure of a paper, drawn from trials.

    Attributes:
        id: as the paper numbers it, for example "4".
        title: what it shows.
        draw: "module:function" (see `Paper.function`); ``draw(runs, comparisons)`` takes the runs by experiment
            (`common.results.RunResults`) and one comparison for each of the paper's cells, measured or not
            (`common.results.Comparison`). It returns a matplotlib figure, or None if nothing was run that it shows.
    """

    id: str
    title: str
    draw: str


@dataclass(frozen=True)
class Pretraining:
    """A network that is trained once, by `ser pretrain PAPER NAME`, and then used by many experiments.

    Attributes:
        name: short name.
        title: what it is, in a few words.
        field: config field that asks for it: "newest" for the last one made that fits, an artefact's digest for that
            one, "none" (or the paper's other values) for none. A run whose field is "newest" carries the digest.
        corpus: learnt from.
        subset: of the corpus.
        make: "module:function"; ``make(config, part, folder, context) -> record`` trains on the part (with labels and
            paths) and writes files into the folder.
        features: "module:function", what the part must carry: ``features(config) -> {name: extractor}``.
        matching: config fields in which artefact and experiment must agree.
    """

    name: str
    title: str
    field: str
    corpus: str
    subset: str
    make: str
    features: str
    matching: tuple[str, ...] = ()


@dataclass(frozen=True)
class Paper:
    """A rebuilt paper.

    Attributes:
        package: the package it lives in, `__package__`; names of functions are relative to it.
        title: of the publication.
        reference: authors, year, venue.
        experiments: all experiments.
        features: "module:function", see the module's docstring.
        fit: "module:function".
        load: "module:function".
        scaled: config fields as a run with --scaled has them, to run on a laptop.
        scaled_repeats: runs a fold with --scaled.
        resolve: "module:function" that turns a config into what can be had here (for example random weights where
            a checkpoint is missing) and says so: ``resolve(config) -> (config, flags)``. Empty: nothing to resolve.
        cost: "module:function" that counts the work of a fit for `ser list --cost`, without TensorFlow:
            ``work(config, speech) -> list of common.costs.Work``. A paper with pretrainings also accepts the name of
            one as the third argument; `speech` is then its whole subset. Empty: not known.
        demo: what `reproduce --demo` runs on the embedded corpus: the tables.
        demo_changes: config fields that `reproduce --demo` changes besides, so that all papers take minutes.
        figures: what `ser report` draws.
        pretrainings: what `ser pretrain` makes.
    """

    package: str
    title: str
    reference: str
    experiments: tuple[Experiment, ...]
    scaled: Mapping[str, Any]
    scaled_repeats: int = 1
    features: str = "data:features"
    fit: str = "train:fit"
    load: str = "train:load"
    resolve: str = ""
    cost: str = ""
    demo: tuple[str, ...] = ()
    demo_changes: Mapping[str, Any] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    pretrainings: tuple[Pretraining, ...] = ()

    @property
    def name(self) -> str:
        """The last part of the package's name, which experiments' ids begin with."""
        return self.package.rsplit(".", 1)[-1]

    @property
    def folder(self) -> Path:
        """The paper's package folder."""
        return Path(importlib.import_module(self.package).__file__).parent

    @property
    def reported(self) -> Path:
        """The paper's reported cells."""
        return self.folder / "reported.csv"

    def experiment(self, name: str) -> Experiment:
        """The experiment of that id.

        Raises:
            UserError: there is none; offers the nearest.
        """
        for experiment in self.experiments:
            if experiment.id == name:
                return experiment
        raise unknown("experiment", name, [experiment.id for experiment in self.experiments])

    def pretraining(self, name: str) -> Pretraining:
        """The pretraining of that name.

        Raises:
            UserError: there is none; names what there is.
        """
        for pretraining in self.pretrainings:
            if pretraining.name == name:
                return pretraining
        raise unknown(f"pretraining of {self.name}", name, [pretraining.name for pretraining in self.pretrainings])

    def function(self, name: str) -> Callable:
        """The function that "module:function" names, relative to the paper's package (":function": the package itself).

        Its module is imported only now, so that naming a function never costs TensorFlow's start.
        """
        module, function = name.split(":")
        return getattr(importlib.import_module(f"{self.package}.{module}".rstrip(".")), function)


@dataclass(frozen=True)
class Part:
    """Utterances with their features: what a paper fits on, validates on and predicts for.

    Attributes:
        table: utterance table, one row an utterance. For a part that is to be predicted, the labels are missing.
        features: by name, as the paper's `features(config)` asked for.
        classes: what is told apart, in the order that numbers it; empty for a regression.
        flags: what every result on these data must carry ("bad audio skipped: 2 of 535 utterances").
        dimensions: of a regression, columns of the table; empty for a classification.
        labeller: numbers the classes of a labelled table; None: the emotions among `classes`.
    """

    table: pd.DataFrame
    features: Mapping[str, Features]
    classes: tuple[str, ...]
    flags: tuple[str, ...] = ()
    dimensions: tuple[str, ...] = ()
    labeller: Callable[[pd.DataFrame], np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.table)

    @property
    def labels(self) -> np.ndarray:
        """Class numbers, int64, shape (utterances,).

        Raises:
            ValueError: an utterance's label is none of the classes, or hidden (see `without_labels`).
        """
        return (self.labeller or EMOTION.labeller(self.table, self.classes))(self.table)

    @property
    def values(self) -> np.ndarray:
        """Ratings of a regression, on the corpus' own scale, float32, shape (utterances, dimensions).

        Raises:
            ValueError: a rating is missing, or hidden (see `without_labels`).
        """
        values = self.table[list(self.dimensions)].to_numpy("float32")
        if values.size and not (values == values).all():
            raise ValueError("Some utterances have no rating; a part to be predicted has none at all.")
        return values

    def each(self, feature: str) -> Iterator[np.ndarray]:
        """One kind of features of every utterance, in order; read from the cache one by one."""
        source = self.features[feature]
        return (source[utterance] for utterance in self.table["utterance"])

    @property
    def fingerprint(self) -> str:
        """A short hash of the utterances, their labels and their order (see `common.corpus.fingerprint`)."""
        from common.corpus import fingerprint

        return fingerprint(self.table)

    def take(self, utterances: tuple[str, ...]) -> Part:
        """The part with these utterances, in this order."""
        rows = self.table.set_index("utterance", drop=False).loc[list(utterances)].reset_index(drop=True)
        return dataclasses.replace(self, table=rows)

    def without_labels(self) -> Part:
        """The same part as a model may see it when it predicts.

        Paths go too: file names tell the emotion in many corpora. Ids stay, since features are found by them.
        """
        hidden = {column: float("nan") for column in ("valence", "arousal", "dominance")}
        return dataclasses.replace(self, table=self.table.assign(emotion=None, path=None, **hidden))


@dataclass
class Context:
    """What the harness gives a fit besides data, and what a fit leaves there.

    Attributes:
        seed: already set for Python, NumPy and Keras; here for anything else that draws.
        on_epoch: called with (epoch, epochs, logs) after each epoch.
        seconds: time spent by name; "fit" and "predict" are Keras' own work.
        history: one list a quantity, over epochs.
        flags: what every result of this trial must carry.
        auxiliary: utterances of another corpus to learn from, without their emotions; None if there are none.
        artefacts: where products of stages are kept; None: nowhere, so they are made in a folder of the fit's own.
    """

    seed: int = 0
    on_epoch: Callable[[int, int, Mapping[str, float]], None] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    history: dict[str, list[float]] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)
    auxiliary: Part | None = None
    artefacts: Artefacts | None = None

    def for_training(self, number: int, count: int) -> Context:
        """The context of one of several trainings of a fit: same seed, timings and progress, own history and flags.

        Args:
            number: of the training, from 0.
            count: how many trainings there are; progress counts the epochs of all of them.
        """
        report = self.on_epoch
        shifted = report and (lambda epoch, epochs, logs: report(number * epochs + epoch, count * epochs, logs))
        return dataclasses.replace(self, on_epoch=shifted, history={}, flags=[])

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the time spent inside to `seconds[name]`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


class Fitted(typing.Protocol):
    """A fitted model.

    It may also have ``activations(part) -> dict[str, np.ndarray]``, arrays with one row an utterance that a figure
    needs; what it returns for the test part is kept beside the predictions.
    """

    def predict(self, part: Part) -> dict[str, np.ndarray]:
        """Columns of predictions, each with one value an utterance.

        A classification gives a probability "p_<class>" for each class, a regression "predicted_<dimension>" for each
        dimension, on the corpus' own scale.
        """

    def save(self, folder: Path) -> None:
        """Writes everything that `load` needs into an existing, empty folder."""


__all__ = [
    "Context",
    "Experiment",
    "Figure",
    "Fitted",
    "Paper",
    "Part",
    "Pretraining",
    "override",
    "setting",
]
