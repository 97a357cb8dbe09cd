"""The three stages of a trial, each an artefact: a stage that is kept already is not trained again (Sec. 3, Fig. 1).

    stage1          HuBERT fine-tuned to emotion and gender
    pseudo_labels   codebooks fitted on stage 1's frames of the training part, and the labels of these frames
    stage2          HuBERT retrained to predict the labels of masked frames
    stage3          the network that predicts emotions

An artefact is named by a hash of everything that it is made of: its settings, the utterances, the seed, the earlier
stages. So the rows of Tables 3 and 4 share stage 1, and a killed run continues after the last finished stage.
"""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from common.artefacts import Artefact, Artefacts
from common.contract import Context, Part
from common.corpus import gender_numbers
from common.errors import UserError
from common.metrics import confusion, ua
from common.models.speech_encoder import truncate
from common.training import BestEpoch, jit_compile, predict_batch, seed_everything, train_epochs
from papers.gmp_atl import model as networks
from papers.gmp_atl.config import GmpConfig
from papers.gmp_atl.pseudo_labels import assign, fit_codebook, read_labels, save_labels, write_frames
from papers.gmp_atl.waveforms import Batches, StageLabels, frame_count, inference_batches, sample_counts

_HUBERT = ("hubert", "normalise", "narrowband", "padding_is", "precision")
_TRAINING = (
    *_HUBERT, "hubert_dropout", "layerdrop", "tune", "learning_rate", "head_learning_rate", "warmup_steps", "clip_norm",
    "batch_size", "accumulation", "longest_s",
)  # fmt: skip
_FINE_TUNING = (*_TRAINING, "augment_probability", "augment_length")

SETTINGS = {
    "stage1": (*_FINE_TUNING, "emotion_weight", "lstm_units", "projection", "epochs1", "patience", "keep"),
    "pseudo_labels": ("layer", "clusters", "kmeans_batch", "kmeans_starts", "kmeans_passes"),
    "stage2": (
        *_TRAINING, "clusters", "label_projection", "heads", "label_weights", "stage2_start", "masked_only",
        "mask_probability", "mask_length", "epochs2",
    ),
    "stage3": (
        *_FINE_TUNING, "loss", "margin", "scale", "lstm_units", "projection", "pooling", "cosines_of",
        "gender_in_stage3", "emotion_weight", "epochs3", "patience", "keep", "pseudo_labels", "plain_start",
    ),
}  # fmt: skip
"""Config fields that can change what a stage makes, except those of earlier stages, whose hashes enter as well."""

FORMAT = 3
"""Increased when the files of a stage change, so that older files are not found."""

STAGE_NUMBERS = {"stage1": 1, "pseudo_labels": 2, "stage2": 3, "stage3": 4}
"""Part of each stage's seed, so that it draws the same whether earlier stages are trained or read."""


@dataclass
class TrainingStages:
    """Trains the stages of one trial.

    Attributes:
        config: settings.
        train: training part.
        validation: chooses the epochs of stages 1 and 3; may be empty.
        context: seed, progress; receives the stages' histories and timings.
        artefacts: where stages are kept.
        devices: number of devices that share each batch.
    """

    config: GmpConfig
    train: Part
    validation: Part
    context: Context
    artefacts: Artefacts
    devices: int = 1
    _epochs_done: int = field(default=0, init=False)

    def train_network(self) -> keras.Model:
        """Trains stage 3 and all stages that it needs, and returns its network."""
        config = self.config
        before = self.train_stage1() if config.trains_stage1 else None
        if config.pseudo_labels:
            before = self.train_stage2(before, self.make_pseudo_labels(before))
        return self.train_stage3(before)

    def train_stage1(self) -> Artefact:
        """Fine-tunes HuBERT to emotion and gender (Sec. 3.1)."""

        def make(folder: Path) -> dict:
            encoder = networks.build_hubert(self.config, stage=1)
            model = networks.build_stage1(self.config, encoder, len(self.train.classes))
            record = self._train(model, self._utterance_labels(model), self.config.epochs1, choose_epoch=True)
            save_weights(folder / "hubert.npz", encoder)
            return record

        return self._artefact("stage1", [], make)

    def make_pseudo_labels(self, stage1: Artefact | None) -> Artefact:
        """Fits codebooks on the training part's frames at the chosen layer, and labels these frames (Sec. 3.1).

        Args:
            stage1: whose HuBERT computes the frames; None: the one that a config names.
        """
        config = self.config

        def make(folder: Path) -> dict:
            encoder = networks.build_hubert(config, _hubert_of(stage1))
            lengths = frame_count(sample_counts(self.train))
            order: list[int] = []
            file = folder / "frames.f16"
            width = encoder.output["hidden_states"][0].shape[-1]
            states = self._hidden_states(truncate(encoder, config.layer), order)
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
            os.unlink(file)  # 1.9 GB for IEMOCAP's four emotions, and not needed any more
            utterances = self.train.table["utterance"].iloc[order].tolist()
            save_labels(folder / "labels.npz", utterances, lengths[order].tolist(), labels)
            return {"history": {}, "frames": int(lengths.sum())}

        return self._artefact("pseudo_labels", [stage1], make)

    def train_stage2(self, stage1: Artefact | None, pseudo_labels: Artefact) -> Artefact:
        """Retrains HuBERT on the pseudo-labels of masked frames (Sec. 3.2)."""

        def make(folder: Path) -> dict:
            start = _hubert_of(stage1) if self.config.stage2_start == "stage1" else None
            encoder = networks.build_hubert(self.config, start, stage=2)
            model = networks.build_stage2(self.config, encoder)
            by_utterance = read_labels(pseudo_labels.folder / "labels.npz")
            labels = StageLabels({}, [by_utterance[utterance] for utterance in self.train.table["utterance"]])
            record = self._train(model, labels, self.config.epochs2, choose_epoch=False)
            save_weights(folder / "hubert.npz", encoder)
            return record

        return self._artefact("stage2", [stage1, pseudo_labels], make)

    def train_stage3(self, before: Artefact | None) -> keras.Model:
        """Trains the network that predicts emotions, from an earlier stage's HuBERT or the public one (Sec. 3.3)."""

        def build() -> keras.Model:
            encoder = networks.build_hubert(self.config, _hubert_of(before), stage=3)
            return networks.build_stage3(self.config, encoder, len(self.train.classes))

        def make(folder: Path) -> dict:
            model = build()
            record = self._train(model, self._utterance_labels(model), self.config.epochs3, choose_epoch=True)
            save_weights(folder / "network.npz", model)
            return record

        found = self._artefact("stage3", [before], make)
        model = build()
        model.set_weights(read_weights(found.folder / "network.npz"))
        return model

    def _utterance_labels(self, model: keras.Model) -> StageLabels:
        """Labels of the training utterances for each output of a network: emotions, and genders if it predicts them."""
        labels = {"emotion": self.train.labels}
        if "gender" in model.output:
            labels["gender"] = gender_numbers(self.train.table, "Continue without it: --set emotion_weight=1.")
        return StageLabels(labels)

    def _artefact(self, stage: str, before: list[Artefact | None], make: Callable[[Path], dict]) -> Artefact:
        """Reads a stage, or makes it with its own seed; its history becomes part of the trial's."""
        made_of = {
            "format": FORMAT,
            "config": {name: getattr(self.config, name) for name in SETTINGS[stage]},
            "hubert": networks.checkpoint_digest(self.config),
            "train": self.train.fingerprint,
            "validation": self.validation.fingerprint if len(self.validation) else None,
            "classes": list(self.train.classes),
            "labels": self.train.labels.tolist(),
            "seed": self.context.seed,
            "before": [artefact.digest for artefact in before if artefact is not None],
            "backend": keras.backend.backend(),
        }

        def make_seeded(folder: Path) -> dict:
            gc.collect()  # frees the stage before; Keras' clear_session would also reset precision and devices
            seed_everything(10 * self.context.seed + STAGE_NUMBERS[stage])
            with self.context.timed(stage):
                return make(folder)

        artefact = self.artefacts.get(f"gmp_atl/{stage}", made_of, make_seeded)
        for name, values in artefact.record["history"].items():
            self.context.history[f"{stage}/{name}"] = list(values)
        return artefact

    def _train(self, model: keras.Model, labels: StageLabels, epochs: int, *, choose_epoch: bool) -> dict:
        """Trains the network of a stage and returns its history; `choose_epoch` on the validation part, if any."""
        lengths = sample_counts(self.train)
        trained = networks.traced_network(self.config, model) if self.devices == 1 else model

        def batches(epoch: int) -> Batches:
            return Batches(self.config, self.train, lengths, labels, self.context.seed, epoch, self.devices)

        context = Context(self.context.seed, on_epoch=self._report_epoch)
        with self.context.timed("fit"):
            score = self._validation_score(trained) if choose_epoch else None
            train_epochs(trained, batches, epochs, BestEpoch(score, self.config.patience, context))
        if not all(math.isfinite(value) for values in context.history.values() for value in values):
            raise UserError(
                f"{model.name} diverged: its loss is not finite. Lower learning_rate, or use precision=float32."
            )
        if trained is not model:
            model.set_weights(trained.get_weights())
        return {"history": context.history}

    def _report_epoch(self, epoch: int, epochs: int, logs: Mapping[str, float]) -> None:
        """Reports progress over the epochs of all stages."""
        self._epochs_done += 1
        if self.context.on_epoch is not None:
            config = self.config
            total = config.trains_stage1 * config.epochs1 + config.pseudo_labels * config.epochs2 + config.epochs3
            self.context.on_epoch(min(self._epochs_done, total), total, logs)

    def _validation_score(self, model: keras.Model) -> Callable[[], float] | None:
        """Function that computes the UA of the whole validation part; None if the last epoch is kept."""
        if not len(self.validation) or self.config.keep == "last":
            return None

        def score() -> float:
            predicted = predict_outputs(model, self.validation, self.config, self.devices).argmax(axis=1)
            return float(ua(confusion(self.validation.labels, predicted, len(self.train.classes))))

        return score

    def _hidden_states(self, model: keras.Model, order: list[int]) -> Iterator[np.ndarray]:
        """Yields each training utterance's hidden states without padding, and appends its row to `order`."""
        model.compile(jit_compile=jit_compile())
        for rows, inputs in inference_batches(self.train, _step_size(self.config), self.devices):
            states = predict_batch(model, {name: inputs[name] for name in model.input})
            for row, state, length in zip(rows, states, inputs["lengths"], strict=False):
                order.append(int(row))
                yield np.asarray(state, np.float32)[: frame_count(int(length))]


def _step_size(config: GmpConfig) -> int:
    """Utterances that are computed together: a batch, or a part of it if gradients are accumulated."""
    return max(1, config.batch_size // config.accumulation)


def predict_outputs(model: keras.Model, part: Part, config: GmpConfig, devices: int = 1) -> np.ndarray:
    """Predicts logits or cosines of the emotions, float64, shape (utterances, classes)."""
    result = np.empty((len(part), model.output["emotion"].shape[-1]))
    for rows, inputs in inference_batches(part, _step_size(config), devices):
        result[rows] = predict_batch(model, {name: inputs[name] for name in model.input})["emotion"][: len(rows)]
    return result


def _hubert_of(stage: Artefact | None) -> list[np.ndarray] | None:
    """Weights of the HuBERT that a stage made; None: those of the one that a config names."""
    return None if stage is None else read_weights(stage.folder / "hubert.npz")


def save_weights(file: Path, model: keras.Model) -> None:
    """Writes the weights of a network, without those of its optimiser."""
    np.savez(file, **{f"{number:04d}": weight for number, weight in enumerate(model.get_weights())})


def read_weights(file: Path) -> list[np.ndarray]:
    """Reads weights that `save_weights` wrote."""
    with np.load(file, allow_pickle=False) as stored:
        return [stored[name] for name in sorted(stored.files)]
