"""VGG16 (Simonyan & Zisserman 2015, configuration D), real and quaternion, with access to its feature maps.

As Guizzo et al. (2023, Sec. 3.1) use it, it has thirteen 3x3 convolutions with bias and ReLU, five max poolings, two
dense layers with dropout, and a last dense layer. In the quaternion network, all layers but the last are quaternion
layers.
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
    """Averages over a grid of cells that cover the feature map, as PyTorch's adaptive average pooling.

    Cell i of n over L positions extends from floor(i L / n) to ceil((i + 1) L / n), so the result may also be larger
    than the input.

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
        """Arguments of the constructor, for saving."""
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
    until: str = "logits",
) -> keras.Model:
    """Builds a VGG16 whose outputs are logits, or a VGG16 up to one of its layers.

    With width 1 and four classes, it has 165,733,060 parameters for the input (512, 128, 1) and pooling "flatten",
    134,275,780 with pooling "adaptive" (torchvision's network with one input channel), and 9,998,020 as a quaternion
    network for the input (64, 64, 4) and pooling "flatten".

    Args:
        input_shape: (frames, bins, channels) with at least 32 frames and bins, and four channels for a quaternion
            network.
        classes: width of the last layer, which is always real.
        quaternion: quaternion layers instead of real ones.
        pooling: before the dense layers: "flatten": none; "adaptive": torchvision's average over 7 x 7 cells.
        width: factor on channels and units, for tests and scaled runs.
        dropout: after each of the two hidden dense layers.
        initializer: "default": torchvision's for real networks, "glorot" for quaternion convolutions and "he" for
            quaternion dense layers; "glorot" or "he": the same for all hidden layers.
        until: name of the layer whose output is the model's: "inputs", one of the ReLUs and poolings, or "logits". What
            comes after it is not built.

    Returns:
        Model from (batch, *input_shape) to logits (batch, classes), float32. Its layers are conv1, relu1 ... conv13,
        relu13, pool1 ... pool5, dense1, dense2 and logits.

    Raises:
        UserError: The input is too small for five poolings, an argument is not one of the known values, or the input
            channels of a quaternion network are not a multiple of four.
    """
    if min(input_shape[:2]) < 32:
        raise UserError(f"VGG16 halves its input five times: {input_shape[0]} x {input_shape[1]} is below 32 x 32.")
    if pooling not in POOLINGS:
        raise UserError(f"There is no pooling '{pooling}' in VGG16; it is one of {', '.join(POOLINGS)}.")

    def scaled(count: int) -> int:
        return max(4, 4 * round(count * width / 4))

    convolve, connect = _hidden_layers(quaternion, initializer)
    inputs = x = keras.Input(input_shape, name="inputs")
    if until == "inputs":
        return keras.Model(inputs, inputs)
    number = 0
    for block, counts in enumerate(CHANNELS, start=1):
        for count in counts:
            number += 1
            x = convolve(scaled(count), 3, padding="same", name=f"conv{number}")(x)
            x = layers.ReLU(name=f"relu{number}")(x)
            if until == f"relu{number}":
                return keras.Model(inputs, x)
        x = layers.MaxPooling2D(2, name=f"pool{block}")(x)
        if until == f"pool{block}":
            return keras.Model(inputs, x)
    if pooling == "adaptive":
        x = AdaptiveAverage((7, 7), name="adaptive")(x)
    # Channels first, as in PyTorch. It also keeps the four components contiguous, as quaternion dense layers need them.
    x = layers.Flatten(name="flatten")(layers.Permute((3, 1, 2), name="channels_first")(x))
    for number in (1, 2):
        x = connect(scaled(4096), activation="relu", name=f"dense{number}")(x)
        x = layers.Dropout(dropout, name=f"dropout{number}")(x)
    outputs = layers.Dense(classes, kernel_initializer=_linear(initializer), dtype="float32", name="logits")(x)
    return keras.Model(inputs, outputs, name="quaternion_vgg16" if quaternion else "vgg16")


def _hidden_layers(quaternion: bool, initializer: str):
    """Functions that make a convolution and a hidden dense layer."""
    if initializer not in ("default", "glorot", "he"):
        raise UserError(f"There is no initialisation '{initializer}' of VGG16; it is 'default', 'glorot' or 'he'.")
    if quaternion:
        chosen = {} if initializer == "default" else {"kernel_initializer": initializer}
        return (
            lambda *arguments, **keywords: QuaternionConv2D(*arguments, **chosen, **keywords),
            lambda *arguments, **keywords: QuaternionDense(*arguments, **chosen, **keywords),
        )

    def kernel():
        if initializer == "default":  # torchvision: Kaiming's normal distribution with mode "fan_out"
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


def name_of_feature_map(layer: int, *, reading: str = "output") -> str:
    """Name of the layer whose output is the feature map of a convolution (see `feature_map`)."""
    if reading == "output":
        return f"relu{layer}"
    before = 0
    for block, counts in enumerate(CHANNELS):
        if layer == before + 1:
            return f"pool{block}" if block else "inputs"
        before += len(counts)
    return f"relu{layer - 1}"


def feature_map(model: keras.Model, layer: int, *, reading: str = "output"):
    """Returns the feature map of a convolution as a tensor of the model's graph.

    Args:
        model: a model of `vgg16`.
        layer: number of the convolution, 1 to 13.
        reading: "output": the output of the convolution after its ReLU; "input": the input of the convolution, as the
            authors' public code takes it (so its layer 1 is the input of the network).

    Returns:
        KerasTensor of shape (batch, height, width, channels).

    Raises:
        UserError: There is no such layer or reading.
    """
    if layer not in range(1, CONVOLUTIONS + 1):
        raise UserError(f"VGG16 has no convolution {layer}; anti-transfer layers are 1 to {CONVOLUTIONS}.")
    if reading not in ("output", "input"):
        raise UserError(f"There is no reading '{reading}' of a layer; it is 'output' or 'input'.")
    return model.get_layer(name_of_feature_map(layer, reading=reading)).output
