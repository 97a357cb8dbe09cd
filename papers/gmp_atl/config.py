"""Settings of GMP-ATL (Pan et al. 2024), each with its source in the paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from common.contract import setting
from common.errors import UserError

CHECKPOINT = "facebook/hubert-base-ls960"
"""The public HuBERT that the paper starts from; `ser fetch hubert-base-ls960` downloads it."""

CHECKPOINTS = {
    CHECKPOINT: "hubert-base-ls960",
    "facebook/hubert-large-ll60k": "hubert-large-ll60k",
    "facebook/wav2vec2-base": "wav2vec2-base",
    "facebook/wav2vec2-large-lv60": "wav2vec2-large-lv60",
    "microsoft/wavlm-base-plus": "wavlm-base-plus",
    "microsoft/wavlm-large": "wavlm-large",
    "facebook/data2vec-audio-base": "data2vec-audio-base",
    "facebook/data2vec-audio-large": "data2vec-audio-large",
}
"""Public checkpoints that may take HuBERT's place, and the names by which `ser fetch` downloads them."""

RANDOM = ("random-base", "random-tiny")
"""HuBERTs with random weights: one of the base size, and one that is small enough for two cores."""


@dataclass(frozen=True)
class GmpConfig:
    """Three stages: multi-task learning, masked retraining on pseudo-labels, fine-tuning.

    A field's `source` is a section, equation or table of the paper, or says "not given" and lists the alternatives.
    """

    hubert: str = setting(
        CHECKPOINT,
        "Sec. 4.1.2, footnote 1; or another public checkpoint of HuBERT, wav2vec 2.0, WavLM or data2vec audio, or a "
        "folder of one in Hugging Face's format; random-base and random-tiny are ours",
    )
    normalise: bool = setting(
        True,
        "not given: waveforms get mean 0 and variance 1, as in Hugging Face's front end; or not, as in fairseq's (and "
        "as in the pretraining of WavLM base)",
    )
    narrowband: bool = setting(False, "not given: 8 kHz recordings are refused, as HuBERT saw none; or accepted")
    layer: int = setting(-3, "Sec. 3.1: third to last; Table 4: -1 to -8; counted from HuBERT's last layer")
    pseudo_labels: bool = setting(True, "Table 3: rows with and without; without them, stages 1 and 2 are skipped")
    loss: Literal["am_softmax", "ce"] = setting("am_softmax", "Sec. 3.3 and Table 3: loss of stage 3")
    margin: float = setting(0.2, "Eq. 2: m = 0.2")
    scale: float = setting(30.0, "Eq. 2: s = 30")
    emotion_weight: float = setting(0.9, "Eq. 1: alpha_e = 0.9; the rest is the weight of gender")
    clusters: str = setting("64,512,4096", "Sec. 3.1; comma-separated")
    kmeans_batch: int = setting(10_000, "not given: frames per step of mini-batch k-means, as in HuBERT's recipe")
    kmeans_starts: int = setting(20, "not given: k-means++ starts, of which the best is kept, as in HuBERT's recipe")
    kmeans_passes: int = setting(100, "not given: passes over the frames at most, as in HuBERT's recipe")
    lstm_units: int = setting(256, "not given: units per direction of the BiLSTM; 128 to 512")
    projection: int = setting(256, "not given: width between the two linear layers of stages 1 and 3; 128 to 768")
    label_projection: int = setting(768, "not given: width between the two linear layers of stage 2; 256 to 768")
    heads: Literal["own", "shared"] = setting(
        "own", "not given: each label set has two linear layers of its own; or all share the first one"
    )
    label_weights: str = setting(
        "1,1,1", "not given: weights of the label sets' losses, summed as in HuBERT; or averaged"
    )
    stage2_start: Literal["public", "stage1"] = setting(
        "public", "not given: the public HuBERT, as Sec. 3.2 wants to keep its information; or the one of stage 1"
    )
    plain_start: Literal["public", "stage1"] = setting(
        "public", "not given: stage 3 without pseudo-labels starts from the public HuBERT; or from the one of stage 1"
    )
    masked_only: bool = setting(True, "not given: stage 2's loss on masked frames only, as in HuBERT; or on all frames")
    mask_probability: float = setting(0.8, "not given: share of masked frames if spans did not overlap, as in HuBERT")
    mask_length: int = setting(10, "not given: frames per masked span (200 ms), as in HuBERT")
    pooling: Literal["bilstm-mean", "mean"] = setting(
        "bilstm-mean", "not given: stage 3 pools as stage 1 does (Sec. 3.1); or takes the mean of HuBERT's frames"
    )
    cosines_of: Literal["hidden", "projected"] = setting(
        "hidden",
        "not given: the cosines of Eq. 3 replace the second linear layer; or they follow both layers, and the second "
        "is as wide as the first",
    )
    gender_in_stage3: bool = setting(
        False, "not given: stage 3 predicts only emotions (Sec. 3.3); or also gender, weighted as in Eq. 1"
    )
    tune: Literal["all", "transformer", "none"] = setting(
        "transformer",
        'not given: what stages 1 and 3 train of HuBERT, "a feature extractor": its transformer, as is usual; or also '
        "its convolutions (all; stage 2 then trains them as well); or nothing, so that stage 1 is skipped",
    )
    augment_probability: float = setting(
        0.05,
        "not given: masked frames in training in stages 1 and 3, by Hugging Face's default for this checkpoint "
        "(mask_time_prob 0.05, at least 2 spans per utterance; mask_feature_prob 0: no channels); 0: none",
    )
    augment_length: int = setting(10, "not given: frames per masked span in stages 1 and 3 (mask_time_length 10)")
    hubert_dropout: float = setting(0.1, "not given: dropout in HuBERT's transformer, as in its checkpoint; 0 to 0.1")
    layerdrop: float = setting(0.05, "not given: share of skipped layers, as in HuBERT's recipe; 0.1 in Hugging Face's")
    padding_is: Literal["exact", "attention", "none"] = setting(
        "exact",
        "not given: padding has no effect (exact); or is only masked in the attention; or is silence (none), as "
        "Hugging Face recommends for this checkpoint",
    )
    learning_rate: float = setting(1e-4, "Sec. 4.1.2: initial rate of Adam in all stages; constant: no schedule given")
    head_learning_rate: float = setting(
        0.0, "not given: learning rate of the layers behind HuBERT; 0: that of HuBERT; up to 1e-3"
    )
    warmup_steps: int = setting(
        0, "not given: steps in each stage over which the learning rates rise from 0; 0 to a tenth of all steps"
    )
    clip_norm: float = setting(
        10.0, "not given: clips the gradients' global norm, as in HuBERT's recipe; 0: no clipping"
    )
    batch_size: int = setting(64, "Sec. 4.1.2; at most: an epoch's batches are of equal size")
    accumulation: int = setting(8, "not given: parts of a batch whose gradients are accumulated; 1 on a large GPU")
    epochs1: int = setting(10, "not given: epochs of stage 1; 5 to 30")
    epochs2: int = setting(20, "not given: epochs of stage 2; 10 to 100")
    epochs3: int = setting(20, "not given: epochs of stage 3; 10 to 50")
    patience: int = setting(10, "not given: epochs without a better validation UA after which stages 1 and 3 stop")
    keep: Literal["validation", "last"] = setting(
        "validation",
        "not given: the epoch with the best validation UA, or the last one without a validation part; or always the "
        "last one",
    )
    longest_s: float = setting(15.0, "not given: longer utterances are cropped in training, never in prediction")
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = setting("float32", "not given")

    def __post_init__(self):
        if self.layer >= 0:
            raise UserError(f"layer counts from HuBERT's last one, -1, so it is negative; it is {self.layer}.")
        if len(self.cluster_counts) != len(self.weights):
            raise UserError(
                f"label_weights needs one weight per label set ({self.clusters}); it is {self.label_weights}."
            )
        if min(self.cluster_counts) < 2 or max(self.cluster_counts) > 65_535:
            raise UserError(f"clusters must be whole numbers from 2 to 65535; they are {self.clusters}.")
        if len(set(self.cluster_counts)) < len(self.cluster_counts):
            raise UserError(f"clusters must differ from each other; they are {self.clusters}.")
        counts = (
            self.batch_size, self.accumulation, self.epochs1, self.epochs2, self.epochs3, self.patience,
            self.lstm_units, self.projection, self.label_projection, self.mask_length, self.augment_length,
            self.kmeans_batch, self.kmeans_starts, self.kmeans_passes,
        )  # fmt: skip
        if min(counts) < 1:
            raise UserError("Widths, epochs, patience, batch, k-means settings, lengths of masks must be at least 1.")
        if self.accumulation > self.batch_size:
            raise UserError(f"accumulation must be at most batch_size, {self.batch_size}; it is {self.accumulation}.")
        if not (
            0 <= self.emotion_weight <= 1 and 0 < self.mask_probability <= 1 and 0 <= self.augment_probability <= 1
        ):
            raise UserError("emotion_weight and augment_probability must be in [0, 1], mask_probability in (0, 1].")
        if not (self.scale > 0 and self.learning_rate > 0):
            raise UserError("scale and learning_rate must be positive.")
        if min(self.margin, self.clip_norm, self.head_learning_rate, self.warmup_steps) < 0:
            raise UserError("margin, clip_norm, head_learning_rate and warmup_steps must be at least 0.")
        if not (0 <= self.hubert_dropout < 1 and 0 <= self.layerdrop < 1 and self.longest_s >= 0.025):
            raise UserError("hubert_dropout and layerdrop must be in [0, 1), longest_s at least HuBERT's 0.025 s.")

    @property
    def window_s(self) -> float:
        """How much of a recording the network takes in at once, in seconds; longer ones are predicted in windows."""
        return self.longest_s

    needs_validation: ClassVar = frozenset({"patience", "keep"})
    """Fields that act through the validation part."""

    @property
    def without_effect(self) -> frozenset[str]:
        """Fields that change nothing under the other settings."""
        idle: set[str] = {"plain_start"} if self.pseudo_labels else set(PSEUDO_LABEL_FIELDS)
        if not self.trains_stage1:
            idle.add("epochs1")
            if not self.gender_in_stage3:
                idle.add("emotion_weight")
            if self.pooling == "mean":
                idle.add("lstm_units")
        if self.tune == "none":  # stage 1 would leave HuBERT as it was
            idle |= {"stage2_start", "plain_start"}
            if self.head_learning_rate and not self.pseudo_labels:
                idle.add("learning_rate")
        if not self.augment_probability:
            idle.add("augment_length")
        if not self.pseudo_labels and self.hubert != "random-tiny":  # whose number of layers depends on it
            idle.add("layer")
        if self.loss == "ce":
            idle |= {"margin", "scale", "cosines_of"}
        return frozenset(idle)

    @property
    def trains_stage1(self) -> bool:
        """Whether stage 1 is trained: a later stage starts from its HuBERT, which it changes."""
        return self.tune != "none" and (self.pseudo_labels or self.plain_start == "stage1")

    @property
    def cluster_counts(self) -> tuple[int, ...]:
        """Number of clusters of each label set."""
        return _numbers("clusters", self.clusters, int)

    @property
    def weights(self) -> tuple[float, ...]:
        """Weight of each label set's loss."""
        return _numbers("label_weights", self.label_weights, float)


PSEUDO_LABEL_FIELDS = (
    "clusters", "kmeans_batch", "kmeans_starts", "kmeans_passes", "label_projection", "heads", "label_weights",
    "stage2_start", "masked_only", "mask_probability", "mask_length", "epochs2",
)  # fmt: skip
"""Settings of the pseudo-labels and of stage 2."""


def _numbers(name: str, text: str, kind: type) -> tuple:
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"{name} cannot be '{text}'; it is a list of numbers, for example 64,512,4096.") from None


SCALED = {
    "hubert": "random-tiny",
    "clusters": "8,16,32",
    "kmeans_batch": 1000,
    "kmeans_starts": 2,
    "kmeans_passes": 5,
    "lstm_units": 16,
    "projection": 32,
    "label_projection": 32,
    "stage2_start": "stage1",
    "tune": "all",
    "learning_rate": 1e-3,
    "batch_size": 16,
    "accumulation": 1,
    "epochs1": 6,
    "epochs2": 4,
    "epochs3": 10,
    "longest_s": 2.0,
}
"""Changes of --scaled: a small random HuBERT, whose stages take about a minute per fold of EMODB on one core.

A random HuBERT has no information to keep, so all of it is trained, and stage 2 goes on from stage 1.
"""

DEMO = {"epochs1": 2, "epochs2": 1, "epochs3": 2}
"""Further changes of --demo, so that five folds of the embedded corpus take two minutes."""
