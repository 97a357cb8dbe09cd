"""VGG16, real and quaternion, with a tap at each of its thirteen convolutions.

Simonyan & Zisserman (2015), configuration D, as Guizzo et al. (2023, Sec. 3.1) use it: 3x3 convolutions with bias and
ReLU, five max poolings, two dense layers with dropout, a last real layer. The quaternion network has quaternion
convolutions and dense layers but the last.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops

from common.errors import UserError
from common.layers.quaternion import QuaternionConv2D, QuaternionDense

CHANNELS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
CONVOLUTIONS = sum(map(len, CHANNELS))
POOLINGS = ("flatten", "adaptive")


@keras.saving.register_keras_serializable(package="ser")
class AdaptiveAverage(keras.layers.Layer):
    """Averages over a grid of cells that cover the map, as PyTorch's adaptive pooling cuts them; also enlarges.

    Cell i of n over L positions runs from floor(i L / n) to ceil((i + 1) L / n).

    Args:
        cells: height and width of the result.
        **kwargs: as in `keras.layers.Layer`.

    Call:
        inputs: shape (batch, height, width, channels). Returns shape (batch, *cells, channels).
    """

    def __init__(self, cells: tuple[int, int], **kwargs):
        super().__init__(**kwargs)
        self.cells = tuple(cells)

    def call(self, inputs):
        """The averages."""
        down, across = (
            ops.convert_to_tensor(self._weights(*sizes), dtype=inputs.dtype)
            for sizes in zip(inputs.shape[1:3], self.cells, strict=True)
        )
        return ops.einsum("ph,bhwc,qw->bpqc", down, inputs, across)

    @staticmethod
    def _weights(length: int, cells: int) -> np.ndarray:
        weights = np.zeros((cells, length), np.float32)
        for cell in range(cells):
            start, end = cell * length // cells, -((cell + 1) * length // -cells)
            weights[cell, start:end] = 1 / (end - start)
        return weights

    def compute_output_shape(self, input_shape):
        """(batch, *cells, channels)."""
        return (input_shape[0], *self.cells, input_shape[-1])

    def get_config(self):
        """The arguments, for saving."""
        return {**super().get_config(), "cells": self.cells}


def vgg16(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    quaternion: bool = False,
    pooling: str = "flatten",
    width: float = 1.0,
    dropout: float = 0.5,
    initializer: str = "default",
) -> keras.Model:
    """A VGG16 that answers with logits.

    Parameters at width 1 with four classes: 165,733,060 from (512, 128, 1) flattened, 134,275,780 with adaptive pooling
    (torchvision's network with one input channel), 9,998,020 quaternion from (64, 64, 4) flattened.

    Args:
        input_shape: (frames, bins, channels); each of the first two is at least 32. Quaternion: channels are four.
        classes: width of the last layer, which is always real.
        quaternion: quaternion layers instead of real ones.
        pooling: before the dense layers: "flatten": none; "adaptive": torchvision's average over 7 x 7 cells.
        width: multiplies channels and units, for tests and laptops.
        dropout: after each of the two hidden dense layers.
        initializer: "default": torchvision's for real networks, "glorot" for quaternion convolutions and "he" for
            quaternion dense layers; or "glorot" or "he" for all hidden layers.

    Returns:
        Model from (batch, *input_shape) to logits (batch, classes), float32. Its layers are conv1, relu1 ... conv13,
        relu13, pool1 ... pool5, dense1, dense2 and logits.

    Raises:
        UserError: an input too small for five poolings, or channels that are no multiple of four in a quaternion net.
    """
    if min(input_shape[:2]) < 32:
        raise UserError(f"VGG16 halves its input five times: {input_shape[0]} x {input_shape[1]} is below 32 x 32.")
    if pooling not in POOLINGS:
        raise UserError(f"There is no pooling '{pooling}' in VGG16; it is one of {', '.join(POOLINGS)}.")

    def scaled(count: int) -> int:
        return max(4, 4 * round(count * width / 4))

    convolve, connect = _hidden_layers(quaternion, initializer)
    inputs = x = keras.Input(input_shape, name="inputs")
    number = 0
    for block, counts in enumerate(CHANNELS, start=1):
        for count in counts:
            number += 1
            x = convolve(scaled(count), 3, padding="same", name=f"conv{number}")(x)
            x = layers.ReLU(name=f"relu{number}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{block}")(x)
    if pooling == "adaptive":
        x = AdaptiveAverage((7, 7), name="adaptive")(x)
    # Channels first, as in PyTorch; and so the four components stay contiguous blocks for the dense layers.
    x = layers.Flatten(name="flatten")(layers.Permute((3, 1, 2), name="channels_first")(x))
    for number in (1, 2):
        x = connect(scaled(4096), activation="relu", name=f"dense{number}")(x)
        x = layers.Dropout(dropout, name=f"dropout{number}")(x)
    outputs = layers.Dense(classes, kernel_initializer=_linear(initializer), dtype="float32", name="logits")(x)
    return keras.Model(inputs, outputs, name="quaternion_vgg16" if quaternion else "vgg16")


def _hidden_layers(quaternion: bool, initializer: str):
    if initializer not in ("default", "glorot", "he"):
        raise UserError(f"There is no initialisation '{initializer}' of VGG16; it is 'default', 'glorot' or 'he'.")
    if quaternion:
        chosen = {} if initializer == "default" else {"kernel_initializer": initializer}
        return (
            lambda *arguments, **keywords: QuaternionConv2D(*arguments, **chosen, **keywords),
            lambda *arguments, **keywords: QuaternionDense(*arguments, **chosen, **keywords),
        )

    def kernel():
        if initializer == "default":  # torchvision: Kaiming's normal over the outputs' fan
            return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
        return f"{initializer}_normal"

    return (
        lambda *arguments, **keywords: layers.Conv2D(*arguments, kernel_initializer=kernel(), **keywords),
        lambda *arguments, **keywords: layers.Dense(*arguments, kernel_initializer=_linear(initializer), **keywords),
    )


def _linear(initializer: str):
    if initializer == "default":  # torchvision's
        return keras.initializers.RandomNormal(stddev=0.01)
    return f"{initializer}_normal"


def tap(model: keras.Model, layer: int, *, reading: str = "output"):
    """The feature map of a convolution, as a tensor of the model's graph.

    Args:
        model: what `vgg16` returned.
        layer: 1 to 13.
        reading: "output": of that convolution, after its ReLU; "input": what goes into that convolution, which is what
            the authors' public code takes (its layer 1 is the raw input, its layer 2 this function's output of 1).

    Returns:
        KerasTensor of shape (batch, height, width, channels).

    Raises:
        UserError: there is no such layer.
    """
    if layer not in range(1, CONVOLUTIONS + 1):
        raise UserError(f"VGG16 has no convolution {layer}; anti-transfer layers are 1 to {CONVOLUTIONS}.")
    if reading not in ("output", "input"):
        raise UserError(f"There is no reading '{reading}' of a layer; it is 'output' or 'input'.")
    return model.get_layer(f"relu{layer}").output if reading == "output" else model.get_layer(f"conv{layer}").input
