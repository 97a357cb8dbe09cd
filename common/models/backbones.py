"""Image networks that map a spectrogram to one feature vector.

DenseNet169 and ResNet50 are those of `keras.applications`, with or without ImageNet weights. `small_cnn` is a small
network for scaled runs on a CPU; it is not from a publication.
"""

from __future__ import annotations

from pathlib import Path

from common.errors import unknown

NAMES = ("densenet169", "resnet50", "small_cnn")


def backbone(name: str, frames: int, bins: int, *, weights: Path | None = None, width: float = 1.0):
    """Builds a model from spectrograms to feature vectors.

    Args:
        name: "densenet169", "resnet50" or "small_cnn".
        frames: frames of the spectrogram.
        bins: bins of the spectrogram.
        weights: file of ImageNet weights without the classification head; None: random weights.
        width: factor on the channels of `small_cnn`.

    Returns:
        Keras model from (batch, frames, bins, 1) to (batch, features), with 1664 features for DenseNet169 and 2048 for
        ResNet50.

    Raises:
        UserError: There is no such backbone; offers the nearest names.
    """
    import keras

    if name not in NAMES:
        raise unknown("backbone", name, NAMES)
    inputs = keras.Input((frames, bins, 1), name="spectrogram")
    if name == "small_cnn":
        return keras.Model(inputs, _small_cnn(inputs, width), name=name)
    build = {"densenet169": keras.applications.DenseNet169, "resnet50": keras.applications.ResNet50}[name]
    network = build(
        include_top=False,
        weights=None if weights is None else str(weights),
        input_shape=(frames, bins, 3),
        pooling="avg",
    )
    three_channels = keras.layers.Concatenate(axis=-1)([inputs, inputs, inputs])
    return keras.Model(inputs, network(three_channels), name=name)


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
