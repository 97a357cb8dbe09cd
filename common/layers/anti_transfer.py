"""The anti-transfer loss: feature maps that differ from those of a network trained on another task."""

from __future__ import annotations

import math

import keras
import numpy as np
from keras import ops

from common.errors import UserError
from common.layers.gram import as_features, scaled_gram, triangle

VARIANTS = ("datapoint", "batch")


def squared_cosines(activation, target):
    """Squared cosine of the vectorised Gram matrices, one a datapoint (Guizzo et al. 2023, Eq. 1).

    Args:
        activation: feature map under training, shape (batch, height, width, channels).
        target: what `GramSignature` made of the extractor's, in either form.

    Returns:
        Shape (batch,), in [0, 1]; 0 where one of the two is all zero.
    """
    features = as_features(activation)
    positions, channels = features.shape[1:]
    gram, norm, scale = scaled_gram(features)
    target = ops.cast(target, "float32")
    if len(target.shape) == 3:
        crossed = ops.einsum("bnc,bmc->bnm", features, target) / ops.sqrt(scale)
        product = ops.sum(crossed * crossed, axis=(1, 2))
    else:
        if positions < channels:
            gram = ops.einsum("bnc,bnd->bcd", features, features) / scale
        whole = ops.take(target, triangle(channels)[1], axis=1)
        product = ops.sum(whole * ops.reshape(gram, (-1, channels * channels)), axis=1)
    return ops.square(product / norm[:, 0, 0])


def batch_wide(activation, target):
    """The authors' public code: squared mean absolute cosine of the rows of one Gram matrix that spans the batch.

    Their matrix has a row and a column a channel *of each datapoint*, so it also compares different utterances. The
    rows' products and norms need no such matrix: with R = sum of f f^T over all rows f, of shape (positions,
    positions), <row_p, row_t> = f_p^T (sum of f_p f_t^T) f_t. That way is taken where it is the smaller one.

    Args:
        activation: feature map under training, shape (batch, height, width, channels).
        target: the extractor's feature map in the form "raw", shape (batch, positions, channels).

    Returns:
        One number.
    """
    maps = []
    for features in (as_features(activation), ops.cast(target, "float32")):
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
        variant: "datapoint": as the paper defines it, averaged over the batch; "batch": the authors' public code.
        **kwargs: as in `keras.layers.Layer`.

    Call:
        inputs: (activation, target): the trained network's feature map, shape (batch, height, width, channels), and
            the extractor's `GramSignature` (for "batch": of the form "raw"). Returns the squared cosines, (batch,).

    Raises:
        UserError: the two have other numbers of channels.
    """

    def __init__(self, beta: float = 1.0, variant: str = "datapoint", **kwargs):
        kwargs["dtype"] = "float32"
        # No autocast: half precision stays as it comes, and a target keeps every digit.
        super().__init__(autocast=False, **kwargs)
        if variant not in VARIANTS:
            raise UserError(f"There is no anti-transfer variant '{variant}'; it is 'datapoint' or 'batch'.")
        self.beta = beta
        self.variant = variant

    def build(self, input_shape):
        """Checks that the two belong together."""
        activation, target = input_shape
        width, rank = activation[-1], len(target)
        if self.variant == "batch" and (rank != 3 or target[1] != np.prod(activation[1:-1])):
            raise UserError("The batch-wide variant compares feature maps: make its targets with the form 'raw'.")
        other = target[-1] if rank == 3 else (math.isqrt(8 * target[-1] + 1) - 1) // 2
        if other != width:
            raise UserError(
                f"The pretrained extractor has {other} channels at the anti-transfer layer and the network {width}; "
                "choose an extractor of the network's width."
            )

    def call(self, inputs):
        """Adds the loss; returns the squared cosines."""
        activation, target = inputs
        target = ops.stop_gradient(target)
        if self.variant == "batch":
            values = batch_wide(activation, target) * ops.ones_like(target[:, 0, 0])
        else:
            values = squared_cosines(activation, target)
        self.add_loss(self.beta * ops.mean(values))
        return values

    def compute_output_shape(self, input_shape):
        """(batch,)."""
        return (input_shape[0][0],)

    def get_config(self):
        """The arguments, for saving."""
        return {**super().get_config(), "beta": self.beta, "variant": self.variant}
