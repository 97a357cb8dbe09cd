"""Fitting and predicting; also `python -m papers.quaternion_at.train EXPERIMENT`, which is `ser run`."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np

from common.artefacts import Artefact, Artefacts
from common.contract import Context, Further, Part
from common.errors import UserError
from common.metrics import softmax
from common.models.anti_transfer import BatchesWithSignatures
from common.models.checkpoint import copy_weights
from common.models.rhemo import COMPONENTS
from common.models.signature_cache import SignatureFile, cached_signatures
from common.saving import Saved, load_fitted, save_fitted
from common.training import BestEpoch, jit_compile
from papers.quaternion_at.config import QuaternionAtConfig, layer_name
from papers.quaternion_at.data import Chunks, Scale, fitted_scale, prepare_chunks, raw_chunks
from papers.quaternion_at.model import (
    build_encoder,
    build_extractor,
    build_vgg,
    chained,
    signature_of,
    start_of_transfer,
    with_anti_transfer,
)
from papers.quaternion_at.rhemo import train_fold_encoder

DEAD = 0.99
"""Share of zeros above which a component of RH-Emo's embedding counts as dead."""

VERSION = 3
"""Increased whenever the same settings, data and seed would lead to another network."""


@dataclasses.dataclass
class FittedQuaternionAt:
    """A trained network with the preparation of its input.

    Attributes:
        config: its settings.
        classes: emotions in the order of the outputs.
        vgg: the network.
        encoder: RH-Emo's encoder, if the network reads embeddings; otherwise None.
        scale: scales magnitudes.
        context: receives timings.
        tried: the networks of all layers that were tried, if there was more than one; not saved.
    """

    config: QuaternionAtConfig
    classes: tuple[str, ...]
    vgg: keras.Model
    encoder: keras.Model | None
    scale: Scale
    context: Context = dataclasses.field(default_factory=Context)
    tried: TriedLayers | None = None

    def predict(self, part: Part) -> dict[str, np.ndarray]:
        """Returns probabilities "p_<emotion>", averaged over the chunks of each utterance.

        There are also columns "chunks_<emotion>", the number of chunks predicted as each emotion, since the paper's
        accuracy counts chunks.
        """
        return self._columns(self._chunks(part), self.vgg, self.encoder)

    def further(self, part: Part) -> Iterator[Further]:
        """Predictions of the networks of all layers that were tried, for Figure 2: "layer01" to "layer13"."""
        if self.tried is None:
            return
        chunks = self._chunks(part)
        flags = [flag for flag in self.context.flags if not flag.startswith(at_layer(self.tried.best))]
        for layer in self.tried.artefacts:
            network = self.tried.read(layer, self.config, len(self.classes), self.encoder)
            columns = self._columns(chunks, network.vgg, network.encoder)
            yield Further(layer_name(layer), columns, (*flags, at_layer(layer)))
            del network
            gc.collect()

    def _chunks(self, part: Part) -> Chunks:
        return prepare_chunks(raw_chunks(part, self.config), self.scale, self.config)

    def _columns(self, chunks: Chunks, vgg: keras.Model, encoder: keras.Model | None) -> dict[str, np.ndarray]:
        with self.context.timed("predict"):
            predicted = probabilities(chained(encoder, vgg), chunks.images, self.config)
        votes = np.zeros((chunks.utterances, len(self.classes)), np.int64)
        np.add.at(votes, (chunks.utterance, predicted.argmax(axis=1)), 1)
        means = chunks.utterance_means(predicted)
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
    """Predicts class probabilities, float64, shape (inputs, classes)."""
    return softmax(model.predict(inputs, batch_size=config.batch_size, verbose=0))


def cross_entropy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Mean of -log of the true class's probability, from probabilities (chunks, classes)."""
    return float(-np.log(np.maximum(predicted[np.arange(len(labels)), labels], 1e-12)).mean())


@dataclasses.dataclass
class TrainingData:
    """Data that all trainings of a fit share.

    Attributes:
        config: settings.
        inputs: training chunks: magnitudes, or embeddings if RH-Emo is frozen.
        labels: class numbers of the training chunks.
        validation_inputs: validation chunks, like `inputs`; None without a validation part.
        validation_labels: class numbers of the validation chunks, or None.
        classes: number of classes.
        encoder: pretrained encoder of RH-Emo, or None.
        start: with transfer, the network to start from, and its RH-Emo if that was trained as well.
        folder: holds Gram matrices during the fit.
    """

    config: QuaternionAtConfig
    inputs: np.ndarray
    labels: np.ndarray
    validation_inputs: np.ndarray | None
    validation_labels: np.ndarray | None
    classes: int
    encoder: keras.Model | None
    start: tuple[keras.Model, keras.Model | None] | None
    folder: Path

    @property
    def trains_encoder(self) -> bool:
        """True if RH-Emo is trained together with the network."""
        return self.encoder is not None and self.config.rhemo_training == "trainable"

    def network(self, vgg: keras.Model, encoder: keras.Model | None) -> keras.Model:
        """The model from `inputs` to logits."""
        return chained(encoder, vgg) if self.trains_encoder else vgg


@dataclasses.dataclass
class TrainedNetwork:
    """A network after its training; with dual anti-transfer, after both trainings.

    Attributes:
        vgg: the network.
        encoder: RH-Emo's encoder, or None.
        accuracy: validation accuracy of chunks; NaN without a validation part.
        history: values over epochs, by name.
    """

    vgg: keras.Model
    encoder: keras.Model | None
    accuracy: float
    history: dict[str, list[float]]


def fit(config: QuaternionAtConfig, train: Part, validation: Part, context: Context) -> FittedQuaternionAt:
    """Trains a network, once for each anti-transfer layer to choose from (Sec. 3.2).

    The epoch with the lowest validation loss is kept, and the layer with the best validation accuracy. The networks of
    the other layers stay on disk as long as the result exists, since Figure 2 shows their test accuracies.

    Args:
        config: settings.
        train: training part; its chunks alone give the scale.
        validation: validation part; may be empty if there is no layer to choose.
        context: seed, artefacts, progress, timings; receives history and flags.

    Raises:
        UserError: There are layers to choose from, but no validation part.
    """
    layers = config.layers() if config.tasks else (0,)
    if len(layers) > 1 and not len(validation):
        raise UserError("Choosing the anti-transfer layer needs a validation part. Name one layer, as in at_layers=2.")
    keras.utils.set_random_seed(context.seed)
    keras.config.set_dtype_policy(config.precision)
    tried = None
    with _training_data(config, train, validation, context) as (data, scale):
        layer = layers[0]
        if len(layers) == 1:
            trained = train_at_layer(data, layer, context)
        else:
            tried = TriedLayers.try_all(data, layers, train, validation, context)
            layer = tried.best
            trained = tried.network(layer, data)
    context.history.update(trained.history)
    if config.tasks:
        context.flags.append(at_layer(layer) + (" (chosen on validation)" if len(layers) > 1 else ""))
    return FittedQuaternionAt(config, train.classes, trained.vgg, trained.encoder, scale, context, tried)


def at_layer(layer: int) -> str:
    """The flag of a result with anti-transfer at a layer."""
    return f"anti-transfer layer {layer}"


@contextlib.contextmanager
def _training_data(config, train: Part, validation: Part, context: Context) -> Iterator[tuple[TrainingData, Scale]]:
    """Prepares the chunks of both parts, through RH-Emo if it is frozen, and a folder for Gram matrices."""
    raw = raw_chunks(train, config)
    scale = fitted_scale(raw, config)
    chunks = prepare_chunks(raw, scale, config)
    del raw
    held_out = prepare_chunks(raw_chunks(validation, config), scale, config) if len(validation) else None
    if config.rhemo == "fold":
        encoder = train_fold_encoder(config, train, chunks, context)
    else:
        encoder = build_encoder(config, context)
    if encoder is not None:
        state_of_embedding(encoder, chunks.images, context)
    root = None if context.artefacts is None else context.artefacts.root
    if root is not None:
        root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".gram-", dir=root) as folder:
        data = TrainingData(
            config,
            chunks.images,
            train.labels[chunks.utterance],
            held_out.images if held_out else None,
            validation.labels[held_out.utterance] if held_out else None,
            len(train.classes),
            encoder,
            start_of_transfer(config, context),
            Path(folder),
        )
        if encoder is not None and not data.trains_encoder:
            data.inputs = encoder.predict(chunks.images, batch_size=config.batch_size, verbose=0)
            if held_out:
                data.validation_inputs = encoder.predict(held_out.images, batch_size=config.batch_size, verbose=0)
        yield data, scale


def state_of_embedding(encoder: keras.Model, images: np.ndarray, context: Context, most: int = 200) -> None:
    """Records what RH-Emo's embedding is like on the target corpus: an embedding that is dead tells a network nothing.

    The context's history gets, for each component, the share of zeros ("rhemo_zeros") and the deviation between chunks
    of its mean ("rhemo_deviation"); a flag names components that are zero in more than `DEAD` of their cells.

    Args:
        encoder: from magnitudes to embeddings.
        images: training chunks.
        context: receives history and flag.
        most: how many chunks are looked at, evenly spread.
    """
    chosen = images[np.unique(np.linspace(0, len(images) - 1, most).round().astype(int))]
    embedding = np.asarray(encoder.predict(chosen, batch_size=20, verbose=0), np.float32)
    zeros, deviation = (embedding == 0).mean(axis=(0, 1, 2)), embedding.mean(axis=(1, 2)).std(axis=0)
    context.history["rhemo_zeros"], context.history["rhemo_deviation"] = zeros.tolist(), deviation.tolist()
    dead = [name for name, share in zip(COMPONENTS, zeros, strict=True) if share > DEAD]
    if dead:
        context.flags.append(f"RH-Emo is dead in {', '.join(dead)}: more than {100 * DEAD:.0f} % of the cells are 0")


@dataclasses.dataclass(frozen=True)
class TriedLayers:
    """The networks of all layers that a fit tried (Sec. 3.2), on disk: thirteen real ones would take 9 GB of memory.

    Attributes:
        artefacts: the network of each layer, by the layer.
        temporary: keeps their folder as long as this object exists, unless the application keeps it.
    """

    artefacts: dict[int, Artefact]
    temporary: tempfile.TemporaryDirectory | None = None

    @classmethod
    def try_all(
        cls, data: TrainingData, layers: Sequence[int], train: Part, validation: Part, context: Context
    ) -> TriedLayers:
        """Trains a network at each layer, unless a killed fit of the same trial has done so.

        Raises:
            UserError: The disk has no space for the networks.
        """
        temporary = tempfile.TemporaryDirectory() if context.scratch is None else None
        folder = Path(temporary.name) if temporary else context.scratch
        choosing = ("at_layers", "at_tries")
        config = {name: value for name, value in dataclasses.asdict(data.config).items() if name not in choosing}
        made_of = {
            "version": VERSION, "config": config, "seed": context.seed, "train": train.fingerprint,
            "validation": validation.fingerprint, "classes": list(train.classes), "backend": keras.backend.backend(),
        }  # fmt: skip
        kept = Artefacts(folder, context.artefacts.made_with if context.artefacts else {})
        found = {}
        for layer in layers:
            make = functools.partial(_save_trained, data, layer, context)
            found[layer] = kept.get("layer", {**made_of, "layer": layer}, make)
            context.history.setdefault("layer", []).append(float(layer))
            context.history.setdefault("layer_accuracy", []).append(found[layer].record["accuracy"])
            gc.collect()
        return cls(found, temporary)

    @property
    def best(self) -> int:
        """The layer with the best validation accuracy; of equal ones the earliest, which costs least (Sec. 3.2.2)."""
        return max(self.artefacts, key=lambda layer: (self.artefacts[layer].record["accuracy"], -layer))

    def network(self, layer: int, data: TrainingData) -> TrainedNetwork:
        """Reads the network of a layer."""
        return self.read(layer, data.config, data.classes, data.encoder)

    def read(self, layer: int, config: QuaternionAtConfig, classes: int, encoder: keras.Model | None) -> TrainedNetwork:
        """Reads the network of a layer.

        Args:
            layer: one of those that were tried.
            config: settings of the fit.
            classes: number of classes.
            encoder: an encoder of RH-Emo, or None; a trained one takes its place.
        """
        artefact = self.artefacts[layer]
        vgg = build_vgg(config, classes)
        vgg.load_weights(artefact.folder / NETWORK)
        if (artefact.folder / ENCODER).is_file():
            encoder = keras.models.clone_model(encoder)
            encoder.load_weights(artefact.folder / ENCODER)
        return TrainedNetwork(vgg, encoder, artefact.record["accuracy"], artefact.record["history"])


NETWORK, ENCODER = "network.weights.h5", "encoder.weights.h5"
"""Files of a tried network."""


def _save_trained(data: TrainingData, layer: int, context: Context, folder: Path) -> dict:
    """Trains a network at a layer and writes its weights; returns its validation accuracy and its history."""
    trained = train_at_layer(data, layer, context)
    needed = 4 * trained.vgg.count_params()
    if needed > (free := shutil.disk_usage(folder).free):
        raise UserError(
            f"The network of each tried layer is kept until the trial is complete: {needed / 1e9:.1f} GB; {folder} has "
            f"{free / 1e9:.1f} GB left. Free some space, or try fewer layers with at_layers or at_tries."
        )
    trained.vgg.save_weights(folder / NETWORK)
    if data.trains_encoder:
        trained.encoder.save_weights(folder / ENCODER)
    return {"accuracy": trained.accuracy, "history": trained.history}


def train_at_layer(data: TrainingData, layer: int, context: Context) -> TrainedNetwork:
    """Trains a network with anti-transfer at a layer, 1 to 13, if any; with dual anti-transfer, in two trainings."""
    config = data.config
    keras.utils.set_random_seed(context.seed)  # so that the network does not depend on layers tried before
    vgg = encoder = None
    history: dict[str, list[float]] = {}
    for number, task in enumerate(config.tasks or (None,), start=1):
        first_vgg, first_encoder = vgg, encoder
        vgg = build_vgg(config, data.classes)
        encoder = keras.models.clone_model(data.encoder) if data.trains_encoder else data.encoder
        if data.trains_encoder:
            started = data.start[1] if data.start is not None else data.encoder
            encoder.set_weights((first_encoder or started).get_weights())
        if first_vgg is not None:
            copy_weights(first_vgg, vgg, leave_out=("logits",) if config.dual_last_layer == "fresh" else ())
        elif data.start is not None:
            copy_weights(data.start[0], vgg, leave_out=("logits",))
        own = dataclasses.replace(context, history={})
        _train_once(data, vgg, encoder, task, layer, own)
        prefix = f"stage{number}_" if len(config.tasks) > 1 else ""
        history |= {f"{prefix}{name}": values for name, values in own.history.items()}
    accuracy = float("nan")
    if data.validation_inputs is not None:
        predicted = probabilities(data.network(vgg, encoder), data.validation_inputs, config)
        accuracy = float((predicted.argmax(axis=1) == data.validation_labels).mean())
    return TrainedNetwork(vgg, encoder, accuracy, history)


def signatures_of(
    config: QuaternionAtConfig, task: str, layer: int, inputs: np.ndarray, folder: Path, context: Context
) -> SignatureFile:
    """Computes what the loss needs of a task's network for all chunks, and lets go of that network.

    Args:
        config: settings.
        task: "speakers" or "words".
        layer: number of the layer, from 1 to 13.
        inputs: what both networks read; it does not change during the training.
        folder: receives the file.
        context: has the artefacts; receives the time.
    """

    def compute() -> SignatureFile:
        signature = signature_of(build_extractor(config, task, layer, context), config)
        return cached_signatures(folder, signature, inputs, batch_size=config.batch_size)

    with context.timed("targets"):
        signatures = compute()
    gc.collect()  # Keras models refer to themselves in circles
    return signatures


def _train_once(data: TrainingData, vgg, encoder, task: str | None, layer: int, context: Context) -> None:
    """Trains a network with anti-transfer from the network of a task, or without if `task` is None."""
    config, network = data.config, data.network(vgg, encoder)
    model, inputs = network, {"x": data.inputs, "y": data.labels, "batch_size": config.batch_size}
    if task is not None and data.trains_encoder:
        signature = signature_of(build_extractor(config, task, layer, context), config)
        model = with_anti_transfer(vgg, layer, config, signature, encoder=encoder)
    elif task is not None:  # extractor and inputs do not change, so Gram matrices are computed only once
        signatures = signatures_of(config, task, layer, data.inputs, data.folder, context)
        model = with_anti_transfer(vgg, layer, config, signatures)
        inputs = {
            "x": BatchesWithSignatures(data.inputs, data.labels, [signatures], config.batch_size, seed=context.seed)
        }
    model.compile(
        keras.optimizers.Adam(config.learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=jit_compile(),
    )
    score = None
    if data.validation_inputs is not None:

        def score() -> float:
            predicted = probabilities(network, data.validation_inputs, config)
            return -cross_entropy(predicted, data.validation_labels)

    with context.timed("fit"):
        callbacks = [BestEpoch(score, config.patience, context)]
        model.fit(**inputs, epochs=config.epochs, callbacks=callbacks, verbose=0)
    for file in data.folder.glob("*.npy"):
        file.unlink()


if __name__ == "__main__":
    from ser.cli import train_main

    sys.exit(train_main("quaternion_at"))
