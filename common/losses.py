"""Losses: a family for classification (softmax, focal, ArcFace, APFL, AM-softmax), and 1 - CCC for regression.

All losses of the family are focal losses of a softmax over scaled outputs with a margin,

    L = -(1 - p)^gamma * log p,    p = softmax(s * z)_y,

where z are the network's outputs, of which that of the true class y is made smaller, so that the class is harder to
predict: ``cos(theta_y + m)`` (angular margin, ArcFace and APFL) or ``cos(theta_y) - m`` (cosine margin, AM-softmax).

| loss       | outputs of the network | s  | angular m | cosine m | gamma |
|------------|------------------------|----|-----------|----------|-------|
| softmax    | logits                 | 1  | 0         | 0        | 0     |
| focal      | logits                 | 1  | 0         | 0        | > 0   |
| ArcFace    | cosines                | 10 | > 0       | 0        | 0     |
| APFL       | cosines                | 10 | > 0       | 0        | > 0   |
| AM-softmax | cosines                | 30 | 0         | > 0      | 0     |

Sources: focal, Lin et al. 2017, Eq. 4; ArcFace, Deng et al. 2019, Eq. 3; APFL, Wen et al. 2023, Eq. 1-2;
AM-softmax, Wang et al. 2018, Eq. 6. The margin is part of the loss and not of the model, so a fitted model ends in
plain cosines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
from keras import ops

SINE_EPSILON = 1e-12
"""Added to sin^2(theta) before the square root, so that the derivative stays finite at cos(theta) = +-1.

The error of sin(theta) is at most 1e-6, and below the resolution of float32 for theta > 1e-3.
"""


@keras.saving.register_keras_serializable(package="ser")
class MarginFocalLoss(keras.losses.Loss):
    """All classification losses of this module; usually made by `softmax`, `focal`, `arcface`, `apfl`, `am_softmax`.

    It is computed in float32, whatever the precision of the model. The focusing factor is computed from
    ``log(1 - p) = logsumexp(others) - logsumexp(all)``, so that its gradient stays finite if gamma < 1 and p approaches
    1, where ``gamma * (1 - p)^(gamma - 1)`` would be infinite.

    Args:
        scale: s, by which all outputs are multiplied.
        angular_margin: m in cos(theta_y + m), in radians, in [0, pi].
        cosine_margin: m in cos(theta_y) - m.
        gamma: focusing exponent, >= 0.
        safeguard: beyond theta = pi - m, use cos(theta) - m sin(m) instead of cos(theta + m), which would reward a
            larger angle there.
        reduction: as in `keras.losses.Loss`.
        name: as in `keras.losses.Loss`.

    Call:
        y_true: int class numbers, shape (batch,) or (batch, 1).
        y_pred: logits or cosines, shape (batch, classes).

    Raises:
        ValueError: A parameter is negative, too large or not finite.
    """

    def __init__(
        self,
        scale: float = 1.0,
        angular_margin: float = 0.0,
        cosine_margin: float = 0.0,
        gamma: float = 0.0,
        safeguard: bool = True,
        reduction: str = "sum_over_batch_size",
        name: str = "margin_focal",
    ):
        super().__init__(reduction=reduction, name=name)
        finite = all(map(math.isfinite, (scale, gamma, cosine_margin)))
        if not finite or scale <= 0 or gamma < 0 or cosine_margin < 0 or not 0 <= angular_margin <= math.pi:
            raise ValueError(
                f"scale must be positive, gamma and cosine_margin >= 0, angular_margin in [0, pi], all finite; "
                f"got {scale=}, {gamma=}, {cosine_margin=}, {angular_margin=}."
            )
        self.scale = float(scale)
        self.angular_margin = float(angular_margin)
        self.cosine_margin = float(cosine_margin)
        self.gamma = float(gamma)
        self.safeguard = safeguard

    @property
    def needs_cosines(self) -> bool:
        """True if the network must end in cosines instead of logits."""
        return self.scale != 1.0 or self.angular_margin > 0 or self.cosine_margin > 0

    def call(self, y_true, y_pred):
        """Loss of each example, shape (batch,)."""
        outputs = ops.cast(y_pred, "float32")
        classes = ops.shape(outputs)[-1]
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        target = ops.one_hot(labels, classes, dtype="float32")
        if self.angular_margin:
            # A cosine may exceed 1 by rounding, but sin(theta) must not become NaN.
            cosine = ops.clip(outputs, -1.0, 1.0)
            outputs = target * self._with_margin(cosine) + (1.0 - target) * cosine
        if self.cosine_margin:
            outputs = outputs - self.cosine_margin * target
        logits = self.scale * outputs
        log_sum = ops.logsumexp(logits, axis=-1)
        log_p = ops.sum(target * logits, axis=-1) - log_sum
        if not self.gamma:
            return -log_p
        # -1e9 removes the true class from the sum; -inf would give NaN in the gradient.
        log_others = ops.logsumexp(logits - 1e9 * target, axis=-1) - log_sum
        return -ops.exp(self.gamma * log_others) * log_p

    def _with_margin(self, cosine):
        """cos(theta + m); with the safeguard, for theta > pi - m, cos(theta) - m sin(m), as in ArcFace's code."""
        m = self.angular_margin
        sine = ops.sqrt(ops.maximum(1.0 - cosine * cosine, 0.0) + SINE_EPSILON)
        within = cosine * math.cos(m) - sine * math.sin(m)
        if not self.safeguard:
            return within
        return ops.where(cosine > math.cos(math.pi - m), within, cosine - m * math.sin(m))

    def get_config(self):
        """The arguments, for saving."""
        return {
            **super().get_config(),
            "scale": self.scale,
            "angular_margin": self.angular_margin,
            "cosine_margin": self.cosine_margin,
            "gamma": self.gamma,
            "safeguard": self.safeguard,
        }


def softmax() -> MarginFocalLoss:
    """Cross-entropy of logits."""
    return MarginFocalLoss(name="softmax")


def focal(gamma: float) -> MarginFocalLoss:
    """Focal loss of logits (Lin et al. 2017, Eq. 4, without class weights)."""
    return MarginFocalLoss(gamma=gamma, name="focal")


def arcface(margin: float, scale: float = 10.0, safeguard: bool = True) -> MarginFocalLoss:
    """Softmax loss of cosines with an additive angular margin (Deng et al. 2019, Eq. 3)."""
    return MarginFocalLoss(scale=scale, angular_margin=margin, safeguard=safeguard, name="arcface")


def apfl(gamma: float, margin: float, scale: float = 10.0, safeguard: bool = True) -> MarginFocalLoss:
    """Focal loss of cosines with an additive angular margin (Wen et al. 2023, Eq. 1-2; s = 10 in Sec. 5.2.2)."""
    return MarginFocalLoss(scale=scale, angular_margin=margin, gamma=gamma, safeguard=safeguard, name="apfl")


def am_softmax(margin: float = 0.2, scale: float = 30.0) -> MarginFocalLoss:
    """Softmax loss of cosines with an additive cosine margin (Wang et al. 2018, Eq. 6)."""
    return MarginFocalLoss(scale=scale, cosine_margin=margin, name="am_softmax")


CONCORDANCE_EPSILON = 1e-8
"""Added to the denominator of the CCC, which is 0 if truth and prediction are the same constant; the CCC is then 0."""


def concordance(truth, prediction):
    """Concordance correlation coefficient of each column over the batch (Lin 1989; Atmaja and Akagi 2020, Eq. 2).

    2 cov(x, y) / (var(x) + var(y) + (mean(x) - mean(y))^2). The covariance stands for rho sigma_x sigma_y, whose square
    roots would have infinite gradients for a constant column. If truth or prediction is constant, the CCC is 0.

    Args:
        truth: shape (batch, outputs).
        prediction: shape (batch, outputs).

    Returns:
        float32, shape (outputs,), in [-1, 1].
    """
    truth, prediction = ops.cast(truth, "float32"), ops.cast(prediction, "float32")
    truth_mean, mean = ops.mean(truth, axis=0), ops.mean(prediction, axis=0)
    truth, prediction = truth - truth_mean, prediction - mean
    covariance = ops.mean(truth * prediction, axis=0)
    spread = ops.mean(ops.square(truth), axis=0) + ops.mean(ops.square(prediction), axis=0)
    return 2.0 * covariance / (spread + ops.square(truth_mean - mean) + CONCORDANCE_EPSILON)


@keras.saving.register_keras_serializable(package="ser")
class ConcordanceLoss(keras.losses.Loss):
    """Weighted sum of 1 - CCC over a network's outputs (Atmaja and Akagi 2020, Eq. 3 to 6).

    A CCC belongs to a whole batch, so the loss is one number per batch and there can be no sample weights. It is
    computed in float32, whatever the precision of the model.

    Args:
        weights: weights of the outputs; they may be 0 or negative, since 1 - alpha - beta of Eq. 5 can be.
        name: as in `keras.losses.Loss`.

    Call:
        y_true: shape (batch, outputs).
        y_pred: shape (batch, outputs).

    Raises:
        ValueError: There is no weight, a weight is not finite, the number of outputs differs from that of weights, or
            sample weights were given.
    """

    def __init__(self, weights: Sequence[float] = (1.0,), name: str = "concordance"):
        super().__init__(reduction="sum", name=name)
        self.weights = tuple(float(weight) for weight in weights)
        if not self.weights or not all(map(math.isfinite, self.weights)):
            raise ValueError(f"The weights must be at least one finite number; got {weights}.")

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Loss of a batch, a scalar."""
        if sample_weight is not None:
            raise ValueError("The concordance loss is one number per batch, so there can be no sample weights.")
        return super().__call__(y_true, y_pred)

    def call(self, y_true, y_pred):
        """Loss of a batch, a scalar."""
        if y_pred.shape[-1] != len(self.weights):
            raise ValueError(f"There are {len(self.weights)} weights, but the network has {y_pred.shape[-1]} outputs.")
        weights = ops.convert_to_tensor(self.weights, "float32")
        return ops.sum(weights * (1.0 - concordance(y_true, y_pred)))

    def get_config(self):
        """The arguments, for saving."""
        return {"weights": list(self.weights), "name": self.name}
