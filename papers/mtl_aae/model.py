"""The networks: encoder, decoder, discriminator and one classifier per task (Sec. IV-C, Fig. 1).

Images are spectrograms of shape (batch, rows, frames, 1) with the lowest frequency in row 0. At the paper's size, the
latent code has the shape (batch, 16, 16, 32).
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
from keras import layers

from papers.mtl_aae.config import AaeConfig

CNN_BLOCKS = 2
"""Sec. V-B: the supervised baseline shares two convolutional layers."""


def _normalised(x, config: AaeConfig, name: str, *, activation: bool = True):
    """Batch normalisation before the nonlinearity (Sec. IV-C)."""
    x = layers.BatchNormalization(momentum=config.batch_norm_momentum, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if activation else x


def build_encoder(config: AaeConfig) -> keras.Model:
    """Image to latent code: convolution, batch normalisation, ReLU and pooling, three times (the CNN: twice)."""
    image = x = layers.Input((config.rows, config.frames, 1), name="picture")
    blocks = list(zip(config.layers, config.pool_sizes, strict=True))
    if config.model == "cnn":
        blocks = blocks[:CNN_BLOCKS]
    for number, (width, pool) in enumerate(blocks, start=1):
        x = layers.Conv2D(width, config.kernel, padding="same", use_bias=False, name=f"conv{number}")(x)
        x = _normalised(x, config, f"conv{number}", activation=number < len(blocks) or config.latent_relu)
        x = layers.MaxPooling2D(pool, name=f"pool{number}")(x)
    return keras.Model(image, x, name="encoder")


def build_decoder(config: AaeConfig) -> keras.Model:
    """Latent code to image: the mirrored encoder, with transposed convolutions whose strides undo the pooling."""
    code = x = layers.Input(config.latent_shape, name="code")
    widths = [*reversed(config.layers[:-1]), 1]
    for number, (width, stride) in enumerate(zip(widths, reversed(config.pool_sizes), strict=True), start=1):
        last = number == len(widths)
        # A kernel smaller than the stride would leave pixels that no input reaches.
        size = tuple(max(config.kernel, step) for step in stride)
        x = layers.Conv2DTranspose(
            width,
            size,
            strides=stride,
            padding="same",
            use_bias=last,
            name=f"deconv{number}",
            dtype="float32" if last else None,
        )(x)
        if not last:
            x = _normalised(x, config, f"deconv{number}")
    return keras.Model(code, x, name="decoder")


def build_head(config: AaeConfig, shape: tuple[int, ...], outputs: int, name: str) -> keras.Model:
    """A classifier of the latent code, or the discriminator, which has the same layers (Sec. IV-C).

    Args:
        config: settings.
        shape: shape of the latent code.
        outputs: number of classes; 1 for the discriminator.
        name: the task, or "discriminator".

    Returns:
        Latent code to logits, float32, shape (batch, outputs).
    """
    code = layers.Input(shape, name="code")
    normalise = config.head_batch_norm and name != "discriminator"
    x = layers.Conv2D(config.head_width, config.kernel, padding="same", use_bias=not normalise, name="conv")(code)
    x = _normalised(x, config, "conv") if normalise else layers.ReLU(name="conv_relu")(x)
    x = layers.MaxPooling2D(2, name="pool")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(config.dense_units, activation="relu", name="dense1")(x)
    x = layers.Dropout(config.dropout, name="dropout")(x)
    x = layers.Dense(config.dense_units, activation="relu", name="dense2")(x)
    return keras.Model(code, layers.Dense(outputs, dtype="float32", name="logits")(x), name=name)


def build_model(config: AaeConfig, classes: Mapping[str, int]) -> keras.Model:
    """All networks as one model, so that their weights are kept and saved together.

    Args:
        config: settings.
        classes: number of classes by task: "emotion" for the primary one, then the secondary ones that are trained.

    Returns:
        Image to a dictionary: logits by task, with a decoder also "reconstruction", with a discriminator also
        "realness". `get_layer` finds the parts by name: encoder, decoder, discriminator, and the tasks.
    """
    encoder = build_encoder(config)
    image = layers.Input((config.rows, config.frames, 1), name="picture")
    code = encoder(image)
    outputs = {task: build_head(config, code.shape[1:], count, task)(code) for task, count in classes.items()}
    if config.model != "cnn":
        outputs["reconstruction"] = build_decoder(config)(code)
    if config.model == "aae":
        outputs["realness"] = build_head(config, code.shape[1:], 1, "discriminator")(code)
    return keras.Model(image, outputs, name=f"mtl_aae_{config.model}")
