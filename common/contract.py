"""The contract between a paper and the application that runs it.

A paper hands over a `Paper`: its experiments, its reported cells, and the names of three functions ("module:function";
a function is imported only when it is needed, so that listing experiments does not start TensorFlow):

- ``features(config) -> {name: extractor}``: the features that its data need;
- ``fit(config, train, validation, context) -> Fitted``: trains; it never receives test data;
- ``load(folder) -> Fitted``: reads what `Fitted.save` wrote.

The application hands data to these functions as a `Part`, and everything else as a `Context`.
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

from common.errors import UserError, look_up, unknown
from common.targets import EMOTION, Target

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from common.artefacts import Artefacts
    from common.features.store import Features


def setting(default: Any, source: str) -> Any:
    """Declares a config field together with its source.

    Args:
        default: the value.
        source: section, equation or table of the paper, or "not given: ..." with the alternatives.
    """
    return field(default=default, metadata={"source": source})


def override(config: Any, changes: Mapping[str, Any]) -> Any:
    """Returns a config with some fields changed.

    Args:
        config: frozen dataclass.
        changes: values by field name; strings are converted to the field's type.

    Raises:
        UserError: There is no such field, or the field cannot hold the value.
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
    # `Literal[...] | None` and `Optional[...]` have the origin typing.Union, `int | None` has types.UnionType.
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
    """One row of a paper's table: a corpus, a protocol and a config, to be run over folds and seeds.

    Attributes:
        id: "paper/table/corpus/row", by which users and reported cells name it.
        title: the row in words.
        corpus: name of the corpus.
        subset: name of its subset.
        protocol: cuts the folds (see `common.splits`).
        config: an instance of the paper's config dataclass.
        repeats: runs per fold, each with its own seed.
        target: what is predicted (see `common.targets`).
        auxiliary: "corpus/subset" of auxiliary data, which are used without their emotion labels; empty: none.
        within: id of an experiment whose fits also train this one, and the name of its predictions there
            (`Further.name`); None: it is only trained by itself. Whole tables are then performed without trials of its
            own.
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
    within: tuple[str, str] | None = None

    @property
    def table(self) -> str:
        """The table or figure in its id, for example "1" or "fig4"."""
        return self.id.split("/")[1].removeprefix("table")


@dataclass(frozen=True)
class Figure:
    """A figure of a paper, drawn from finished trials.

    Attributes:
        id: its number in the paper, for example "4".
        title: what it shows.
        draw: "module:function" (see `Paper.function`). ``draw(runs, comparisons)`` takes the runs by experiment id
            (`common.results.RunResults`) and one comparison for each of the paper's cells, measured or not
            (`common.results.Comparison`). It returns a matplotlib figure, or None if no run has anything to show.
    """

    id: str
    title: str
    draw: str


@dataclass(frozen=True)
class Pretraining:
    """A network that is trained once, on request, and then used by many experiments.

    Attributes:
        name: short name.
        title: what it is, in a few words.
        field: config field that chooses it: "newest" for the matching artefact that was made last, a digest for a
            certain artefact, "none" (or other values of the paper) for none. In a run, "newest" is replaced by the
            digest, or by "random" if there is none and the user allows random weights.
        corpus: name of the corpus that it is trained on.
        subset: name of the corpus's subset.
        make: "module:function"; ``make(config, part, folder, context) -> record`` trains on the part (with labels and
            paths) and writes files into the folder.
        features: "module:function"; ``features(config) -> {name: extractor}`` gives the features that the part needs.
        matching: config fields that must be equal in artefact and experiment.
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
class PretrainedWeights:
    """Pretrained weights or word vectors that a config asks for.

    Attributes:
        title: what they are, for example "BERT" or "ImageNet weights of DenseNet169".
        path: their file or folder on this machine; None: they are not here.
        source: name by which `ser fetch` downloads them; empty: it cannot.
        preset: name of a preset that keras-hub downloads itself; it then stands for path and checksum.
        random: the config asks for random weights, which every result must state; path and source do not matter.
        fallback: config fields to change to go on without these weights.
    """

    title: str
    path: Path | None = None
    source: str = ""
    preset: str = ""
    random: bool = False
    fallback: Mapping[str, Any] = field(default_factory=dict)

    @property
    def missing(self) -> bool:
        """True if they are asked for and not here."""
        return not (self.random or self.preset or self.path)


def without_effect(config: Any, protocol: Any = None) -> frozenset[str]:
    """Names of the fields that change nothing under the other settings, for example gamma under softmax.

    Args:
        config: the config; its property `without_effect` names such fields, and its attribute `needs_validation` those
            that act through the validation part.
        protocol: the protocol; without a validation part, the fields of `needs_validation` change nothing.
    """
    idle = frozenset(getattr(config, "without_effect", ()))
    if getattr(protocol, "validation", None) == "none":
        idle |= frozenset(getattr(config, "needs_validation", ()))
    return idle


@dataclass(frozen=True)
class Paper:
    """A rebuilt paper.

    Attributes:
        package: its Python package, `__package__`; names of functions are relative to it.
        title: title of the publication.
        reference: authors, year, venue.
        experiments: all experiments.
        scaled: config fields to change for a scaled run, which a laptop can do.
        scaled_repeats: runs per fold of a scaled run.
        features: "module:function", see the module's docstring.
        auxiliary: "module:function"; ``auxiliary(config, table) -> table`` chooses the auxiliary utterances that a
            config needs, before any features are extracted; it may choose none. Empty: all.
        auxiliary_features: "module:function", the same as `features` for auxiliary utterances. Empty: they have the
            same extractors.
        fit: "module:function", see the module's docstring.
        load: "module:function", see the module's docstring.
        pretrained: "module:function"; ``pretrained(config) -> [PretrainedWeights]`` lists the weights and word vectors
            that a config asks for. Empty: there are none.
        cost: "module:function"; ``work(config, speech) -> [Work]`` counts, without TensorFlow, the steps of a fit for
            `ser list --cost` (see `common.costs`). A paper with pretrainings also accepts the name of one as the third
            argument; `speech` is then its whole subset. Empty: not known.
        demo: the tables to run as a demonstration, on the embedded corpus.
        demo_changes: further config fields to change for the demonstration, so that it takes minutes.
        figures: the figures that a report draws.
        pretrainings: the networks that can be pretrained.
    """

    package: str
    title: str
    reference: str
    experiments: tuple[Experiment, ...]
    scaled: Mapping[str, Any]
    scaled_repeats: int = 1
    features: str = "data:features"
    auxiliary: str = ""
    auxiliary_features: str = ""
    fit: str = "train:fit"
    load: str = "train:load"
    pretrained: str = ""
    cost: str = ""
    demo: tuple[str, ...] = ()
    demo_changes: Mapping[str, Any] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    pretrainings: tuple[Pretraining, ...] = ()

    @property
    def name(self) -> str:
        """The last part of the package's name, with which the ids of its experiments begin."""
        return self.package.rsplit(".", 1)[-1]

    @property
    def folder(self) -> Path:
        """Folder of the paper's package."""
        return Path(importlib.import_module(self.package).__file__).parent

    @property
    def reported(self) -> Path:
        """File of the paper's reported cells."""
        return self.folder / "reported.csv"

    def experiment(self, name: str) -> Experiment:
        """Returns the experiment with that id.

        Raises:
            UserError: There is no such experiment; offers the nearest names.
        """
        return look_up("experiment", name, {experiment.id: experiment for experiment in self.experiments})

    def pretraining(self, name: str) -> Pretraining:
        """Returns the pretraining with that name.

        Raises:
            UserError: There is no such pretraining; offers the nearest names.
        """
        return look_up(f"pretraining of {self.name}", name, {one.name: one for one in self.pretrainings})

    def function(self, name: str) -> Callable:
        """Imports the function that "module:function" names, relative to the paper's package.

        ":function" is a function of the package itself.
        """
        module, function = name.split(":")
        return getattr(importlib.import_module(f"{self.package}.{module}".rstrip(".")), function)


@dataclass(frozen=True)
class Part:
    """Utterances with their features: what a paper trains on, validates on and predicts for.

    Attributes:
        table: utterance table, one row per utterance. In a part to predict for, the labels are missing.
        features: the features that the paper's `features(config)` asked for, by name.
        classes: class names in the order of their numbers; empty for a regression.
        flags: what every result on these data must state ("bad audio skipped: 2 of 535 utterances").
        dimensions: of a regression, columns of the table; empty for a classification.
        labeller: function from a labelled table to class numbers; None: emotions, numbered as in `classes`.
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
            ValueError: An utterance's label is not one of the classes, or hidden (see `without_labels`).
        """
        return (self.labeller or EMOTION.labeller(self.table, self.classes))(self.table)

    @property
    def values(self) -> np.ndarray:
        """Ratings on the corpus's own scale, float32, shape (utterances, dimensions).

        Raises:
            ValueError: A rating is missing, or hidden (see `without_labels`).
        """
        values = self.table[list(self.dimensions)].to_numpy("float32")
        if values.size and not (values == values).all():
            raise ValueError("Some utterances have no rating, or their ratings are hidden.")
        return values

    def each(self, feature: str) -> Iterator[np.ndarray]:
        """Yields one feature of every utterance, in order; each is read from the cache when it is asked for."""
        stored = self.features[feature]
        return (stored[utterance] for utterance in self.table["utterance"])

    @property
    def fingerprint(self) -> str:
        """A short hash of the utterances, their labels and their order (see `common.corpus.fingerprint`)."""
        from common.corpus import fingerprint

        return fingerprint(self.table)

    def take(self, utterances: tuple[str, ...]) -> Part:
        """Returns the part with these utterances, in this order."""
        rows = self.table.set_index("utterance", drop=False).loc[list(utterances)].reset_index(drop=True)
        return dataclasses.replace(self, table=rows)

    def without_labels(self) -> Part:
        """Returns the part as a model may see it when it predicts: without labels and paths.

        Paths are removed because file names contain the emotion in many corpora. Ids stay, since features are found
        by them.
        """
        hidden = {column: float("nan") for column in ("valence", "arousal", "dominance")}
        return dataclasses.replace(self, table=self.table.assign(emotion=None, path=None, **hidden))


@dataclass
class Context:
    """What a fit receives from the application besides data, and what it reports back.

    Attributes:
        seed: the trial's seed; Python, NumPy and Keras are already seeded with it.
        on_epoch: called with (epoch, epochs, logs) after each epoch; epochs are counted from 1.
        seconds: reported: time spent, by name; "fit" and "predict" are the time inside Keras.
        history: reported: values over epochs, by name.
        flags: reported: what every result of this trial must state.
        auxiliary: utterances of another corpus to train on, without their emotion labels; None: none.
        artefacts: where artefacts are kept; None: they are not kept after the fit.
        scratch: folder of the trial for large files. A trial that is continued after a kill finds them again; they are
            removed when the trial is complete. None: there is none.
    """

    seed: int = 0
    on_epoch: Callable[[int, int, Mapping[str, float]], None] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    history: dict[str, list[float]] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)
    auxiliary: Part | None = None
    artefacts: Artefacts | None = None
    scratch: Path | None = None

    def for_training(self, number: int, count: int) -> Context:
        """Returns the context of one of several trainings within a fit.

        It shares seed, timings and progress with this context, but has its own history and flags.

        Args:
            number: number of the training, from 0.
            count: how many trainings there are; progress counts the epochs of all of them.
        """
        report = self.on_epoch
        shifted = report and (lambda epoch, epochs, logs: report(number * epochs + epoch, count * epochs, logs))
        return dataclasses.replace(self, on_epoch=shifted, history={}, flags=[])

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the time spent in the `with` block to `seconds[name]`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


@dataclass(frozen=True)
class Further:
    """Predictions of another network that the same fit trained, for an experiment declared `within` this one.

    Attributes:
        name: by which `Experiment.within` finds them.
        columns: as `Fitted.predict` returns them.
        flags: what every result of them must state, in place of the context's flags.
    """

    name: str
    columns: Mapping[str, np.ndarray]
    flags: tuple[str, ...] = ()


class Fitted(typing.Protocol):
    """A fitted model.

    It may also have ``activations(part) -> dict[str, np.ndarray]``: arrays with one row per utterance that a figure
    needs. Those of the test part are kept with the predictions. And ``further(part) -> Iterator[Further]``: what other
    networks of the same fit predict; those for the test part are kept as further predictions of the same trial.
    """

    def predict(self, part: Part) -> dict[str, np.ndarray]:
        """Returns columns of predictions, each with one value per utterance.

        A classification gives the probability of each class as "p_<class>", a regression each dimension as
        "predicted_<dimension>", on the corpus's own scale.
        """

    def save(self, folder: Path) -> None:
        """Writes everything that `load` needs into an existing, empty folder."""
