"""Training of RH-Emo: `ser pretrain quaternion_at rhemo` on a whole corpus, or `rhemo=fold` on a fold's training part.

The paper's RH-Emo (Sec. 3.1) was trained on all of IEMOCAP, including the test speakers and their labels. `rhemo=fold`
avoids this leak: it uses nothing except the training part of the fold.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from common.artefacts import Artefacts
from common.contract import Context, Part
from common.errors import UserError
from common.models.rhemo import rhemo
from common.training import BestEpoch, jit_compile
from papers.quaternion_at.config import QuaternionAtConfig, at_least_steps
from papers.quaternion_at.data import Chunks, Scale, prepare_chunks, raw_chunks, size
from papers.quaternion_at.pretraining import split_utterances

COMPONENTS = ("valence", "arousal", "dominance")
EMOTIONS = ("neutral", "angry", "happy", "sad")
HIGH = 2.5
"""Ratings (from 1 to 5) above this value count as high, as in the public code."""

SETTINGS = (
    "shrink", "chunks", "task_share", "precision", "rhemo_units", "rhemo_beta", "rhemo_beta_vad",
    "rhemo_learning_rate", "rhemo_tuning_rate", "rhemo_batch_size", "rhemo_epochs", "rhemo_patience", "rhemo_steps",
    "rhemo_start",
)  # fmt: skip
"""Config fields that can change what a fold's RH-Emo learns."""

VERSION = 2
"""Increased whenever the same settings, data and seed would lead to another RH-Emo of a fold."""


def pretrain_rhemo(config: QuaternionAtConfig, part: Part, folder: Path, context: Context) -> dict:
    """Trains RH-Emo: an autoencoder on all utterances, then with its four heads on those of four emotions.

    Args:
        config: settings.
        part: utterances with "stft", emotions, valence, arousal and dominance.
        folder: receives `encoder.keras` and `decoder.keras`.
        context: progress and timings; receives a flag.

    Raises:
        UserError: Ratings are missing, or there are too few utterances of the four emotions.
    """
    if not _is_rated(part):
        raise UserError("RH-Emo predicts valence, arousal and dominance, and some utterances lack them. Use IEMOCAP.")
    train, validation, _ = split_utterances(len(part), config.task_share, EMOTIONS, "emotion")
    raw = raw_chunks(part, config)
    scale = Scale.fitted((chunk for utterance in train for chunk in raw[utterance]), "unit")
    chunks = prepare_chunks(raw, scale, config)
    del raw
    emotion = part.table["emotion"].map({name: index for index, name in enumerate(EMOTIONS)}).fillna(len(EMOTIONS))
    labels = {"emotion": emotion.to_numpy(np.int64), **_high_ratings(part)}
    record = _train_both_stages(config, chunks, labels, (train, validation), len(EMOTIONS), folder, context)
    context.flags.append("RH-Emo was trained on the emotions of all utterances of its corpus, also of test speakers")
    context.flags += _reconstruction_flags(record)
    return record


def train_fold_encoder(config: QuaternionAtConfig, part: Part, chunks: Chunks, context: Context) -> keras.Model:
    """Returns the encoder of a fold's RH-Emo, which is trained on the training part alone unless it is kept already.

    A share of the training part, `task_share`, chooses the epochs. The emotion head predicts the experiment's emotions.
    If utterances lack ratings, the other three heads are not trained, and every result states so.

    Args:
        config: settings.
        part: the fold's training part.
        chunks: its prepared chunks.
        context: seed, artefacts, progress, timings; receives the history and a flag.
    """
    made_of = {
        "version": VERSION, "config": {name: getattr(config, name) for name in SETTINGS}, "train": part.fingerprint,
        "classes": list(part.classes), "labels": part.labels.tolist(), "seed": context.seed,
        "backend": keras.backend.backend(),
    }  # fmt: skip
    rated = _is_rated(part)

    def make(folder: Path) -> dict:
        keras.utils.set_random_seed(context.seed)
        train, validation, test = split_utterances(len(part), config.task_share, part.classes, "emotion")
        parts = np.sort(np.concatenate([train, test])), validation
        labels = {"emotion": part.labels, **(_high_ratings(part) if rated else {})}
        own = dataclasses.replace(context, history={})
        record = _train_both_stages(config, chunks, labels, parts, len(part.classes), folder, own)
        return record | {"history": own.history}

    with tempfile.TemporaryDirectory() as temporary:
        artefact = (context.artefacts or Artefacts(Path(temporary))).get("quaternion_at/rhemo-fold", made_of, make)
        encoder = keras.saving.load_model(artefact.folder / "encoder.keras", compile=False, safe_mode=True)
    context.history.update({f"rhemo_{name}": list(values) for name, values in artefact.record["history"].items()})
    context.flags += _reconstruction_flags(artefact.record)
    left_out = "" if rated else " without valence, arousal and dominance, which this corpus lacks"
    context.flags.append(f"RH-Emo of the fold's training part alone{left_out}")
    return encoder


def _is_rated(part: Part) -> bool:
    return not part.table[list(COMPONENTS)].isna().any(axis=None)


def _high_ratings(part: Part) -> dict[str, np.ndarray]:
    """For each dimension, 1 if an utterance is rated high and 0 otherwise; float32, shape (utterances, 1)."""
    return {name: (part.table[name].to_numpy() > HIGH).astype(np.float32)[:, None] for name in COMPONENTS}


def _train_both_stages(
    config: QuaternionAtConfig,
    chunks: Chunks,
    labels: Mapping[str, np.ndarray],
    parts: Sequence[np.ndarray],
    classes: int,
    folder: Path,
    context: Context,
) -> dict:
    """Trains the autoencoder (stage 1), then autoencoder and heads together (stage 2).

    Args:
        config: settings.
        chunks: chunks of all utterances, in 0..1.
        labels: of the utterances: "emotion", where the number `classes` stands for any other emotion, and those of
            `COMPONENTS` that are known.
        parts: positions of the utterances of the training and of the validation part.
        classes: number of emotions in stage 2.
        folder: receives `encoder.keras` and `decoder.keras`.
        context: progress and timings; receives the history.

    Raises:
        UserError: A part has none of the emotions.
    """
    keras.config.set_dtype_policy(config.precision)
    frames, bins = size(config)
    images = chunks.images
    labels = {name: values[chunks.utterance] for name, values in labels.items()}
    rows = [np.flatnonzero(np.isin(chunks.utterance, some)) for some in parts]
    with_emotion = [some[labels["emotion"][some] < classes] for some in rows]
    if not all(map(len, with_emotion)):
        raise UserError(f"RH-Emo's second stage needs {', '.join(EMOTIONS)}; this corpus has too few of them.")
    model = rhemo(classes + 1, frames=frames, bins=bins, units=config.rhemo_units)
    autoencoder = keras.Model(model.input, model.output["reconstruction"])
    for layer in model.get_layer("rhemo_heads").layers:
        layer.trainable = layer.name.split("_")[0] not in set(COMPONENTS) - set(labels)
    with_heads = keras.Model(model.input, {name: model.output[name] for name in ("reconstruction", *labels)})
    binary = keras.losses.BinaryCrossentropy
    own = dataclasses.replace(context, history={})

    def train(network: keras.Model, rows, truth, batch_size: int, patience: int, epochs: int) -> None:
        training, validation = rows

        def score() -> float:
            return -network.evaluate(
                images[validation], truth(validation), batch_size=batch_size, verbose=0, return_dict=True
            )["loss"]

        with context.timed("fit"):
            network.fit(
                images[training], truth(training), batch_size=batch_size, epochs=epochs, verbose=0,
                callbacks=[BestEpoch(score, patience, own)],
            )  # fmt: skip

    if config.rhemo_start == "mean":
        start_at_mean(model, float(images[rows[0]].mean()))
    autoencoder.compile(keras.optimizers.Adam(config.rhemo_learning_rate), binary(), jit_compile=jit_compile())
    steps = -(len(rows[0]) // -config.rhemo_batch_size)
    epochs, patience = at_least_steps(config.rhemo_steps, steps, config.rhemo_epochs, config.rhemo_patience)
    train(autoencoder, rows, lambda rows: images[rows], config.rhemo_batch_size, patience, epochs)
    rated = [name for name in labels if name != "emotion"]
    with_heads.compile(
        # The public code adds weight decay to the gradient; Keras subtracts it from the weights.
        keras.optimizers.Adam(config.rhemo_tuning_rate, weight_decay=1e-5),
        {
            "reconstruction": binary(),
            "emotion": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            **{name: binary() for name in rated},
        },
        loss_weights={
            "reconstruction": 1.0, "emotion": config.rhemo_beta,
            **dict.fromkeys(rated, config.rhemo_beta * config.rhemo_beta_vad),
        },
        jit_compile=jit_compile(),
    )  # fmt: skip

    def all_outputs(rows) -> dict[str, np.ndarray]:
        return {"reconstruction": images[rows], **{name: values[rows] for name, values in labels.items()}}

    train(with_heads, with_emotion, all_outputs, 20, 30, config.rhemo_epochs)
    context.history.update(own.history)
    for name in ("encoder", "decoder"):
        model.get_layer(f"rhemo_{name}").save(folder / f"{name}.keras")
    errors = reconstruction_errors(autoencoder, images, *rows, config.rhemo_batch_size)
    return {"datapoints": [len(some) for some in (*rows, *with_emotion)], "errors": errors}


def start_at_mean(model: keras.Model, mean: float) -> None:
    """Sets the decoder's last bias so that an embedding of zeros is decoded as the mean magnitude.

    Magnitudes in 0..1 are small (on average .004). From a bias of zero, hence .5, the fastest way down is to switch the
    embedding off, and after thousands of steps three of its four components are zero everywhere.
    """
    layer = model.get_layer("rhemo_decoder").get_layer("decode3")
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel, np.full_like(bias, np.log(mean / (1 - mean)))])


def reconstruction_errors(
    autoencoder: keras.Model, images: np.ndarray, training: np.ndarray, validation: np.ndarray, batch_size: int
) -> dict[str, float]:
    """Mean squared errors on validation chunks: of the autoencoder, of the training chunks' mean, of their mean image.

    Args:
        autoencoder: from images to images.
        images: all chunks, in 0..1.
        training: positions of the training chunks.
        validation: positions of the validation chunks.
        batch_size: of the predictions.
    """
    truth = images[validation]
    guesses = {
        "autoencoder": autoencoder.predict(truth, batch_size=batch_size, verbose=0),
        "mean": images[training].mean(),
        "mean image": images[training].mean(axis=0),
    }
    return {name: float(np.square(truth - guess).mean(dtype=np.float64)) for name, guess in guesses.items()}


def _reconstruction_flags(record: Mapping[str, Any]) -> list[str]:
    """What a result must state if RH-Emo reconstructs no better than the mean image, which needs no network."""
    errors = record.get("errors")
    if errors is None or errors["autoencoder"] < errors["mean image"]:
        return []
    return [
        f"RH-Emo has not learnt: its reconstruction error is {errors['autoencoder']:.2g}, that of the mean image "
        f"{errors['mean image']:.2g}"
    ]
