"""Settings of dimensional emotion recognition by multitask learning (Atmaja and Akagi 2020), each with its source."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from common.contract import setting
from common.errors import UserError

DIMENSIONS = ("valence", "arousal", "dominance")
"""The predicted dimensions, in the order of the network's outputs and of the loss weights alpha, beta and gamma."""


@dataclass(frozen=True)
class DimensionalConfig:
    """A network, its input, its loss and its training.

    Each field names its section, equation or table, or says "not given" and lists the alternatives.
    """

    modality: Literal["acoustic", "text", "both"] = setting("both", "Sec. VI-B: unimodal; Sec. VI-C: both")
    acoustic: Literal["paa", "gemaps"] = setting("paa", "Table 1; pAA HSF in all of Table 5 and 6")
    gemaps_set: Literal["eGeMAPSv01b", "eGeMAPSv01a"] = setting(
        "eGeMAPSv01b",
        "not given: openSMILE's set with the 23 descriptors of Table 1; the authors' script uses eGeMAPSv01a, in which "
        "10 of them have other values",
    )
    level: Literal["hsf", "lld"] = setting("hsf", "Sec. III-A; rows of Table 3")
    functionals: Literal["frames", "nonzero"] = setting(
        "frames",
        "not given: mean and deviation over all frames of the utterance; the authors' code pads with zeros, then drops "
        "all zeros, also true ones (nonzero)",
    )
    silence: bool = setting(
        False,
        "Table 1: means and deviations alone; the authors' scripts of GeMAPS HSF read a file with one more number, the "
        "share of silent frames (true); the file is not published, see common/features/silence.py",
    )
    integers: bool = setting(
        False,
        "not given: descriptors as they are; those of pAA LLD in the authors' scripts have lost their decimal places, "
        "as Keras' `pad_sequences` cuts them off (true)",
    )
    scrambled: bool = setting(
        False,
        "Sec. IV-A, Fig. 2: a CNN over frames; the authors' scripts of the LLD CNN reshape (frames, descriptors) to "
        "(descriptors, frames) instead of transposing, which mixes both (true)",
    )
    frames: int = setting(3411, "Sec. III-A: 3409 GeMAPS, 3411 pAA, the longest utterance of IEMOCAP; only for LLD")
    standardisation: Literal["none", "training", "padded"] = setting(
        "none",
        'Sec. VI-A: "No further preprocessing was applied to either feature, except as explained", and only the '
        "batch normalisation of Sec. IV-A is explained (none); or each feature to mean 0, deviation 1 over the "
        "training part (training), for LLD also with their padding (padded), as in the authors' scripts of the LLD "
        "CNN, which include the test part",
    )
    momentum: float = setting(
        0.99,
        "not given: momentum of the batch normalisation's moving statistics; Keras' default, as in the authors' code. "
        "They need some hundred steps to follow raw features; scaled runs, which have fewer, take .9",
    )
    acoustic_network: Literal["lstm", "cnn", "dense"] = setting("lstm", "Sec. IV-A, Fig. 2; rows of Tables 3 and 5")
    text_network: Literal["lstm", "cnn", "dense"] = setting("lstm", "Sec. IV-A; rows of Tables 4 and 5")
    width: int = setting(256, "Sec. IV-A, Fig. 2: units of each LSTM, convolution or dense layer of a modality")
    small_acoustic: bool = setting(
        False,
        "not given: the authors' script of Table 6's two-parameter row has LSTMs of 47, 256 and 256 units, the last "
        "state only, and a dense layer of 47 units (true)",
    )
    words: Literal["we", "glove", "fasttext", "fasttext-subword"] = setting(
        "glove",
        "Table 2; rows of Table 4; GloVe in Tables 5 and 6; the authors' fastText scripts read "
        "crawl-300d-2M-subword.vec (fasttext-subword)",
    )
    vectors: str = setting(
        "",
        "not given: a file in word2vec, GloVe or fastText format, or a folder that "
        "`common.features.word_vectors.convert` wrote, instead of the file that `ser fetch` downloaded; "
        "words that are not in it start at zero",
    )
    embedding: int = setting(300, "Sec. III-B: dimensions of a word vector")
    text_length: int = setting(100, "Sec. III-B; 554 in the authors' code")
    text_dense: int = setting(64, "Sec. IV-A")
    acoustic_dropout: float = setting(0.1, "Sec. VI-C.3; 0.3 unimodal (Sec. IV-A), and in the authors' Table 5 code")
    text_dropout: float = setting(0.4, "Sec. VI-C.3; 0.3 unimodal (Sec. IV-A), and in the authors' Table 5 code")
    fusion_dropout: float = setting(0.4, "Sec. IV-B")
    activation: Literal["linear", "relu"] = setting("linear", "Eq. 1: of the two dense layers; ReLU in the code")
    weighting: Literal["none", "two", "three"] = setting("two", "Eq. 4, 5 and 6; rows of Table 6")
    alpha: float = setting(0.7, "Eq. 5: 0.7 text and both, 0.1 acoustic; Eq. 6: 0.9; Fig. 4 and 5; of valence")
    beta: float = setting(0.2, "Eq. 5: 0.2 text and both, 0.5 acoustic; Eq. 6: 0.9; Fig. 4 and 5; of arousal")
    gamma: float = setting(1.0, "Eq. 6: 0.2; Fig. 5; of dominance; not used in Eq. 5, where it is 1 - alpha - beta")
    choose: Literal["none", "weights", "dropout"] = setting(
        "none", "not given: the authors searched on the test part; weights and dropout choose on validation (ours)"
    )
    grid: str = setting(
        " ".join(str(step / 10) for step in range(11)),
        "Sec. VI-C.2, Fig. 4: values that `choose` tries for each of the two weights or rates; of weights, the 66 of "
        "121 pairs for which 1 - alpha - beta is not negative",
    )
    lowest: float = setting(1.0, "Sec. VI-A: labels below are clipped; becomes -1 (Eq. 7 and 8)")
    highest: float = setting(5.0, "Sec. VI-A: labels above are clipped; becomes 1 (Eq. 7 and 8)")
    optimiser: Literal["rmsprop", "adam"] = setting("rmsprop", "not given: RMSprop in the authors' code; Adam")
    learning_rate: float = setting(1e-3, "not given: Keras' default, as in the authors' code")
    batch_size: int = setting(8, "Table 5; 256 in Table 6; not given for the others: 8 in the authors' code")
    epochs: int = setting(50, "not given: up to 50 in the authors' code")
    patience: int = setting(10, "Sec. IV-A; 20 in the authors' script of CNN + Dense")
    seed: int = setting(
        0,
        'Sec. IV-A: "a fixed random number was initialized at the beginning"; the authors\' scripts have 1234 in every '
        "run; 0: each repeat has its own seed, because runs with the same one differ only by chance on a GPU",
    )
    keep: Literal["lowest", "highest"] = setting(
        "lowest",
        "Sec. IV-A: the epoch with the lowest validation loss; the authors' scripts of LSTM + CNN, LSTM + Dense and "
        "CNN + Dense stop at and restore the highest",
    )

    def __post_init__(self):
        sizes = ("frames", "width", "embedding", "text_length", "text_dense", "batch_size", "epochs", "patience")
        for name in sizes:
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1; it is {getattr(self, name)}.")
        for name in ("acoustic_dropout", "text_dropout", "fusion_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} must lie in [0, 1]; it is {getattr(self, name)}.")
        if not all(map(math.isfinite, (self.alpha, self.beta, self.gamma))):
            raise UserError("alpha, beta and gamma must be finite numbers.")
        if not 0 <= self.momentum < 1:
            raise UserError(f"momentum must be in [0, 1); it is {self.momentum}.")
        if self.seed < 0:
            raise UserError(f"seed must not be negative; it is {self.seed}.")
        if not self.learning_rate > 0:
            raise UserError(f"learning_rate must be positive; it is {self.learning_rate}.")
        if not self.lowest < self.highest:
            raise UserError(f"lowest ({self.lowest}) must be below highest ({self.highest}).")
        convolved = self.level == "lld" and self.acoustic_network == "cnn" and self.uses_audio and not self.scrambled
        if convolved and self.frames < SHORTEST:
            raise UserError(f"The acoustic CNN needs at least {SHORTEST} frames; frames is {self.frames}.")
        if self.choose == "weights" and self.weighting == "none":
            raise UserError("choose=weights has nothing to choose in a loss without weights; set weighting=two.")
        if self.choose != "none":
            self.choices()

    @property
    def uses_audio(self) -> bool:
        """True if the network has an acoustic input."""
        return self.modality != "text"

    @property
    def uses_words(self) -> bool:
        """True if the network has words as input."""
        return self.modality != "acoustic"

    @property
    def without_effect(self) -> frozenset[str]:
        """Fields that change nothing under the other settings."""
        idle = {
            "frames": not self.uses_audio or self.level == "hsf",
            "functionals": not self.uses_audio or self.level == "lld",
            "silence": not self.uses_audio or self.level == "lld",
            "integers": not self.uses_audio or self.level == "hsf",
            "scrambled": not self.uses_audio or self.level == "hsf" or self.acoustic_network != "cnn",
            "gemaps_set": not self.uses_audio or self.acoustic != "gemaps",
            "small_acoustic": not self.uses_audio or self.acoustic_network != "lstm",
            "acoustic_dropout": not self.uses_audio or self.choose == "dropout",
            "text_dropout": not self.uses_words or self.choose == "dropout",
            "vectors": not self.uses_words or self.words == "we",
            "alpha": self.weighting == "none" or self.choose == "weights",
            "beta": self.weighting == "none" or self.choose == "weights",
            "gamma": self.weighting != "three",
            "grid": self.choose == "none",
        }
        idle |= dict.fromkeys(("fusion_dropout", "activation"), self.modality != "both")
        idle |= dict.fromkeys(
            ("acoustic", "level", "standardisation", "momentum", "acoustic_network"), not self.uses_audio
        )
        idle |= dict.fromkeys(("text_network", "words", "embedding", "text_length", "text_dense"), not self.uses_words)
        return frozenset(name for name, has_none in idle.items() if has_none)

    @property
    def weights(self) -> tuple[float, float, float]:
        """Loss weights of valence, arousal and dominance (Eq. 4, 5 or 6)."""
        if self.weighting == "none":
            return 1.0, 1.0, 1.0
        if self.weighting == "two":
            # Rounded, because 1 - .7 - .2 is not exactly .1.
            return self.alpha, self.beta, round(1 - self.alpha - self.beta, 9)
        return self.alpha, self.beta, self.gamma

    def choices(self) -> list[dict[str, float]]:
        """The settings that `choose` tries: values by field name.

        Raises:
            UserError: The grid is not a list of numbers in [0, 1].
        """
        try:
            values = [float(word) for word in self.grid.replace(",", " ").split()]
        except ValueError:
            values = []
        if not values or not all(0 <= value <= 1 for value in values):
            raise UserError(f"grid must be numbers in [0, 1] separated by blanks, not '{self.grid}'.")
        if self.choose == "dropout":
            acoustic = values if self.uses_audio else [self.acoustic_dropout]
            text = values if self.uses_words else [self.text_dropout]
            return [{"acoustic_dropout": a, "text_dropout": t} for a in acoustic for t in text]
        pairs = [(a, b) for a in values for b in values]
        # In Eq. 5, a negative third weight would reward wrong dominance; Fig. 4 has such points, but none is chosen.
        return [{"alpha": a, "beta": b} for a, b in pairs if self.weighting == "three" or a + b <= 1]


SHORTEST = 22
"""The fewest frames that three convolutions of 4, 8 and 12 frames without padding accept."""

SCALED = {
    "width": 24,
    "text_dense": 16,
    "text_length": 16,
    "frames": 60,
    "learning_rate": 3e-3,
    "batch_size": 8,
    "momentum": 0.9,
    "epochs": 15,
    "patience": 15,
    "grid": "0.2 0.6",
}
"""What --scaled changes: small layers, short inputs, few choices; the networks keep their structure."""
