"""Settings of the adversarial autoencoder and its baselines (Rana et al. 2019), each with its source."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from common.contract import setting
from common.errors import UserError

TASKS = {
    "emotion": (),
    "emotion+gender": ("gender",),
    "emotion+speaker": ("speaker",),
    "all": ("gender", "speaker"),
    "gender": (),
    "speaker": (),
}
"""Secondary tasks, by the values of the field `tasks`; the primary task is to predict the experiment's target.

With "gender" and "speaker", the target itself is gender or speaker, which auxiliary utterances have as well (Fig. 3).
"""

FALLBACK_ALPHA = 0.4
"""The best alpha of the adversarial autoencoder (Sec. V-A); used if there is no development fold to choose it on."""


@dataclass(frozen=True)
class AaeConfig:
    """A network, its tasks, its input and its training.

    Each field names its section, equation or table, or says "not given" and lists the alternatives.
    """

    model: Literal["cnn", "ae", "aae"] = setting("aae", "Sec. V-A and V-B: Table II and Fig. 2 compare the three")
    tasks: Literal["emotion", "emotion+gender", "emotion+speaker", "all", "gender", "speaker"] = setting(
        "all", "Tables III and IV; emotion alone is the single-task network of Fig. 2, gender or speaker that of Fig. 3"
    )
    alpha: float | None = setting(
        None, "Eq. 1 (one task) and 2; none: chosen from alpha_grid on the development fold (Sec. V-A)"
    )
    alpha_grid: str = setting("0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,1.0", "Sec. V-A: 0.1 to 1.0; the step is not given")
    cnn_tries: int = setting(
        1,
        "not given: the CNN has no alpha to choose, so it is trained once; 10: as often as the others, each time from "
        "other weights, and the best on the development fold is kept",
    )
    beta: float = setting(0.5, "not given: 0.5 weighs emotion as much as gender and speaker together (Eq. 3)")
    distance: Literal["squared", "absolute"] = setting(
        "squared", "not given: d of Eq. 5, the mean of squares over the pixels; or of absolute values"
    )
    reconstruction_weight: float = setting(
        30.0,
        "not given: factor of d, whose gradient is otherwise a small share of the encoder's; 1 is the plain mean, the "
        "number of pixels a sum, with which the discriminator has no influence",
    )
    padding: Literal["masked", "counted"] = setting(
        "masked",
        "not given: short utterances are padded with the mean spectrum, which d leaves out; or the padding counts",
    )
    prior: Literal["rectified-normal", "half-normal", "normal", "uniform"] = setting(
        "rectified-normal",
        "not given: max(0, N(0, 1)), which a latent code after ReLU can follow; N(0, 1) goes with latent_relu = false; "
        "|N(0, 1)| and uniform on [0, 1] have no exact zeros, unlike a code after ReLU",
    )
    latent_relu: bool = setting(True, "Sec. IV-C: ReLU after each convolution; false leaves the latent code unbounded")
    generator_loss: Literal["saturating", "non-saturating"] = setting(
        "saturating", "Eq. 5: log(1 - D); Goodfellow's -log D has larger gradients while the discriminator is better"
    )
    sample_rate: int = setting(
        16000, "not given: corpora with other rates are resampled; 22050 with top_hz = 11025 gives the paper's axis"
    )
    frame_ms: float = setting(25.0, "Sec. IV-B")
    hop_ms: float = setting(10.0, "Sec. IV-B")
    dft_length: int = setting(1024, "not given: fine enough for 128 rows; 512 and 2048 (needed for mel) are common")
    rows: int = setting(128, "Sec. IV-B")
    top_hz: float = setting(
        8000.0, "Sec. IV-B says 11 kHz, which corpora at 16 kHz do not have: 8 kHz; or 11025 at a rate of 22050"
    )
    scale: Literal["linear", "mel"] = setting("linear", "not given: all rows equally wide in Hz, as in an STFT; or mel")
    log: bool = setting(True, "not given: logarithm of the magnitudes; or the magnitudes")
    frames: int = setting(256, "Sec. IV-B: width 256")
    crop: Literal["random", "centre", "start"] = setting(
        "random",
        "not given: where longer utterances are cut in training; for prediction, the centre is cut out",
    )
    normalisation: Literal["row", "corpus", "none"] = setting(
        "row", "not given: each row to mean 0, deviation 1 over the training frames; or one mean and deviation; or none"
    )
    auxiliary_normalisation: Literal["own", "shared"] = setting(
        "own", "not given: auxiliary utterances by their own statistics, since levels differ; or by the corpus's"
    )
    trim_db: float = setting(
        40.0, "Sec. IV-B, for LibriSpeech; the threshold below the loudest frame is not given; 0: no trimming"
    )
    widths: str = setting("32,32,32", "Sec. IV-C: 32 for the latent code; not given for the layers before; or 8,16,32")
    kernel: int = setting(3, "not given: 3 x 3; 5 x 5 is as common")
    pools: str = setting(
        "2x4,2x2,2x2",
        "Sec. IV-C: from 128 x 256 to 16 x 16, one of three pools needs a factor of 4 in time; not given which: the "
        "first, which is cheapest, or the last",
    )
    batch_norm_momentum: float = setting(0.9, "not given: 0.9; Keras' default of 0.99 needs hundreds of steps")
    head_batch_norm: bool = setting(
        False, "Sec. IV-C lists no batch normalisation for the classifiers, but says it follows each convolution"
    )
    head_width: int = setting(32, "not given: filters of a classifier's convolution; 16 to 64")
    dense_units: int = setting(128, "not given: units of a classifier's two dense layers; 64 to 512")
    dropout: float = setting(0.5, "Sec. IV-C: between the dense layers; the rate is not given")
    learning_rate: float = setting(1e-3, "not given: Adam's default; 1e-4 to 2e-4 is common with discriminators")
    optimiser: Literal["adam", "sgd"] = setting(
        "adam", "not given: one Adam for each part, so that the encoder's sees all three losses; or plain SGD"
    )
    batch_size: int = setting(32, "not given: labelled utterances per step; 16 to 64")
    epochs: int = setting(100, "not given: passes over the labelled utterances")
    patience: int = setting(20, "not given: epochs without a better UA on the development fold; or a fixed number")
    auxiliary_share: float = setting(
        0.5, "not given: half of the utterances of a step are auxiliary; 0 trains without them; below 1"
    )
    auxiliary_speakers: int = setting(500, "Sec. IV-A: 500 speakers; varied in Fig. 3; 0: all")
    auxiliary_seed: int = setting(
        0, "not given, which speakers: 0: the first women and men by their numbers; another number draws them"
    )
    auxiliary_storage: Literal["float16", "float32"] = setting(
        "float16", "not given: auxiliary spectrograms on disk; float16 takes half the space and rounds off 0.03 dB"
    )
    auxiliary_held_out: float = setting(
        0.1,
        "not given: share of the auxiliary utterances that is not trained on, but measures gender and speaker; 0: none",
    )
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = setting("float32", "not given")

    def __post_init__(self):
        counts = (
            "cnn_tries",
            "rows",
            "frames",
            "kernel",
            "head_width",
            "dense_units",
            "batch_size",
            "epochs",
            "patience",
        )
        for name in counts:
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1; it is {getattr(self, name)}.")
        if self.precision == "mixed_float16":
            raise UserError("mixed_float16 needs loss scaling, which is not supported here; use mixed_bfloat16.")
        for name in ("beta", "auxiliary_share", "auxiliary_held_out", "dropout", "batch_norm_momentum"):
            if not 0 <= getattr(self, name) <= (1 if name == "beta" else 0.999):
                raise UserError(f"{name} must be in [0, 1); it is {getattr(self, name)}.")
        if not self.learning_rate > 0:
            raise UserError(f"learning_rate must be positive; it is {self.learning_rate:g}.")
        for name in ("trim_db", "auxiliary_speakers", "auxiliary_seed"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} must not be negative; it is {getattr(self, name)}.")
        for alpha in (*self.alphas, *(() if self.alpha is None else (self.alpha,))):
            if not 0 <= alpha <= 1:
                raise UserError(f"alpha must be in [0, 1]; it is {alpha:g}.")
        if len(self.layers) != len(self.pool_sizes):
            raise UserError(f"widths {self.widths} and pools {self.pools} must have the same number of entries.")
        down, along = self.latent_shape[:2]
        if not down or not along or self.rows % down or self.frames % along:
            raise UserError(f"The pools {self.pools} do not divide {self.rows} rows and {self.frames} frames.")
        if not 0 < self.reconstruction_weight < math.inf:
            raise UserError(f"reconstruction_weight must be positive; it is {self.reconstruction_weight:g}.")
        if self.prior == "normal" and self.latent_relu:
            raise UserError("A latent code after ReLU cannot follow N(0, 1); set latent_relu=false or another prior.")
        if self.prior == "rectified-normal" and not self.latent_relu:
            raise UserError("A latent code without ReLU cannot follow max(0, N(0, 1)); set prior=normal.")

    @property
    def secondary(self) -> tuple[str, ...]:
        """Names of the secondary tasks."""
        return TASKS[self.tasks]

    @property
    def window_s(self) -> float:
        """How much of a recording the network takes in at once, in seconds; longer ones are predicted in windows."""
        return (self.frame_ms + (self.frames - 1) * self.hop_ms) / 1000

    @property
    def without_effect(self) -> frozenset[str]:
        """Fields that change nothing under the other settings."""
        cnn, alone = self.model == "cnn", self.tasks == "emotion"  # auxiliary utterances have no label of any task
        idle = {
            "alpha": cnn,
            "alpha_grid": cnn or self.alpha is not None,
            "cnn_tries": not cnn,
            **dict.fromkeys(("distance", "reconstruction_weight", "padding"), cnn),
            "prior": self.model != "aae",
            "generator_loss": self.model != "aae",
            "beta": not self.secondary,
            "auxiliary_share": cnn and alone,
            "auxiliary_held_out": alone or not self.uses_auxiliary,
        }
        names = ("auxiliary_speakers", "auxiliary_seed", "auxiliary_storage", "auxiliary_normalisation", "trim_db")
        idle |= dict.fromkeys(names, not self.uses_auxiliary)
        return frozenset(name for name, has_none in idle.items() if has_none)

    @property
    def auxiliary_batch_size(self) -> int:
        """Auxiliary utterances per batch, in addition to the `batch_size` labelled ones."""
        return round(self.batch_size * self.auxiliary_share / (1 - self.auxiliary_share))

    @property
    def uses_auxiliary(self) -> bool:
        """Whether auxiliary utterances are trained on."""
        # A single-task CNN can learn nothing from utterances without the primary label.
        return self.auxiliary_batch_size > 0 and not (self.model == "cnn" and self.tasks == "emotion")

    @property
    def alphas(self) -> tuple[float, ...]:
        """The values that alpha is chosen from."""
        return tuple(_numbers("alpha_grid", self.alpha_grid, ",", float))

    @property
    def layers(self) -> tuple[int, ...]:
        """Filters of the encoder's convolutions."""
        return tuple(_numbers("widths", self.widths, ",", int))

    @property
    def pool_sizes(self) -> tuple[tuple[int, int], ...]:
        """Pool size (rows, frames) after each convolution."""
        sizes = [tuple(_numbers("pools", one, "x", int)) for one in self.pools.split(",")]
        if any(len(size) != 2 for size in sizes):
            raise UserError(f"pools cannot be '{self.pools}'; write them as 2x4,2x2,2x2 (rows x frames).")
        return tuple(sizes)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Shape of the latent code: (16, 16, 32) in Sec. IV-C."""
        rows, frames = self.rows, self.frames
        for down, along in self.pool_sizes:
            rows, frames = rows // down, frames // along
        return rows, frames, self.layers[-1]


def _numbers(name: str, text: str, separator: str, kind: type) -> list:
    try:
        numbers = [kind(one) for one in text.split(separator)]
    except ValueError:
        raise UserError(f"{name} cannot be '{text}'; it must be numbers separated by '{separator}'.") from None
    if any(number < (1 if kind is int else 0) for number in numbers):
        raise UserError(f"{name} cannot be '{text}'; its numbers must be positive.")
    return numbers


SCALED = {
    "alpha": 0.4,
    "rows": 64,
    "frames": 128,
    "hop_ms": 20.0,
    "scale": "mel",
    "widths": "8,16,16",
    "head_width": 16,
    "dense_units": 64,
    "batch_size": 16,
    "dropout": 0.2,
    "learning_rate": 3e-3,
    "epochs": 24,
    "patience": 24,
}
"""What --scaled changes: a fixed alpha, a quarter of the pixels in mel bands, fewer filters, fewer but larger steps."""
