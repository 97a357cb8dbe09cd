"""The three stages, each an artefact of its fold and seed: what is there already is not made again (Sec. 3, Fig. 1).

    stage1          HuBERT tuned to emotion and gender
    pseudo_labels   codebooks fitted on stage 1's frames, and the label of every frame of the training part
    stage2          HuBERT retrained to tell the labels of masked frames
    stage3          the network that tells emotions

Each is named by a hash of everything that made it: its settings, the utterances, the seed, the stages before. So the
rows of Tables 3 and 4 share stage 1, and a killed run goes on after the last stage that was finished.
"""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from common.artefacts import Artefact, Artefacts
from common.contract import Context, Part
from common.corpus import gender_numbers
from common.errors import UserError
from common.metrics import confusion, ua
from common.models.hubert import truncate
from common.training import BestEpoch, jit_compile, predict_batch, seed_everything, train_epochs
from papers.gmp_atl import model as networks
from papers.gmp_atl.config import GmpConfig
from papers.gmp_atl.data import Batches, Lesson, frame_count, heard, samples
from papers.gmp_atl.pseudo_labels import assign, fit_codebook, read_labels, save_labels, write_frames

_HUBERT = ("hubert", "normalise", "narrowband", "padding_is", "precision")
_TRAINING = (
    *_HUBERT, "hubert_dropout", "layerdrop", "freeze_encoder", "learning_rate", "clip_norm", "batch_size",
    "accumulation", "longest_s", "padding",
)  # fmt: skip

SETTINGS = {
    "stage1": (*_TRAINING, "emotion_weight", "lstm_units", "projection", "epochs1", "patience", "keep"),
    "pseudo_labels": ("layer", "clusters", "kmeans_batch", "kmeans_starts", "kmeans_passes"),
    "stage2": (
        *_TRAINING, "clusters", "label_projection", "heads", "label_weights", "stage2_start", "masked_only",
        "mask_probability", "mask_length", "epochs2",
    ),
    "stage3": (
        *_TRAINING, "loss", "margin", "scale", "lstm_units", "projection", "pooling", "cosines_of",
        "gender_in_stage3", "emotion_weight", "epochs3", "patience", "keep", "pseudo_labels", "plain_start",
    ),
}  # fmt: skip
"""Config fields that could change what a stage makes; those of the stages before enter by their hashes."""

FORMAT = 2
"""Raised when a stage's files change, so that those of another format are not found."""

NUMBERS = {"stage1": 1, "pseudo_labels": 2, "stage2": 3, "stage3": 4}
"""Added to the trial's seed, so that a stage draws the same whether the one before was made or found."""


@dataclass
class Workshop:
    """Makes the stages of one trial.

    Attributes:
        config: settings.
        train: what is learnt from.
        validation: chooses epochs of stages 1 and 3; may be empty.
        context: seed, progress; receives the stages' histories and timings.
        artefacts: where stages are kept.
        devices: among which batches are shared.
    """

    config: GmpConfig
    train: Part
    validation: Part
    context: Context
    artefacts: Artefacts
    devices: int = 1
    _epochs_done: int = field(default=0, init=False)

    def network(self) -> keras.Model:
        """The network of stage 3, and everything before it as far as it is not there yet."""
        config = self.config
        before = None
        if config.pseudo_labels:
            first = self.stage1()
            before = self.stage2(first, self.pseudo_labels(first))
        elif config.plain_start == "stage1":
            before = self.stage1()
        return self.stage3(before)

    def stage1(self) -> Artefact:
        """HuBERT after learning emotion and gender (Sec. 3.1)."""

        def make(folder: Path) -> dict:
            encoder = networks.build_hubert(self.config)
            model = networks.build_stage1(self.config, encoder, len(self.train.classes))
            labels = {"emotion": self.train.labels}
            if "gender" in model.output:
                labels["gender"] = gender_numbers(self.train.table, "Continue without it: --set emotion_weight=1.")
            record = self._learn(model, Lesson(labels), self.config.epochs1, score=True)
            save_weights(folder / "hubert.npz", encoder)
            return record

        return self._get("stage1", [], make)

    def pseudo_labels(self, first: Artefact) -> Artefact:
        """Codebooks of the training part's frames at the chosen layer, and the frames' labels (Sec. 3.1)."""
        config = self.config

        def make(folder: Path) -> dict:
            encoder = networks.build_hubert(config, read_weights(first.folder / "hubert.npz"))
            lengths = frame_count(samples(self.train))
            order: list[int] = []
            file = folder / "frames.f16"
            width = encoder.output["hidden_states"][0].shape[-1]
            states = self._states(truncate(encoder, config.layer), order)
            frames = write_frames(file, states, int(lengths.sum()), width)
            labels = {}
            for clusters in config.cluster_counts:
                centres = fit_codebook(
                    frames, clusters, self.context.seed, batch=config.kmeans_batch, starts=config.kmeans_starts,
                    passes=config.kmeans_passes,
                )  # fmt: skip
                np.save(folder / f"codebook-{clusters}.npy", centres)
                labels[clusters] = assign(frames, centres)
            del frames
            os.unlink(file)  # 1.9 GB for IEMOCAP's four emotions, and nothing asks for it again
            utterances = self.train.table["utterance"].iloc[order].tolist()
            save_labels(folder / "labels.npz", utterances, lengths[order].tolist(), labels)
            return {"history": {}, "frames": int(lengths.sum())}

        return self._get("pseudo_labels", [first], make)

    def stage2(self, first: Artefact, labels: Artefact) -> Artefact:
        """HuBERT after retraining on the pseudo-labels of masked frames (Sec. 3.2)."""

        def make(folder: Path) -> dict:
            start = read_weights(first.folder / "hubert.npz") if self.config.stage2_start == "stage1" else None
            encoder = networks.build_hubert(self.config, start, masking=True)
            model = networks.build_stage2(self.config, encoder)
            by_utterance = read_labels(labels.folder / "labels.npz")
            lesson = Lesson({}, [by_utterance[utterance] for utterance in self.train.table["utterance"]])
            record = self._learn(model, lesson, self.config.epochs2, score=False)
            save_weights(folder / "hubert.npz", encoder)
            return record

        return self._get("stage2", [first, labels], make)

    def stage3(self, before: Artefact | None) -> keras.Model:
        """The network that tells emotions, from the HuBERT of the stage before or the public one (Sec. 3.3)."""

        def build() -> keras.Model:
            start = None if before is None else read_weights(before.folder / "hubert.npz")
            encoder = networks.build_hubert(self.config, start)
            return networks.build_stage3(self.config, encoder, len(self.train.classes))

        def make(folder: Path) -> dict:
            model = build()
            labels = {"emotion": self.train.labels}
            if "gender" in model.output:
                labels["gender"] = gender_numbers(self.train.table, "Continue without it: --set emotion_weight=1.")
            record = self._learn(model, Lesson(labels), self.config.epochs3, score=True)
            save_weights(folder / "network.npz", model)
            return record

        found = self._get("stage3", [] if before is None else [before], make)
        model = build()
        model.set_weights(read_weights(found.folder / "network.npz"))
        return model

    def _get(self, stage: str, before: list[Artefact], make: Callable[[Path], dict]) -> Artefact:
        made_of = {
            "format": FORMAT,
            "config": {name: getattr(self.config, name) for name in SETTINGS[stage]},
            "hubert": networks.checkpoint_digest(self.config),
            "train": self.train.fingerprint,
            "validation": self.validation.fingerprint if len(self.validation) else None,
            "classes": list(self.train.classes),
            "labels": self.train.labels.tolist(),
            "seed": self.context.seed,
            "before": [artefact.digest for artefact in before],
            "backend": keras.backend.backend(),
        }

        def seeded(folder: Path) -> dict:
            gc.collect()  # the stage before; Keras' clear_session would make it forget precision and devices, too
            seed_everything(10 * self.context.seed + NUMBERS[stage])
            with self.context.timed(stage):
                return make(folder)

        artefact = self.artefacts.get(f"gmp_atl/{stage}", made_of, seeded)
        for name, values in artefact.record["history"].items():
            self.context.history[f"{stage}/{name}"] = list(values)
        return artefact

    def _learn(self, model: keras.Model, lesson: Lesson, epochs: int, *, score: bool) -> dict:
        """Trains a stage's network, epochs chosen on validation if `score`; gives the history."""
        lengths = samples(self.train)
        learner = networks.learner(self.config, model) if self.devices == 1 else model

        def batches(epoch: int) -> Batches:
            return Batches(self.config, self.train, lengths, lesson, self.context.seed, epoch, self.devices)

        within = Context(self.context.seed, on_epoch=self._report)
        with self.context.timed("fit"):
            chosen = self._score(learner) if score else None
            train_epochs(learner, batches, epochs, BestEpoch(chosen, self.config.patience, within))
        if not all(math.isfinite(value) for values in within.history.values() for value in values):
            raise UserError(
                f"{model.name} diverged: its loss is no finite number. Lower learning_rate, or use precision=float32."
            )
        if learner is not model:
            model.set_weights(learner.get_weights())
        return {"history": within.history}

    def _report(self, epoch: int, epochs: int, logs: Mapping[str, float]) -> None:
        self._epochs_done += 1
        if self.context.on_epoch is not None:
            config = self.config
            stages = config.pseudo_labels * (config.epochs1 + config.epochs2) + config.epochs3
            self.context.on_epoch(min(self._epochs_done, stages), stages, logs)

    def _score(self, model: keras.Model) -> Callable[[], float] | None:
        """UA on the whole validation part; None if the last epoch is kept."""
        if not len(self.validation) or self.config.keep == "last":
            return None

        def score() -> float:
            answers = outputs(model, self.validation, self.config, self.devices).argmax(axis=1)
            return float(ua(confusion(self.validation.labels, answers, len(self.train.classes))))

        return score

    def _states(self, model: keras.Model, order: list[int]):
        """Hidden states of every utterance of the training part, without padding; `order` receives its row."""
        model.compile(jit_compile=jit_compile())
        for rows, inputs in heard(self.train, self._size, self.devices):
            states = predict_batch(model, {name: inputs[name] for name in model.input})
            for row, state, length in zip(rows, states, inputs["lengths"], strict=False):
                order.append(int(row))
                yield np.asarray(state, np.float32)[: frame_count(int(length))]

    @property
    def _size(self) -> int:
        return max(1, self.config.batch_size // self.config.accumulation)


def outputs(model: keras.Model, part: Part, config: GmpConfig, devices: int = 1) -> np.ndarray:
    """Logits or cosines of the emotions, float64, shape (utterances, classes)."""
    result: np.ndarray | None = None
    for rows, inputs in heard(part, max(1, config.batch_size // config.accumulation), devices):
        found = np.asarray(predict_batch(model, inputs)["emotion"], np.float64)
        if result is None:
            result = np.empty((len(part), found.shape[1]))
        result[rows] = found[: len(rows)]
    return result


def save_weights(file: Path, model: keras.Model) -> None:
    """Writes a network's weights, without its optimiser."""
    np.savez(file, **{f"{number:04d}": weight for number, weight in enumerate(model.get_weights())})


def read_weights(file: Path) -> list[np.ndarray]:
    """Weights that a stage left."""
    with np.load(file, allow_pickle=False) as stored:
        return [stored[name] for name in sorted(stored.files)]
