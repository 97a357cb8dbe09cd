"""Settings of quaternion anti-transfer (Guizzo et al. 2023), each with its source in the paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from common.contract import setting
from common.errors import UserError

LAYERS = 13
"""Number of convolutions of VGG16."""


def layer_name(layer: int) -> str:
    """A layer in ids of Figure 2, for example "layer02"."""
    return f"layer{layer:02d}"


TASKS = {"speakers": "S", "words": "W"}
"""Letter in Table 1 of each orthogonal task, by the config field that names the task's network."""


@dataclass(frozen=True)
class QuaternionAtConfig:
    """A network, its anti-transfer and its training; also the settings of the pretrainings.

    A field's `source` is a section, equation or table of the paper, or says "not given" and lists the alternatives.
    """

    network: Literal["real", "quaternion"] = setting("real", "Table 1, column Arch.: Real or Quat")
    rhemo: str = setting(
        "none",
        "Sec. 3.1: none (magnitudes) for real networks; newest, the one pretrained last, for quaternion "
        "ones; or an artefact's digest; or random: fixed random weights; or, ours, fold: trained on the fold's "
        "training part only",
    )
    rhemo_training: Literal["trainable", "frozen"] = setting(
        "trainable", "Sec. 3.1: trainable; or frozen, as in the authors' code"
    )
    anti_transfer: Literal["none", "S", "W", "SW", "WS"] = setting("none", "Table 1, column AT Type")
    at_layers: str = setting(
        "1-13", "Sec. 3.2: the layer of 1 to 13 with the best validation accuracy; or of fewer, as in 2,5-8, or one"
    )
    at_tries: int = setting(LAYERS, "Sec. 3.2: all of at_layers are tried; fewer, evenly spread, is ours, for a laptop")
    at_beta: float = setting(1.0, "not given: 1 is the default of the authors' code; Eq. 1 gives no value")
    at_variant: Literal["paper", "authors"] = setting(
        "paper", "Eq. 1, for each datapoint; or authors: one Gram matrix for the batch, as in their code"
    )
    at_reading: Literal["output", "input"] = setting(
        "output", "not given: the layer's output after ReLU; or its input, as in the authors' code"
    )
    speakers: str = setting(
        "none",
        "Sec. 3.1: the speaker recognition network: newest (for rows S, SW, WS), an artefact's digest, random or none",
    )
    words: str = setting(
        "none",
        "Sec. 3.1: the word recognition network: newest (for rows W, SW, WS), an artefact's digest, random or none",
    )
    transfer: str = setting(
        "none",
        "Sec. 3.2.1: the baselines on RAVDESS and TESS, once more, start from a network trained on IEMOCAP's emotions: "
        "newest, an artefact's digest, random or none",
    )
    dual_last_layer: Literal["fresh", "kept"] = setting(
        "fresh", "not given: the second training of SW and WS resets the last layer, as in the code; or keeps it"
    )
    width: float = setting(1.0, "Sec. 3.1: VGG16, 64 to 512 channels, 4096 units; other factors are ours, for a laptop")
    pooling: Literal["flatten", "adaptive"] = setting(
        "flatten",
        "Table 1, column Params: 1.6e8 and 1e7 are without adaptive pooling; Sec. 3.1 says that real networks have it, "
        "which gives 1.3e8",
    )
    dropout: float = setting(0.5, "Sec. 3.1: torchvision's VGG16")
    initializer: Literal["default", "glorot", "he"] = setting(
        "default", "Sec. 3.1: torchvision's VGG16; for quaternion layers not given: their public code's; or glorot, he"
    )
    normalisation: Literal["auto", "unit", "standard"] = setting(
        "auto", "Sec. 3.1: magnitudes are scaled to 0..1 (unit) with RH-Emo, else to mean 0, deviation 1 (standard)"
    )
    chunks: Literal["code", "all"] = setting(
        "code",
        "not given: Sec. 3.1 has non-overlapping chunks of 4 s; code: time is reversed, and an incomplete last chunk "
        "is dropped up to 8 s and overlaps after that; all: time is kept, and the last chunk is zero-padded",
    )
    shrink: int = setting(1, "Sec. 3.1: 512 x 128 cells; averaging n x n of them is ours, for a laptop")
    learning_rate: float = setting(1e-5, "Sec. 3.1; Adam")
    batch_size: int = setting(20, "Sec. 3.1; the authors' configs have 40")
    epochs: int = setting(1000, "not given: at most 1000, as in the authors' code; early stopping comes before")
    patience: int = setting(20, "Sec. 3.1: epochs without a lower validation loss after which training stops")
    task_learning_rate: float = setting(5e-5, "not given: orthogonal tasks; 5e-5 with Adam in the authors' code")
    task_batch_size: int = setting(40, "not given: 38 to 40 for real, 300 for quaternion networks in the authors' code")
    task_epochs: int = setting(500, "not given: at most 50 to 1000 in the authors' code")
    task_patience: int = setting(20, "not given: 5, 10 and 20 in the authors' code")
    task_steps: int = setting(
        5000, "not given: at least so many steps, however few chunks or words a corpus gives; 0: task_epochs alone"
    )
    task_share: float = setting(0.2, "not given: share that validates an orthogonal task, half as many test: 70/20/10")
    speaker_labels: Literal["speaker", "session"] = setting(
        "speaker", "Sec. 3.1: speakers; or IEMOCAP's five sessions, as in the authors' code"
    )
    word_classes: int = setting(1000, "Sec. 3.1: 1000 words, here the most frequent ones")
    word_segments: int = setting(120_000, "not given: spoken words in use at most, as in the authors' reduced data")
    alignments: str = setting(
        "audio",
        "not given: folder with the times of the words; audio: the recordings' folder, or else the one of `ser fetch "
        "librispeech-alignments`",
    )
    rhemo_units: int = setting(4096, "not given: hidden units of RH-Emo's heads; 4096 in its public code")
    rhemo_beta: float = setting(0.01, "not given: weight of the emotion losses; 0.01 in the public code")
    rhemo_beta_vad: float = setting(100.0, "not given: factor of it for valence, arousal, dominance; 100 in the code")
    rhemo_learning_rate: float = setting(1e-3, "not given: stage 1, the autoencoder; 1e-3 in the public code")
    rhemo_tuning_rate: float = setting(1e-6, "not given: stage 2, with the heads; 1e-6 in the public code")
    rhemo_batch_size: int = setting(50, "not given: stage 1; 50 in the public code, which takes 20 in stage 2")
    rhemo_epochs: int = setting(1000, "not given: per stage; 200,000 in the public code, which stops before")
    rhemo_patience: int = setting(100, "not given: stage 1; 100 in the public code, which takes 30 in stage 2")
    rhemo_steps: int = setting(
        5000,
        "not given: stage 1 has at least so many steps, however few chunks a corpus gives; 0: rhemo_epochs alone",
    )
    rhemo_start: Literal["mean", "zero"] = setting(
        "mean",
        "not given: the decoder starts at the mean magnitude; or at zero, that is at 0.5 after its sigmoid, as in the "
        "public code: magnitudes are hundreds of times smaller, and the embedding dies while the output comes down",
    )
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = setting(
        "float32", "not given: float32; mixed_float16 or mixed_bfloat16 on a GPU"
    )

    def __post_init__(self):
        self.layers()
        if self.network == "quaternion" and self.rhemo == "none":
            raise UserError(
                "A quaternion network needs a multiple of four channels, but a spectrogram has one. Use RH-Emo's "
                "embedding: rhemo=newest (or random)."
            )
        missing = [name for name in self.tasks if getattr(self, name) == "none"]
        if missing:
            raise UserError(
                f"Anti-transfer {self.anti_transfer} needs the networks of its tasks: set {missing[0]}=newest."
            )
        if self.rhemo == "fold" and "newest" in [self.transfer, *(getattr(self, name) for name in self.tasks)]:
            raise UserError(
                "A pretrained network is trained on one RH-Emo's embeddings, but rhemo=fold makes one per "
                "fold. Use rhemo=newest, or name the network by its digest."
            )
        if self.rhemo == "fold" and self.scaling != "unit":
            raise UserError("RH-Emo reconstructs magnitudes in 0..1, so rhemo=fold needs normalisation auto or unit.")
        numbers = (self.batch_size, self.epochs, self.patience, self.at_tries, self.shrink, self.word_classes)
        if min(*numbers, self.task_batch_size, self.task_epochs, self.rhemo_epochs) < 1:
            raise UserError("batch sizes, epochs, patience, at_tries, shrink and word_classes must be at least 1.")
        if min(self.rhemo_steps, self.task_steps) < 0:
            raise UserError("rhemo_steps and task_steps must not be negative.")
        if min(self.learning_rate, self.task_learning_rate, self.width) <= 0 or not 0 <= self.dropout < 1:
            raise UserError("learning rates and width must be positive, dropout in [0, 1).")
        if self.at_beta < 0 or not 0 < self.task_share < 1:
            raise UserError("at_beta must not be negative, task_share must be between 0 and 1.")

    @property
    def tasks(self) -> tuple[str, ...]:
        """Orthogonal tasks in the order of training, as the names of their config fields."""
        fields = {letter: name for name, letter in TASKS.items()}
        return () if self.anti_transfer == "none" else tuple(fields[letter] for letter in self.anti_transfer)

    @property
    def window_s(self) -> float:
        """Length of a chunk, in seconds; longer recordings are predicted in windows of this length."""
        return 4.0

    @property
    def without_effect(self) -> frozenset[str]:
        """Fields that change nothing of an experiment under the other settings; some are for `ser pretrain` alone."""
        idle = {name for name in TASKS if name not in self.tasks}
        idle |= {name for name in PRETRAINING_FIELDS if not (self.rhemo == "fold" and name in FOLD_FIELDS)}
        if not self.tasks:
            idle |= {"at_layers", "at_tries", "at_beta", "at_variant", "at_reading"}
        elif self.at_layers.isdigit():
            idle.add("at_tries")
        if len(self.tasks) < 2:
            idle.add("dual_last_layer")
        if self.rhemo == "none":
            idle.add("rhemo_training")
        if "speakers" not in self.tasks:  # otherwise it chooses among the pretrained networks
            idle.add("speaker_labels")
        return frozenset(idle)

    @property
    def scaling(self) -> str:
        """Normalisation of the magnitudes: "unit" or "standard"."""
        if self.normalisation != "auto":
            return self.normalisation
        return "standard" if self.rhemo == "none" else "unit"

    @property
    def variant(self) -> str:
        """`at_variant` in the words of `common.layers.anti_transfer`."""
        return "datapoint" if self.at_variant == "paper" else "batch"

    def layers(self) -> tuple[int, ...]:
        """The anti-transfer layers to choose among, ascending.

        Raises:
            UserError: `at_layers` is not written like 2, 2,5 or 1-13, or names layers that VGG16 does not have.
        """
        found: set[int] = set()
        for piece in self.at_layers.split(","):
            first, dash, last = piece.strip().partition("-")
            if not first.isdigit() or (dash and not last.isdigit()):
                raise UserError(f"at_layers cannot be '{self.at_layers}'; write 2, or 2,5, or 1-{LAYERS}.")
            found |= set(range(int(first), int(last if dash else first) + 1))
        if not found or not found <= set(range(1, LAYERS + 1)):
            raise UserError(f"at_layers is '{self.at_layers}'; VGG16 has the convolutions 1 to {LAYERS}.")
        ordered = sorted(found)
        if self.at_tries >= len(ordered):
            return tuple(ordered)
        if self.at_tries == 1:
            return (ordered[0],)
        step = (len(ordered) - 1) / (self.at_tries - 1)
        return tuple(ordered[round(number * step)] for number in range(self.at_tries))


def at_least_steps(steps: int, steps_per_epoch: int, epochs: int, patience: int) -> tuple[int, int]:
    """Epochs and patience of a training that has enough steps even on a small corpus, whose epochs are short.

    Args:
        steps: least number of steps, unless the patience ends the training.
        steps_per_epoch: number of batches.
        epochs: least number of epochs.
        patience: least patience; a tenth of the epochs that the steps need, if that is more.
    """
    needed = -(steps // -steps_per_epoch)
    return max(epochs, needed), max(patience, needed // 10)


FOLD_FIELDS = (
    "task_share", "rhemo_units", "rhemo_beta", "rhemo_beta_vad", "rhemo_learning_rate", "rhemo_tuning_rate",
    "rhemo_batch_size", "rhemo_epochs", "rhemo_patience", "rhemo_steps", "rhemo_start",
)  # fmt: skip
"""Settings of RH-Emo's training."""

PRETRAINING_FIELDS = (
    *FOLD_FIELDS, "task_learning_rate", "task_batch_size", "task_epochs", "task_patience", "task_steps",
    "word_classes", "word_segments", "alignments",
)  # fmt: skip
"""Settings of `ser pretrain`."""

SCALED = {
    "at_tries": 2,
    "width": 0.0625,
    "initializer": "he",
    "shrink": 2,
    "learning_rate": 1e-3,
    "epochs": 24,
    "patience": 24,
    "task_learning_rate": 1e-3,
    "task_batch_size": 20,
    "task_epochs": 10,
    "task_steps": 1000,
    "word_segments": 2000,
    "rhemo_units": 64,
    "rhemo_learning_rate": 1e-2,
    "rhemo_batch_size": 10,
    "rhemo_epochs": 5,
    "rhemo_steps": 600,
}
"""Changes of --scaled: a sixteenth of the channels and a quarter of the cells, which two cores train in seconds."""
