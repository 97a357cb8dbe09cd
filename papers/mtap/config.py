"""Settings of the MTAP loss study (Wen et al. 2023), each with the place that gives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from common.errors import UserError
from common.experiments import setting


@dataclass(frozen=True)
class MtapConfig:
    """One network, one loss, one way to train it.

    A field's `source` names its section, equation or table, or says "not given" and lists the alternatives.
    """

    backbone: Literal["densenet169", "resnet50", "small_cnn"] = setting(
        "densenet169", "Sec. 5.2.2; ResNet50 in Tables 4-7; small_cnn is ours, for a CPU"
    )
    weights: Literal["imagenet", "random"] = setting("imagenet", "Sec. 5.2.2")
    loss: Literal["softmax", "focal", "arcface", "apfl"] = setting("softmax", "Sec. 3.1 and the rows of Tables 1-3")
    gamma: float = setting(0.0, "Eq. 1; each row of Tables 1-3 and 6")
    margin: float = setting(0.0, "Eq. 2; each row of Tables 1-3, m = 0.3 in Table 6; radians")
    scale: float = setting(10.0, "Sec. 5.2.2: s = 10; only for losses on cosines")
    frames: int = setting(400, "Sec. 5.2.1: 600 IEMOCAP, 500 SAVEE, 400 EMODB")
    bins: int = setting(400, "Sec. 5.2.1: F = 400")
    frame_ms: float = setting(40.0, "Sec. 5.2.1")
    hop_ms: float = setting(10.0, "Sec. 5.2.1")
    dft_length: int = setting(
        1600,
        "not given: 1600 (10 Hz a bin, 400 bins = 0-4 kHz) is the cited recipe's (Satt et al. 2017); "
        "800 would give 401 bins of 20 Hz up to 8 kHz",
    )
    normalisation: Literal["bin", "corpus", "none"] = setting(
        "bin",
        "not given: each bin to mean 0, deviation 1 over the training frames; "
        "or one mean and deviation for all bins; or none",
    )
    dropout: float = setting(0.0, "not given: none before the head; 0.5 is common")
    optimiser: Literal["adam", "sgd"] = setting("adam", "not given: Adam, or SGD with Nesterov momentum 0.9")
    learning_rate: float = setting(1e-4, "not given: 1e-4 for fine-tuning, 1e-3 for random weights")
    batch_size: int = setting(32, "not given: 16 to 64")
    epochs: int = setting(50, "not given")
    patience: int = setting(10, "not given: epochs without a better validation UA; or a fixed number of epochs")
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = setting("float32", "not given")

    def __post_init__(self):
        if self.loss in ("arcface", "apfl") and not 0 < self.margin < 3.15:
            raise UserError(f"The loss {self.loss} needs a margin in (0, pi]; it is {self.margin}.")
        if self.loss in ("focal", "apfl") and self.gamma <= 0:
            raise UserError(f"The loss {self.loss} needs gamma > 0; it is {self.gamma}.")
        if min(self.frames, self.bins, self.batch_size, self.epochs, self.patience) < 1:
            raise UserError("frames, bins, batch_size, epochs and patience must be at least 1.")
        if not self.learning_rate > 0 or not 0 <= self.dropout < 1 or not self.scale > 0:
            raise UserError("learning_rate and scale must be positive, dropout in [0, 1).")


SCALED = {
    "backbone": "small_cnn",
    "weights": "random",
    "frames": 300,
    "learning_rate": 1e-3,
    "epochs": 20,
    "patience": 20,
}
"""What --scaled changes: a network that two cores train in a quarter of a minute a fold."""
