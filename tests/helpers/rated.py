"""A paper that learns what mtap does not: ratings, classes made of them, with auxiliary data, activations, a figure."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import ClassVar

import numpy as np

from common.contract import Experiment, Figure, Paper, Pretraining
from common.splits import FixedTestSession
from common.targets import Dimensions

LAST = {}
"""What the last fit was given."""


@dataclasses.dataclass(frozen=True)
class Config:
    shift: float = 0.0
    start: str = "none"


@dataclasses.dataclass(frozen=True)
class Loudness:
    name: ClassVar[str] = "loudness"
    version: ClassVar[int] = 1

    sample_rate: int = 16000

    def __call__(self, signal):
        return np.array([np.log(np.square(signal).mean() + 1e-9)], np.float32)


@dataclasses.dataclass(frozen=True)
class Halves:
    """Above or below the median arousal of the training part."""

    name: ClassVar[str] = "arousal in halves"
    needs: ClassVar[tuple[str, ...]] = ("arousal",)
    classes: ClassVar[tuple[str, ...]] = ("low", "high")
    dimensions: ClassVar[tuple[str, ...]] = ()

    def labeller(self, train, classes):
        assert classes == self.classes
        median = float(train["arousal"].median())
        return lambda table: (table["arousal"] > median).to_numpy("int64")


class Fitted:
    def __init__(self, weights, classes, dimensions):
        self.weights, self.classes, self.dimensions = weights, classes, dimensions

    def predict(self, part):
        assert part.table[["emotion", "valence", "arousal", "dominance"]].isna().all(axis=None)
        outputs = inputs(part) @ self.weights
        if self.dimensions:
            return {f"predicted_{name}": outputs[:, k] for k, name in enumerate(self.dimensions)}
        return {f"p_{name}": outputs[:, k] for k, name in enumerate(self.classes)}

    def activations(self, part):
        return {"loudness": inputs(part)} if self.dimensions else {}

    def save(self, folder: Path):
        described = {"weights": self.weights.tolist(), "classes": self.classes, "dimensions": self.dimensions}
        (folder / "model.json").write_text(json.dumps(described))

    config = Config()


def inputs(part):
    loudness = np.concatenate([part.features["loudness"][u] for u in part.table["utterance"]])
    return np.stack([loudness, np.ones(len(loudness))], axis=1)


def features(config):
    return {"loudness": Loudness()}


def fit(config, train, validation, context):
    LAST.update(train=train, validation=validation, auxiliary=context.auxiliary, config=config, context=context)
    wanted = train.values if train.dimensions else np.eye(len(train.classes))[train.labels]
    weights = np.linalg.lstsq(inputs(train), wanted, rcond=None)[0]
    weights[1] += config.shift
    return Fitted(weights, train.classes, train.dimensions)


def pretrain(config, part, folder, context):
    (folder / "mean.json").write_text(json.dumps(float(inputs(part)[:, 0].mean())))
    context.history["loss"] = [1.0]
    LAST.update(pretrained_on=part)


def load(folder: Path):
    stored = json.loads((folder / "model.json").read_text())
    return Fitted(np.array(stored["weights"]), tuple(stored["classes"]), tuple(stored["dimensions"]))


def draw(runs, cells):
    if "rated/table1/demo/ratings" not in runs:
        return None
    from matplotlib.figure import Figure as Picture

    run = runs["rated/table1/demo/ratings"]
    picture = Picture(figsize=(3, 2))
    picture.subplots().plot(run.activations(0)["loudness"][:, 0], run.predictions[0]["arousal"], ".")
    return picture


def _experiment(name, **keywords):
    return Experiment(name, "Row", "demo", "vad", FixedTestSession(), Config(), 1, **keywords)


PAPER = Paper(
    package=__name__,
    title="A paper of ratings",
    reference="nobody, never",
    experiments=(
        _experiment("rated/table1/demo/ratings", target=Dimensions()),
        _experiment("rated/table2/demo/halves", target=Halves(), auxiliary="emodb/7class"),
    ),
    features=":features",
    fit=":fit",
    load=":load",
    scaled={"shift": 0.1},
    figures=(Figure("4", "Arousal and loudness", ":draw"),),
    pretrainings=(
        Pretraining("mean", "mean loudness", "start", "emodb", "7class", ":pretrain", ":features", ("shift",)),
    ),
)
