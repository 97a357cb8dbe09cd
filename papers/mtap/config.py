"""Settings of MTAP (Wen et al. 2023), each with its source in the paper."""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from common.contract import setting
from common.errors import UserError


@dataclass(frozen=True)
class MtapConfig:
    """A network, its loss and its training.

    A field's `source` is a section, equation or table of the paper, or says "not given" and lists the alternatives.
    """

    backbone: Literal["densenet169", "resnet50", "small_cnn"] = setting(
        "densenet169", "Sec. 5.2.2; ResNet50 in Tables 4-7; small_cnn is ours, for a CPU"
    )
    weights: Literal["imagenet", "random"] = setting("imagenet", "Sec. 5.2.2")
    loss: Literal["softmax", "focal", "arcface", "apfl"] = setting("softmax", "Sec. 3.1 and the rows of Tables 1-3")
    gamma: float = setting(0.0, "Eq. 1; each row of Tables 1-3 and 6")
    margin: float = setting(0.0, "Eq. 2; each row of Tables 1-3, m = 0.3 in Table 6; radians")
    scale: float = setting(10.0, "Sec. 5.2.2: s = 10; only for losses on cosines")
    checkpoint_input: Literal["statistics", "pixels", "unchanged"] = setting(
        "statistics",
        "not given: ImageNet weights expect pixels as their checkpoint's preprocessing leaves them (ResNet50: caffe, "
        "deviation 58; DenseNet169: torch, deviation 1). The training images get ImageNet's mean and deviation, then "
        "that preprocessing; or pixels: they become grey images from 0 to 255 first; or unchanged",
    )
    tune: Literal["all", "last", "head"] = setting(
        "all",
        "not given: all layers of a backbone with ImageNet weights; or the last of its four stages; or none, only the "
        "head. Random weights are all trained",
    )
    safeguard: bool = setting(
        True,
        "not given: for theta > pi - m, Eq. 2 rewards a larger angle; true: cos(theta) - m sin(m) there, as in "
        "ArcFace's code; false: Eq. 2 as it is",
    )
    choose: bool = setting(
        False, "not given how Tables 1-3 found gamma and m: as printed; or true: by the validation UA, from the grids"
    )
    gamma_grid: str = setting("0.1,0.2,0.5,1,2,5", "Sec. 5.2.2: 0.10 to 5.0 and dots, which are left out")
    margin_grid: str = setting("0.2,0.3,0.4,0.5", "Sec. 5.2.2: from 0.2 to 0.5; the step is not given: 0.1")
    frames: int = setting(400, "Sec. 5.2.1: 600 IEMOCAP, 500 SAVEE, 400 EMODB")
    bins: int = setting(400, "Sec. 5.2.1: F = 400")
    frame_ms: float = setting(40.0, "Sec. 5.2.1")
    hop_ms: float = setting(10.0, "Sec. 5.2.1")
    dft_length: int = setting(
        1600,
        "not given: 1600 (10 Hz per bin, 400 bins = 0-4 kHz) as in the cited recipe (Satt et al. 2017); "
        "800 would give 401 bins of 20 Hz up to 8 kHz",
    )
    spectrum: Literal["log", "magnitude"] = setting(
        "log", "not given: the paper says DFT; logarithm of the magnitudes as in the cited recipe; or the magnitudes"
    )
    floor_db: float = setting(
        -100.0, "not given: added to the magnitudes before the logarithm, relative to a full-scale sine; -60 to -120"
    )
    trimming: Literal["both", "tail", "head"] = setting(
        "both", "Sec. 5.2.1: head and tail are cut, not given how: equally; or only the tail; or only the head"
    )
    padding: Literal["zero", "silence"] = setting(
        "zero",
        "Sec. 5.2.1: zero padding, not given before or after normalising: after it, where 0 is the mean; or silence, "
        "magnitudes of 0 before it",
    )
    channels: Literal["repeat", "deltas"] = setting(
        "repeat",
        "not given: the backbones expect three channels: the spectrogram three times; or with its first and second "
        "differences over time (slopes over 5 frames)",
    )
    normalisation: Literal["bin", "corpus", "none"] = setting(
        "bin",
        "not given: each bin gets mean 0 and deviation 1 over the training frames; "
        "or one mean and deviation for all bins; or none",
    )
    dropout: float = setting(0.0, "not given: none before the head; 0.5 is common")
    optimiser: Literal["adam", "sgd"] = setting("adam", "not given: Adam, or SGD with Nesterov momentum 0.9")
    learning_rate: float | None = setting(
        None, "not given: none: 1e-4 to fine-tune ImageNet weights, 1e-3 if all trained weights start at random"
    )
    batch_size: int = setting(32, "not given: 16 to 64")
    epochs: int = setting(50, "not given")
    patience: int = setting(10, "not given: epochs without a better validation UA before a stop; or no early stop")
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = setting("float32", "not given")
    image: bool = setting(True, "Table 4, column Image: the spectrogram through the backbone")
    text: bool = setting(False, "Table 4, column Text: features of the transcript from BERT (Sec. 4.2)")
    audio: bool = setting(False, "Table 4, column Audio: features of the recording from VGGish (Sec. 4.3)")
    gender_head: Literal["none", "a", "b", "c"] = setting(
        "none",
        "Table 5 and Fig. 2: gender from image (a, MTL-A), image and audio (b, MTL-B) or all features (c, MTL-C)",
    )
    gender_weight: float = setting(0.0, "Sec. 4.1: lambda; each row of Table 5")
    bert: str = setting(
        "bert-base-uncased",
        "Sec. 4.2: BERT base, cased or not is not given; or a folder in Hugging Face's format; a preset of keras-hub "
        "(bert_base_en, bert_base_multi); or random, random-tiny",
    )
    text_pooling: Literal["pooled", "cls", "mean"] = setting(
        "pooled", "not given: BERT's pooled output; the first token; the mean over tokens"
    )
    vggish: str = setting(
        "google/vggish", "Sec. 4.3: VGGish; or folder or handle of a SavedModel; or random, random-tiny"
    )
    audio_pooling: Literal["mean", "max"] = setting(
        "mean", "not given: mean or maximum of the vectors of an utterance's segments of 0.96 s"
    )
    vggish_pca: str = setting("", "not given: raw embeddings; or the file of AudioSet's PCA, for 8-bit embeddings")
    frozen_scaling: Literal["standard", "unit", "none"] = setting(
        "standard",
        "not given: text and audio features get mean 0 and deviation 1 each over the training utterances; "
        "or each vector gets length 1; or none",
    )
    projection: int = setting(
        0, "not given: 0, F is the plain concatenation (Sec. 4.3); or the width of a dense layer for text and for audio"
    )
    keep_features: bool = setting(False, "Sec. 5.2.6 and 5.3.1 (Fig. 4 and 5): keep F of the test utterances")

    def __post_init__(self):
        if self.loss == "arcface" and not 0 < self.margin <= math.pi:
            raise UserError(f"The loss arcface needs a margin in (0, pi]; it is {self.margin}.")
        if self.loss == "apfl" and not 0 <= self.margin <= math.pi:
            raise UserError(f"The loss apfl needs a margin in [0, pi]; it is {self.margin}.")
        if self.loss in ("focal", "apfl") and self.gamma <= 0:
            raise UserError(f"The loss {self.loss} needs gamma > 0; it is {self.gamma}.")
        if min(self.frames, self.bins, self.batch_size, self.epochs, self.patience) < 1:
            raise UserError("frames, bins, batch_size, epochs and patience must be at least 1.")
        if self.image:
            self._check_spectrogram()
        if not self.start_learning_rate > 0 or not 0 <= self.dropout < 1 or not self.scale > 0:
            raise UserError("learning_rate and scale must be positive, dropout in [0, 1).")
        if not self.modalities:
            raise UserError("At least one of image, text and audio must be true.")
        absent = [name for name in GENDER_FEATURES[self.gender_head] if name not in self.modalities]
        if absent:
            raise UserError(f"gender_head={self.gender_head} needs {absent[0]}=true.")
        if (self.gender_weight > 0) != (self.gender_head != "none") or self.gender_weight < 0 or self.projection < 0:
            raise UserError(
                "gender_weight must be positive with a gender head and 0 without; projection must be at least 0."
            )
        for choice in self.choices:
            dataclasses.replace(self, choose=False, **choice)  # refuses impossible values

    def _check_spectrogram(self) -> None:
        available = self.dft_length // 2 + 1
        if self.bins > available:
            raise UserError(
                f"A DFT of dft_length={self.dft_length} has {available} bins, but bins is {self.bins}. "
                "Use fewer bins or a longer DFT."
            )
        shortest, longest = 1 / SAMPLES_PER_MS, self.dft_length / SAMPLES_PER_MS
        if not shortest <= self.frame_ms <= longest:
            raise UserError(
                f"frame_ms must be from {shortest:g} (one sample) to {longest:g} (dft_length={self.dft_length} samples "
                f"at 16 kHz); it is {self.frame_ms:g}."
            )
        if self.hop_ms < shortest:
            raise UserError(f"hop_ms must be at least {shortest:g} (one sample at 16 kHz); it is {self.hop_ms:g}.")
        if not -200 <= self.floor_db <= 0:
            raise UserError(f"floor_db must be in [-200, 0]; it is {self.floor_db:g}.")

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities in use, in the order of F = Concat(image, text, audio)."""
        return tuple(name for name in ("image", "text", "audio") if getattr(self, name))

    @property
    def window_s(self) -> float:
        """How much of a recording the network takes in at once, in seconds; longer ones are predicted in windows."""
        return (self.frame_ms + (self.frames - 1) * self.hop_ms) / 1000

    needs_validation: ClassVar = frozenset({"patience"})
    """Fields that act through the validation part."""

    @property
    def without_effect(self) -> frozenset[str]:
        """Fields that change nothing under the other settings."""
        chosen = {name for choice in self.choices for name in choice}
        idle = {name for name, losses in USED_BY_LOSSES.items() if self.loss not in losses} | chosen
        idle |= {grid for name, grid in GRIDS.items() if name not in chosen}
        if self.loss == "softmax":
            idle.add("choose")
        if "margin" in idle - chosen or not (self.margin or self.choices):
            idle.add("safeguard")
        for modality, fields in MODALITY_FIELDS.items():
            if not getattr(self, modality):
                idle |= set(fields)
        if not (self.text or self.audio):
            idle |= {"frozen_scaling", "projection"}
        if self.weights == "random":
            idle |= {"checkpoint_input", "tune"}
        if self.spectrum == "magnitude":
            idle.add("floor_db")
        return frozenset(idle)

    @property
    def choices(self) -> tuple[dict[str, float], ...]:
        """Values of gamma and margin to choose from, for those that the loss uses; empty if nothing is chosen."""
        names = [name for name in GRIDS if self.choose and self.loss in USED_BY_LOSSES[name]]
        values = [_numbers(grid, getattr(self, grid)) for grid in (GRIDS[name] for name in names)]
        return tuple(dict(zip(names, some, strict=True)) for some in itertools.product(*values)) if names else ()

    @property
    def start_learning_rate(self) -> float:
        """The learning rate: the given one, or one for the weights that the trained layers really start from."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 1e-4 if self.image and self.weights == "imagenet" and self.tune != "head" else 1e-3

    @property
    def image_scale(self) -> str:
        """How images are scaled for the checkpoint in use; random weights take them unchanged."""
        return self.checkpoint_input if self.image and self.weights == "imagenet" else "unchanged"


def _numbers(field: str, text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise UserError(f"{field} needs numbers separated by commas; it is '{text}'.") from None


SAMPLES_PER_MS = 16
"""Spectrograms are computed at 16 kHz."""

GRIDS = {"gamma": "gamma_grid", "margin": "margin_grid"}
"""What `choose` can choose, with the field of its values."""

USED_BY_LOSSES = {"gamma": ("focal", "apfl"), "margin": ("arcface", "apfl"), "scale": ("arcface", "apfl")}
"""Losses that use a setting."""

MODALITY_FIELDS = {
    "image": (
        "backbone", "weights", "checkpoint_input", "tune", "frames", "bins", "frame_ms", "hop_ms", "dft_length",
        "spectrum", "floor_db", "trimming", "padding", "channels", "normalisation",
    ),
    "text": ("bert", "text_pooling"),
    "audio": ("vggish", "audio_pooling", "vggish_pca"),
}  # fmt: skip
"""Settings of one modality alone."""

GENDER_FEATURES = {"none": (), "a": ("image",), "b": ("image", "audio"), "c": ("image", "text", "audio")}
"""Modalities that the gender head reads (Fig. 2)."""


SCALED = {
    "backbone": "small_cnn",
    "weights": "random",
    "frames": 300,
    "gamma_grid": "0.1,2",
    "margin_grid": "0.2,0.5",
    "epochs": 20,
    "patience": 20,
    "bert": "random-tiny",
    "vggish": "random-tiny",
}
"""Changes of --scaled: a network that two cores train in 15 s per fold."""
