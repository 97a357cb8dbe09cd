"""Image networks that map a spectrogram to one feature vector.

DenseNet169 and ResNet50 are those of `keras.applications`, with or without ImageNet weights. `small_cnn` is a small
network for scaled runs on a CPU; it is not from a publication.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.errors import unknown

NAMES = ("densenet169", "resnet50", "small_cnn")

PIXEL_MEAN = np.array([0.485, 0.456, 0.406])
PIXEL_DEVIATION = np.array([0.229, 0.224, 0.225])
"""Mean and deviation of ImageNet's red, green and blue, as a share of 255."""

CAFFE_MEAN = np.array([103.939, 116.779, 123.68])
"""What `keras.applications` subtracts from blue, green and red, 0 to 255, for checkpoints of the family "caffe"."""

FAMILIES = {"densenet169": "torch", "resnet50": "caffe"}
"""Preprocessing of the ImageNet checkpoints of `keras.applications`.

"torch": red, green and blue, each with mean 0 and deviation 1. "caffe": blue, green and red, 0 to 255, each minus its
mean, so that the deviation is about 58.
"""


def checkpoint_scaling(name: str, images: str) -> tuple[list[float], list[float]]:
    """Factor and offset per channel that turn images into what an ImageNet checkpoint was trained on.

    Its moving statistics fit the images only then. The images become pixels, which the checkpoint's own preprocessing
    then scales.

    Args:
        name: "densenet169" or "resnet50".
        images: "statistics": the images have mean 0 and deviation 1, and become pixels with ImageNet's mean and
            deviation. "pixels": the images are grey, 0 to 1, and become pixels from 0 to 255.

    Returns:
        Factors and offsets for the network's three channels, in its own order.
    """
    scale, offset = (PIXEL_DEVIATION, PIXEL_MEAN) if images == "statistics" else (np.ones(3), np.zeros(3))
    if FAMILIES[name] == "caffe":
        scale, offset = 255 * scale[::-1], 255 * offset[::-1] - CAFFE_MEAN
    else:
        scale, offset = scale / PIXEL_DEVIATION, (offset - PIXEL_MEAN) / PIXEL_DEVIATION
    return scale.tolist(), offset.tolist()


def backbone(
    name: str,
    frames: int,
    bins: int,
    *,
    channels: int = 1,
    weights: Path | None = None,
    images: str = "unchanged",
    tune: str = "all",
    width: float = 1.0,
):
    """Builds a model from spectrograms to feature vectors.

    Args:
        name: "densenet169", "resnet50" or "small_cnn".
        frames: frames of the spectrogram.
        bins: bins of the spectrogram.
        channels: 1, which DenseNet169 and ResNet50 repeat three times, or 3.
        weights: file of ImageNet weights without the classification head; None: random weights.
        images: "unchanged", or what the images are before they are scaled for the checkpoint (`checkpoint_scaling`).
        tune: layers of DenseNet169 or ResNet50 that are trained: "all", "last" (the last of the four stages) or "head"
            (none of them). Batch normalisation in other layers uses its moving statistics and keeps them.
        width: factor on the channels of `small_cnn`.

    Returns:
        Keras model from (batch, frames, bins, channels) to (batch, features), with 1664 features for DenseNet169 and
        2048 for ResNet50.

    Raises:
        UserError: There is no such backbone; offers the nearest names.
    """
    import keras

    if name not in NAMES:
        raise unknown("backbone", name, NAMES)
    inputs = keras.Input((frames, bins, channels), name="spectrogram")
    if name == "small_cnn":
        return keras.Model(inputs, _small_cnn(inputs, width), name=name)
    build = {"densenet169": keras.applications.DenseNet169, "resnet50": keras.applications.ResNet50}[name]
    network = build(
        include_top=False,
        weights=None if weights is None else str(weights),
        input_shape=(frames, bins, 3),
        pooling="avg",
    )
    if tune != "all":
        fixed = network.layers
        if tune == "last":
            fixed = fixed[: next(k for k, layer in enumerate(fixed) if layer.name.startswith("conv5"))]
        for layer in fixed:
            layer.trainable = False
    x = inputs if channels == 3 else keras.layers.Concatenate(axis=-1)([inputs, inputs, inputs])
    if images != "unchanged":
        x = keras.layers.Rescaling(*checkpoint_scaling(name, images), name="checkpoint_scaling")(x)
    return keras.Model(inputs, network(x), name=name)


def _small_cnn(inputs, width: float):
    from keras import layers

    def channels(count: int) -> int:
        return max(4, round(count * width))

    # Cells of 80 ms by 40 Hz keep the prosodic contour and the harmonics of a male voice, at 1/32 of the cost.
    x = layers.AveragePooling2D((8, 4), padding="same", name="coarse")(inputs)
    for stage, count in enumerate((16, 32, 64, 96), start=1):
        x = layers.Conv2D(channels(count), 3, padding="same", use_bias=False, name=f"conv{stage}")(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"norm{stage}")(x)
        x = layers.ReLU(name=f"relu{stage}")(x)
        if stage < 4:
            x = layers.MaxPooling2D(2, padding="same", name=f"pool{stage}")(x)
    average = layers.GlobalAveragePooling2D(name="average")(x)
    peak = layers.GlobalMaxPooling2D(name="peak")(x)
    return layers.Concatenate(name="features")([average, peak])
