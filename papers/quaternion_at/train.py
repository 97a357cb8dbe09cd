"""Fitting and predicting; also `python -m papers.quaternion_at.train EXPERIMENT`, which is `ser run`."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from common.contract import Context, Part
from common.errors import UserError
from common.metrics import softmax
from common.models.anti_transfer import BatchesWithSignatures
from common.models.checkpoint import copy_weights
from common.models.signature_cache import cached_signatures
from common.saving import Saved, load_fitted, save_fitted
from common.training import BestEpoch, jit_compile
from papers.quaternion_at.config import QuaternionAtConfig
from papers.quaternion_at.data import Chunks, Scale, chunks, cut_part, fitted_scale
from papers.quaternion_at.model import (
    build_encoder,
    build_extractor,
    build_vgg,
    chained,
    signature_of,
    with_anti_transfer,
)
from papers.quaternion_at.rhemo import fold_encoder

VERSION = 2
"""Raised whenever the same settings, data and seed would train another network."""


@dataclasses.dataclass
class FittedQuaternionAt:
    """A trained network with what its input needs.

    Attributes:
        config: its settings.
        classes: emotions in the order of the outputs.
        vgg: the network.
        encoder: RH-Emo's, if it reads embeddings.
        scale: of the magnitudes.
    """

    config: QuaternionAtConfig
    classes: tuple[str, ...]
    vgg: keras.Model
    encoder: keras.Model | None
    scale: Scale
    context: Context = dataclasses.field(default_factory=Context)

    def predict(self, part: Part) -> dict[str, np.ndarray]:
        """Probabilities "p_<emotion>", the mean over an utterance's chunks.

        Beside them "chunks_<emotion>", how many of its chunks were heard as that: the paper counts chunks.
        """
        cut = chunks(cut_part(part, self.config), self.scale, self.config)
        with self.context.timed("predict"):
            found = probabilities(chained(self.encoder, self.vgg), cut.images, self.config)
        votes = np.zeros((len(part), len(self.classes)), np.int64)
        np.add.at(votes, (cut.owner, found.argmax(axis=1)), 1)
        means = cut.vote(found)
        columns = {f"p_{emotion}": means[:, number] for number, emotion in enumerate(self.classes)}
        return columns | {f"chunks_{emotion}": votes[:, number] for number, emotion in enumerate(self.classes)}

    def save(self, folder: Path) -> None:
        """Writes everything that `load` needs."""
        networks = {"network": self.vgg} | ({} if self.encoder is None else {"encoder": self.encoder})
        save_fitted(folder, self.config, networks, classes=self.classes, scale=dataclasses.asdict(self.scale))


def load(folder: Path) -> FittedQuaternionAt:
    """Reads what `FittedQuaternionAt.save` wrote."""

    def build(saved: Saved) -> FittedQuaternionAt:
        encoder = saved.networks["encoder"] if saved.config.rhemo != "none" else None
        scale = Scale(**saved.values["scale"])
        return FittedQuaternionAt(saved.config, saved.classes, saved.networks["network"], encoder, scale)

    return load_fitted(folder, QuaternionAtConfig, build)


def probabilities(model: keras.Model, inputs: np.ndarray, config: QuaternionAtConfig) -> np.ndarray:
    """Softmax of a model's logits, shape (inputs, classes), float64."""
    return softmax(model.predict(inputs, batch_size=config.batch_size, verbose=0))


def cross_entropy(found: np.ndarray, labels: np.ndarray) -> float:
    """Mean over chunks of -log of the true class' probability."""
    return float(-np.log(np.maximum(found[np.arange(len(labels)), labels], 1e-12)).mean())


@dataclasses.dataclass
class Data:
    """What every training of a fit uses.

    Attributes:
        config: settings.
        inputs: training chunks: magnitudes, or embeddings if RH-Emo is frozen.
        labels: of the chunks.
        held_out: validation chunks, likewise; None if there are none.
        held_out_labels: their labels.
        classes: how many.
        encoder: RH-Emo as it was pretrained, or None.
        folder: for Gram matrices, as long as the fit lasts.
    """

    config: QuaternionAtConfig
    inputs: np.ndarray
    labels: np.ndarray
    held_out: np.ndarray | None
    held_out_labels: np.ndarray | None
    classes: int
    encoder: keras.Model | None
    folder: Path

    @property
    def trains_encoder(self) -> bool:
        """True if RH-Emo learns with the network."""
        return self.encoder is not None and self.config.rhemo_training == "trainable"


@dataclasses.dataclass
class Trained:
    """A network after its training (or trainings, for dual anti-transfer)."""

    vgg: keras.Model
    encoder: keras.Model | None
    accuracy: float
    history: dict[str, list[float]]


def fit(config: QuaternionAtConfig, train: Part, validation: Part, context: Context) -> FittedQuaternionAt:
    """Trains a network, once for each anti-transfer layer to choose among (Sec. 3.2).

    The epoch is the one of the lowest validation loss, the layer the one of the best validation accuracy.

    Args:
        config: settings.
        train: what is learnt from; its chunks alone give the scale.
        validation: may be empty if there is no layer to choose.
        context: seed, artefacts, progress, timings.
    """
    layers = config.layers() if config.tasks else (0,)
    if len(layers) > 1 and not len(validation):
        raise UserError("Choosing the anti-transfer layer needs a validation part; name one layer, as at_layers=2.")
    keras.config.set_dtype_policy(config.precision)
    with _prepared(config, train, validation, context) as (data, scale):
        best: tuple[float, int, Trained | None] | None = None
        for layer in layers:
            accuracy, trained = _tried(data, layer, train, validation, context, remember=len(layers) > 1)
            if len(layers) > 1:
                context.history.setdefault("layer", []).append(float(layer))
                context.history.setdefault("layer_accuracy", []).append(accuracy)
            if best is None or accuracy > best[0]:  # of equals the earliest, which costs least (Sec. 3.2.2)
                best = accuracy, layer, trained
        _, layer, trained = best
        trained = trained or _trained(data, layer, context)  # an earlier process tried the layer
    context.history.update(trained.history)
    if config.tasks:
        context.flags.append(f"anti-transfer layer {layer}" + (" (chosen on validation)" if len(layers) > 1 else ""))
    return FittedQuaternionAt(config, train.classes, trained.vgg, trained.encoder, scale, context)


@contextlib.contextmanager
def _prepared(config, train: Part, validation: Part, context: Context) -> Iterator[tuple[Data, Scale]]:
    """The chunks of both parts, through RH-Emo if it is frozen, and a folder for the fit's Gram matrices."""
    pieces = cut_part(train, config)
    scale = fitted_scale(pieces, config)
    learnt = chunks(pieces, scale, config)
    del pieces
    held_out = chunks(cut_part(validation, config), scale, config) if len(validation) else None
    of_fold = config.rhemo == "fold"
    encoder = fold_encoder(config, train, learnt, context) if of_fold else build_encoder(config, context)
    root = None
    if context.artefacts is not None:
        context.artefacts.root.mkdir(parents=True, exist_ok=True)
        root = context.artefacts.root
    with tempfile.TemporaryDirectory(prefix=".gram-", dir=root) as folder:
        data = Data(
            config,
            learnt.images,
            train.labels[learnt.owner],
            held_out.images if held_out else None,
            validation.labels[held_out.owner] if held_out else None,
            len(train.classes),
            encoder,
            Path(folder),
        )
        if encoder is not None and not data.trains_encoder:
            data.inputs = _embedded(encoder, learnt, config)
            data.held_out = _embedded(encoder, held_out, config) if held_out else None
        yield data, scale


def _embedded(encoder: keras.Model, cut: Chunks, config: QuaternionAtConfig) -> np.ndarray:
    return encoder.predict(cut.images, batch_size=config.batch_size, verbose=0)


def _tried(data: Data, layer: int, train, validation, context, *, remember: bool) -> tuple[float, Trained | None]:
    """Validation accuracy with anti-transfer at a layer, and the network, unless an earlier process trained it."""
    if not remember or context.artefacts is None:
        trained = _trained(data, layer, context)
        return trained.accuracy, trained
    choosing = ("at_layers", "at_tries")
    config = {name: value for name, value in dataclasses.asdict(data.config).items() if name not in choosing}
    made_of = {
        "version": VERSION, "config": config, "layer": layer, "seed": context.seed, "train": train.fingerprint,
        "validation": validation.fingerprint, "classes": list(train.classes),
    }  # fmt: skip
    kept = []

    def make(folder: Path) -> dict:
        kept.append(_trained(data, layer, context))
        return {"accuracy": kept[0].accuracy}

    # Only the accuracy is kept: thirteen real networks of a trial would be 9 GB.
    record = context.artefacts.get("quaternion_at/layer", made_of, make).record
    return record["accuracy"], kept[0] if kept else None


def _trained(data: Data, layer: int, context: Context) -> Trained:
    """One network, trained once, or for dual anti-transfer twice, from the trial's seed."""
    config = data.config
    keras.utils.set_random_seed(context.seed)  # a layer's network does not depend on which were tried before it
    vgg = encoder = None
    history: dict[str, list[float]] = {}
    for number, task in enumerate(config.tasks or (None,), start=1):
        before = vgg, encoder
        vgg = build_vgg(config, data.classes)
        encoder = keras.models.clone_model(data.encoder) if data.trains_encoder else data.encoder
        if data.trains_encoder:
            encoder.set_weights((before[1] or data.encoder).get_weights())
        if before[0] is not None:
            copy_weights(before[0], vgg, leave_out=("logits",) if config.dual_last_layer == "fresh" else ())
        own = dataclasses.replace(context, history={})
        _stage(data, vgg, encoder, task, layer, own)
        prefix = f"stage{number}_" if len(config.tasks) > 1 else ""
        history |= {f"{prefix}{name}": values for name, values in own.history.items()}
    accuracy = float("nan")
    if data.held_out is not None:
        found = probabilities(_reader(data, vgg, encoder), data.held_out, config)
        accuracy = float((found.argmax(axis=1) == data.held_out_labels).mean())
    return Trained(vgg, encoder, accuracy, history)


def _reader(data: Data, vgg: keras.Model, encoder: keras.Model | None) -> keras.Model:
    """The network as it reads `data.inputs`."""
    return chained(encoder, vgg) if data.trains_encoder else vgg


def _stage(data: Data, vgg, encoder, task: str | None, layer: int, context: Context) -> None:
    """Trains with anti-transfer from a task's network, or without if there is none."""
    config = data.config
    model, batches = _reader(data, vgg, encoder), None
    if task is not None:
        signature = signature_of(build_extractor(config, task, context), layer, config)
        if data.trains_encoder:
            model = with_anti_transfer(vgg, layer, config, signature, encoder=encoder)
        else:
            # The extractor and what it reads stay as they are, so each chunk's Gram matrix is computed once.
            with context.timed("targets"):
                signatures = cached_signatures(data.folder, signature, data.inputs, batch_size=config.batch_size)
            model = with_anti_transfer(vgg, layer, config, signatures)
            batches = BatchesWithSignatures(
                data.inputs, data.labels, [signatures], config.batch_size, seed=context.seed
            )
    model.compile(
        keras.optimizers.Adam(config.learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=jit_compile(),
    )
    score = None
    if data.held_out is not None:
        reader = _reader(data, vgg, encoder)

        def score() -> float:
            return -cross_entropy(probabilities(reader, data.held_out, config), data.held_out_labels)

    settings = {"epochs": config.epochs, "verbose": 0, "callbacks": [BestEpoch(score, config.patience, context)]}
    with context.timed("fit"):
        if batches is None:
            model.fit(data.inputs, data.labels, batch_size=config.batch_size, **settings)
        else:
            model.fit(batches, **settings)
    for file in data.folder.glob("*.npy"):
        file.unlink()


if __name__ == "__main__":
    from ser.cli import train_main

    sys.exit(train_main("quaternion_at"))
