"""Gram matrices of feature maps, in the smallest form that anti-transfer can be computed from.

With a datapoint's feature map F of shape (positions, channels), the channel Gram matrix is G = F^T F. The cosine of two
vectorised Gram matrices needs a product and two norms, and both have a second form over positions:

    <G_p, G_t> = tr(F_p^T F_p F_t^T F_t) = ||F_t F_p^T||^2        ||G|| = ||F^T F|| = ||F F^T||

(Frobenius norms; the trace is cyclic). So where a layer has fewer positions than channels, the feature map itself is
the smaller thing to keep, and the smaller thing to compute with; the values are the same.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from common.errors import UserError

FORMS = ("gram", "features", "raw")


def smaller_form(positions: int, channels: int) -> str:
    """The form with fewer numbers: "gram", channels (channels + 1) / 2, or "features", positions * channels."""
    return "gram" if (channels + 1) / 2 < positions else "features"


def as_features(activation):
    """A feature map (batch, height, width, channels) as float32 (batch, positions, channels)."""
    shape = activation.shape
    positions = int(np.prod(shape[1:-1]))
    return ops.cast(ops.reshape(activation, (-1, positions, shape[-1])), "float32")


def scaled_gram(features):
    """The Gram matrix over channels or over positions, whichever is smaller, at a scale that float32 can square.

    Args:
        features: shape (batch, positions, channels).

    Returns:
        (gram / scale, norm of gram / scale, scale), shapes (batch, n, n), (batch, 1, 1), (batch, 1, 1); scale is the
        largest element, 1 for an all-zero map. It is no function of the features for a gradient: whoever uses it
        must use it so that it cancels.
    """
    positions, channels = features.shape[1:]
    gram = ops.einsum("bnc,bmc->bnm" if positions < channels else "bnc,bnd->bcd", features, features)
    scale = ops.max(ops.abs(gram), axis=(1, 2), keepdims=True)
    scale = ops.stop_gradient(ops.where(scale > 0, scale, ops.ones_like(scale)))
    gram = gram / scale
    # The added number is below float32's resolution of a norm that is at least 1, and keeps sqrt's slope finite at 0.
    return gram, ops.sqrt(ops.sum(gram * gram, axis=(1, 2), keepdims=True) + 1e-12), scale


def triangle(channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of a symmetric matrix' upper triangle in the flattened matrix, and of the matrix in that triangle."""
    rows, columns = np.triu_indices(channels)
    inverse = np.empty((channels, channels), np.int32)
    inverse[rows, columns] = inverse[columns, rows] = np.arange(len(rows))
    return (rows * channels + columns).astype(np.int32), inverse.ravel()


@keras.saving.register_keras_serializable(package="ser")
class GramSignature(keras.layers.Layer):
    """What `AntiTransfer` needs of the fixed extractor: its Gram matrix of norm 1, in the smaller form; float32.

    Args:
        form: "gram": the upper triangle of G / ||G||; "features": F / sqrt(||G||); "raw": F as it is, which the
            authors' batch-wide variant needs; None: the smaller of the first two.
        **kwargs: as in `keras.layers.Layer`.

    Call:
        inputs: feature map, shape (batch, height, width, channels). Returns shape (batch, channels (channels + 1) / 2)
        for "gram", else (batch, positions, channels).
    """

    def __init__(self, form: str | None = None, **kwargs):
        kwargs["dtype"] = "float32"
        super().__init__(autocast=False, **kwargs)
        if form is not None and form not in FORMS:
            raise UserError(f"There is no form '{form}' of a Gram matrix; it is one of {', '.join(FORMS)}.")
        self.form = form

    def _form(self, shape) -> str:
        return self.form or smaller_form(int(np.prod(shape[1:-1])), shape[-1])

    def call(self, inputs):
        """The signature."""
        features, form = as_features(inputs), self._form(inputs.shape)
        if form == "raw":
            return features
        gram, norm, scale = scaled_gram(features)
        if form == "features":
            return features / ops.sqrt(norm * scale)
        positions, channels = features.shape[1:]
        if positions < channels:  # asked for, though the larger form
            gram = ops.einsum("bnc,bnd->bcd", features, features) / scale
        unit = ops.reshape(gram / norm, (-1, channels * channels))
        return ops.take(unit, triangle(channels)[0], axis=1)

    def compute_output_shape(self, input_shape):
        """See the class."""
        channels = input_shape[-1]
        if self._form(input_shape) == "gram":
            return (input_shape[0], channels * (channels + 1) // 2)
        return (input_shape[0], int(np.prod(input_shape[1:-1])), channels)

    def get_config(self):
        """The arguments, for saving."""
        return {**super().get_config(), "form": self.form}
