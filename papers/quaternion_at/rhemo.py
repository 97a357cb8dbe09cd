"""RH-Emo's training: by `ser pretrain quaternion_at rhemo` on a corpus of its own, or on each fold's training part.

The paper's RH-Emo (Sec. 3.1) learnt from all of IEMOCAP, so it has heard the speakers that test, with their labels.
`rhemo=fold`, the honest twin, learns from what the fold trains with and from nothing else.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from common.artefacts import Artefacts
from common.contract import Context, Part
from common.errors import UserError
from common.models.rhemo import rhemo as build
from common.training import BestEpoch, jit_compile
from papers.quaternion_at.config import QuaternionAtConfig
from papers.quaternion_at.data import Chunks, Scale, chunks, cut_part, size
from papers.quaternion_at.pretraining import drawn, enough

COMPONENTS = ("valence", "arousal", "dominance")
EMOTIONS = ("neutral", "angry", "happy", "sad")
HIGH = 2.5
"""Ratings above it (on 1..5) count as high, in the public code."""

SETTINGS = (
    "shrink", "chunks", "task_share", "precision", "rhemo_units", "rhemo_beta", "rhemo_beta_vad",
    "rhemo_learning_rate", "rhemo_tuning_rate", "rhemo_batch_size", "rhemo_epochs", "rhemo_patience",
)  # fmt: skip
"""Config fields that could change what a fold's RH-Emo learns."""

VERSION = 1
"""Raised whenever the same settings, data and seed would train another RH-Emo of a fold."""


def rhemo(config: QuaternionAtConfig, part: Part, folder: Path, context: Context) -> dict:
    """Pretrains RH-Emo: an autoencoder on all utterances, then with its four heads on those of four emotions.

    Args:
        config: settings.
        part: utterances with "stft", emotions, valence, arousal and dominance.
        folder: receives `encoder.keras` and `decoder.keras`.
        context: progress and timings.

    Raises:
        UserError: ratings are missing, or none of the four emotions is there.
    """
    if not _is_rated(part):
        raise UserError("RH-Emo learns valence, arousal and dominance, and some utterances lack them. Take IEMOCAP.")
    learnt, held_out, _ = enough(drawn(len(part), config.task_share), EMOTIONS, "emotion")
    pieces = cut_part(part, config)
    scale = Scale.fitted((piece for one in learnt for piece in pieces[one]), "unit")
    cut = chunks(pieces, scale, config)
    del pieces
    emotion = part.table["emotion"].map({name: index for index, name in enumerate(EMOTIONS)}).fillna(len(EMOTIONS))
    targets = {"emotion": emotion.to_numpy(np.int64), **_high(part)}
    record = _train(config, cut, targets, (learnt, held_out), len(EMOTIONS), folder, context)
    context.flags.append("RH-Emo has heard the emotions of all utterances of its corpus, test speakers among them")
    return record


def fold_encoder(config: QuaternionAtConfig, part: Part, cut: Chunks, context: Context) -> keras.Model:
    """The encoder of the RH-Emo of a fold and seed, which learns from the training part alone (`rhemo=fold`).

    A share of the training part, `task_share`, chooses its epochs. The emotion head tells the experiment's emotions.
    Where utterances lack ratings, the other three heads do not learn, and every result says so.

    Args:
        config: settings.
        part: the fold's training part.
        cut: its chunks, as the network sees them.
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
        learnt, held_out, spare = enough(drawn(len(part), config.task_share), part.classes, "emotion")
        parts = np.sort(np.concatenate([learnt, spare])), held_out
        targets = {"emotion": part.labels, **(_high(part) if rated else {})}
        own = dataclasses.replace(context, history={})
        record = _train(config, cut, targets, parts, len(part.classes), folder, own)
        return record | {"history": own.history}

    with tempfile.TemporaryDirectory() as here:
        artefact = (context.artefacts or Artefacts(Path(here))).get("quaternion_at/rhemo-fold", made_of, make)
        encoder = keras.saving.load_model(artefact.folder / "encoder.keras", compile=False, safe_mode=True)
    context.history.update({f"rhemo_{name}": list(values) for name, values in artefact.record["history"].items()})
    left_out = "" if rated else " without valence, arousal and dominance, which this corpus lacks"
    context.flags.append(f"RH-Emo of the fold's training part alone{left_out}")
    return encoder


def _is_rated(part: Part) -> bool:
    return not part.table[list(COMPONENTS)].isna().any(axis=None)


def _high(part: Part) -> dict[str, np.ndarray]:
    """For each dimension 1 where an utterance is rated high, else 0; shape (utterances, 1)."""
    return {name: (part.table[name].to_numpy() > HIGH).astype(np.float32)[:, None] for name in COMPONENTS}


def _train(
    config: QuaternionAtConfig,
    cut: Chunks,
    targets: Mapping[str, np.ndarray],
    parts: Sequence[np.ndarray],
    classes: int,
    folder: Path,
    context: Context,
) -> dict:
    """Both stages.

    Args:
        config: settings.
        cut: chunks of all utterances, in 0..1.
        targets: of the utterances: "emotion", where `classes` is any other; and what there is of `COMPONENTS`.
        parts: numbers of the utterances that are learnt and that validate.
        classes: emotions of the second stage.
        folder: receives `encoder.keras` and `decoder.keras`.
        context: receives the history.

    Raises:
        UserError: a part has none of the emotions.
    """
    keras.config.set_dtype_policy(config.precision)
    frames, bins = size(config)
    targets = {name: values[cut.owner] for name, values in targets.items()}
    rows = [np.flatnonzero(np.isin(cut.owner, some)) for some in parts]
    four = [some[targets["emotion"][some] < classes] for some in rows]
    if not all(map(len, four)):
        raise UserError(f"RH-Emo's second stage learns {', '.join(EMOTIONS)}; this corpus has too few of them.")
    model = build(classes + 1, frames=frames, bins=bins, units=config.rhemo_units)
    autoencoder = keras.Model(model.input, model.output["reconstruction"])
    for layer in model.get_layer("rhemo_heads").layers:
        layer.trainable = layer.name.split("_")[0] not in set(COMPONENTS) - set(targets)
    telling = keras.Model(model.input, {name: model.output[name] for name in ("reconstruction", *targets)})
    binary = keras.losses.BinaryCrossentropy
    own = dataclasses.replace(context, history={})

    def stage(one: keras.Model, rows, wanted, batch_size: int, patience: int) -> None:
        images, (learn, check) = cut.images, rows

        def score() -> float:
            found = one.evaluate(images[check], wanted(check), batch_size=batch_size, verbose=0, return_dict=True)
            return -found["loss"]

        with context.timed("fit"):
            one.fit(
                images[learn], wanted(learn), batch_size=batch_size, epochs=config.rhemo_epochs, verbose=0,
                callbacks=[BestEpoch(score, patience, own)],
            )  # fmt: skip

    def restored(rows):
        return cut.images[rows]

    def told(rows):
        return {"reconstruction": cut.images[rows], **{name: values[rows] for name, values in targets.items()}}

    autoencoder.compile(keras.optimizers.Adam(config.rhemo_learning_rate), binary(), jit_compile=jit_compile())
    stage(autoencoder, rows, restored, config.rhemo_batch_size, config.rhemo_patience)
    rated = [name for name in targets if name != "emotion"]
    telling.compile(
        # The public code's weight decay is added to the gradient, Keras' is taken off the weights.
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
    stage(telling, four, told, 20, 30)
    context.history.update(own.history)
    for name in ("encoder", "decoder"):
        model.get_layer(f"rhemo_{name}").save(folder / f"{name}.keras")
    return {"datapoints": [len(some) for some in (*rows, *four)]}
