"""The anti-transfer loss: makes feature maps differ from those of a network that was trained for another task."""

from __future__ import annotations

import math

import keras
import numpy as np
from keras import ops

from common.errors import UserError
from common.layers.gram import flatten_positions, scaled_gram, triangle_indices

VARIANTS = ("datapoint", "batch")


def squared_cosines(feature_map, signature):
    """Squared cosine of the vectorised Gram matrices of two feature maps (Guizzo et al. 2023, Eq. 1).

    Args:
        feature_map: of the network in training, shape (batch, height, width, channels).
        signature: of the extractor's feature map, by `GramSignature` in the form "gram" or "features".

    Returns:
        Shape (batch,), in [0, 1]; 0 if one of the two is all zero.
    """
    features = flatten_positions(feature_map)
    positions, channels = features.shape[1:]
    gram, norm, scale = scaled_gram(features)
    signature = ops.cast(signature, "float32")
    if len(signature.shape) == 3:
        crossed = ops.einsum("bnc,bmc->bnm", features, signature) / ops.sqrt(scale)
        product = ops.sum(crossed * crossed, axis=(1, 2))
    else:
        if positions < channels:  # then `gram` is over positions
            gram = ops.einsum("bnc,bnd->bcd", features, features) / scale
        whole = ops.take(signature, triangle_indices(channels)[1], axis=1)
        product = ops.sum(whole * ops.reshape(gram, (-1, channels * channels)), axis=1)
    return ops.square(product / norm[:, 0, 0])


def batch_squared_cosine(feature_map, raw):
    """The loss of the authors' public code: squared mean absolute cosine of the rows of one Gram matrix per batch.

    Their matrix has a row and a column for each channel *of each example*, so it also compares different utterances.
    The products and norms of its rows can be computed without the matrix: with R = sum of f f^T over all rows f, of
    shape (positions, positions), <row_p, row_t> = f_p^T (sum of f_p f_t^T) f_t. The smaller of the two is used.

    Args:
        feature_map: of the network in training, shape (batch, height, width, channels).
        raw: the extractor's `GramSignature` in the form "raw", shape (batch, positions, channels).

    Returns:
        A scalar.
    """
    maps = []
    for features in (flatten_positions(feature_map), ops.cast(raw, "float32")):
        largest = ops.max(ops.abs(features))  # cancels in the cosine
        maps.append(features / ops.stop_gradient(ops.where(largest > 0, largest, ops.ones_like(largest))))
    trained, fixed = maps
    positions, channels = trained.shape[1:]
    if positions <= 16 * channels:

        def rows_product(a, b):
            through = ops.einsum("nm,bmc->bnc", ops.einsum("bnc,bmc->nm", a, b), b)
            return ops.sum(a * through, axis=1)
    else:
        rows = [ops.reshape(ops.transpose(x, (0, 2, 1)), (-1, positions)) for x in maps]
        grams = dict(zip(map(id, maps), (ops.matmul(x, ops.transpose(x)) for x in rows), strict=True))

        def rows_product(a, b):
            return ops.sum(grams[id(a)] * grams[id(b)], axis=1)

    norms = rows_product(trained, trained) * rows_product(fixed, fixed)
    cosines = rows_product(fixed, trained) / ops.sqrt(ops.maximum(norms, 1e-24))
    return ops.square(ops.mean(ops.abs(cosines)))


@keras.saving.register_keras_serializable(package="ser")
class AntiTransfer(keras.layers.Layer):
    """Adds beta times the squared cosine of two Gram matrices to the loss (Guizzo et al. 2023, Eq. 1 and 2).

    Args:
        beta: weight of the loss.
        variant: "datapoint": as the publication defines it, the mean of `squared_cosines` over the batch; "batch": as
            in the authors' public code, `batch_squared_cosine`.
        **kwargs: as in `keras.layers.Layer`.

    Call:
        inputs: (feature_map, signature): the feature map of the network in training, shape (batch, height, width,
            channels), and the extractor's `GramSignature` (for "batch" in the form "raw"). Returns the squared
            cosines, shape (batch,).

    Raises:
        UserError: The variant is unknown, or the two inputs have different numbers of channels.
    """

    def __init__(self, beta: float = 1.0, variant: str = "datapoint", **kwargs):
        kwargs["dtype"] = "float32"
        # Without autocast, because signatures must keep their precision.
        super().__init__(autocast=False, **kwargs)
        if variant not in VARIANTS:
            raise UserError(f"There is no anti-transfer variant '{variant}'; it is 'datapoint' or 'batch'.")
        self.beta = beta
        self.variant = variant

    def build(self, input_shape):
        """Checks that feature map and signature fit each other."""
        feature_map, signature = input_shape
        width, rank = feature_map[-1], len(signature)
        if self.variant == "batch" and (rank != 3 or signature[1] != np.prod(feature_map[1:-1])):
            raise UserError("The variant 'batch' compares feature maps: make its signatures with the form 'raw'.")
        other = signature[-1] if rank == 3 else (math.isqrt(8 * signature[-1] + 1) - 1) // 2
        if other != width:
            raise UserError(
                f"The pretrained extractor has {other} channels at the anti-transfer layer and the network {width}; "
                "choose an extractor of the network's width."
            )

    def call(self, inputs):
        """Adds the loss and returns the squared cosines."""
        feature_map, signature = inputs
        signature = ops.stop_gradient(signature)
        if self.variant == "batch":
            values = batch_squared_cosine(feature_map, signature) * ops.ones_like(signature[:, 0, 0])
        else:
            values = squared_cosines(feature_map, signature)
        self.add_loss(self.beta * ops.mean(values))
        return values

    def compute_output_shape(self, input_shape):
        """(batch,)."""
        return (input_shape[0][0],)

    def get_config(self):
        """Arguments of the constructor, for saving."""
        return {**super().get_config(), "beta": self.beta, "variant": self.variant}
