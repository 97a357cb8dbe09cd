"""Gram matrices of feature maps, in the smallest form from which the anti-transfer loss can be computed.

For an example's feature map F of shape (positions, channels), the channel Gram matrix is G = F^T F. The cosine of two
vectorised Gram matrices needs an inner product and two norms, which can also be computed from matrices over positions:

    <G_p, G_t> = tr(F_p^T F_p F_t^T F_t) = ||F_t F_p^T||^2        ||G|| = ||F^T F|| = ||F F^T||

(Frobenius norms; the trace is cyclic). So if a layer has fewer positions than channels, it is cheaper to store the
feature map itself and to compute with it; the values are the same.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from common.errors import UserError

FORMS = ("gram", "features", "raw")


def smaller_form(positions: int, channels: int) -> str:
    """The form with fewer numbers: "gram" has channels (channels + 1) / 2, "features" has positions * channels."""
    return "gram" if (channels + 1) / 2 < positions else "features"


def flatten_positions(feature_map):
    """Reshapes a feature map (batch, height, width, channels) to (batch, positions, channels), float32."""
    shape = feature_map.shape
    positions = int(np.prod(shape[1:-1]))
    return ops.cast(ops.reshape(feature_map, (-1, positions, shape[-1])), "float32")


def scaled_gram(features):
    """Computes the Gram matrix over channels or over positions, whichever is smaller.

    It is divided by its largest absolute element, so that its squares do not overflow in float32.

    Args:
        features: shape (batch, positions, channels).

    Returns:
        (gram / scale, norm of gram / scale, scale), with shapes (batch, n, n), (batch, 1, 1) and (batch, 1, 1). The
        scale is 1 for an all-zero feature map. No gradient flows through it, so it must cancel in the final result.
    """
    positions, channels = features.shape[1:]
    gram = ops.einsum("bnc,bmc->bnm" if positions < channels else "bnc,bnd->bcd", features, features)
    scale = ops.max(ops.abs(gram), axis=(1, 2), keepdims=True)
    scale = ops.stop_gradient(ops.where(scale > 0, scale, ops.ones_like(scale)))
    gram = gram / scale
    # 1e-12 does not change a norm of at least 1 in float32, and it keeps the derivative finite at 0.
    return gram, ops.sqrt(ops.sum(gram * gram, axis=(1, 2), keepdims=True) + 1e-12), scale


def triangle_indices(channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices between a flattened symmetric matrix and its upper triangle.

    Returns:
        The indices of the triangle's elements in the matrix, and of the matrix's elements in the triangle.
    """
    rows, columns = np.triu_indices(channels)
    inverse = np.empty((channels, channels), np.int32)
    inverse[rows, columns] = inverse[columns, rows] = np.arange(len(rows))
    return (rows * channels + columns).astype(np.int32), inverse.ravel()


@keras.saving.register_keras_serializable(package="ser")
class GramSignature(keras.layers.Layer):
    """The signature of a feature map: what `AntiTransfer` needs of the fixed extractor, float32.

    Args:
        form: "gram": the upper triangle of G / ||G||; "features": F / sqrt(||G||); "raw": F, for the variant "batch" of
            `AntiTransfer`; None: "gram" or "features", whichever is smaller.
        **kwargs: as in `keras.layers.Layer`.

    Call:
        inputs: feature map, shape (batch, height, width, channels). Returns shape (batch, channels (channels + 1) / 2)
        for "gram", otherwise (batch, positions, channels).
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
        features, form = flatten_positions(inputs), self._form(inputs.shape)
        if form == "raw":
            return features
        gram, norm, scale = scaled_gram(features)
        if form == "features":
            return features / ops.sqrt(norm * scale)
        positions, channels = features.shape[1:]
        if positions < channels:  # then `gram` is over positions
            gram = ops.einsum("bnc,bnd->bcd", features, features) / scale
        unit = ops.reshape(gram / norm, (-1, channels * channels))
        return ops.take(unit, triangle_indices(channels)[0], axis=1)

    def compute_output_shape(self, input_shape):
        """Shape of the signature, see the class."""
        channels = input_shape[-1]
        if self._form(input_shape) == "gram":
            return (input_shape[0], channels * (channels + 1) // 2)
        return (input_shape[0], int(np.prod(input_shape[1:-1])), channels)

    def get_config(self):
        """Arguments of the constructor, for saving."""
        return {**super().get_config(), "form": self.form}
