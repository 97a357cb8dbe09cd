"""The acoustic, text and bimodal networks of Sec. IV, and their loss.

LSTM layers keep Keras' defaults and get no mask, because only then they use the cuDNN kernel on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from common.losses import ConcordanceLoss
from papers.dimensional_mtl.config import DIMENSIONS, DimensionalConfig

KERNELS = (4, 8, 12)
"""Kernel sizes of the three convolutions (Fig. 2)."""

FUSION = (64, 32)
"""Units of the two dense layers after the concatenation (Sec. IV-B)."""

SMALL_ACOUSTIC = (47, 256, 256)
"""LSTM units of the authors' small acoustic network; with other widths than 256 they shrink in proportion."""


def build_loss(config: DimensionalConfig) -> ConcordanceLoss:
    """The multitask loss (Eq. 4, 5 or 6)."""
    return ConcordanceLoss(config.weights)


def build_model(
    config: DimensionalConfig, acoustic_shape: Sequence[int] = (), words: int = 0, vectors: np.ndarray | None = None
) -> keras.Model:
    """Network from {"acoustic", "text"} to valence, arousal and dominance in [-1, 1], shape (batch, 3).

    The paper has three output layers of one unit each; one layer of three units computes the same function.

    Args:
        config: settings.
        acoustic_shape: (steps, features) of the acoustic input; unused without one.
        words: rows of the embedding, including the padding; unused without words.
        vectors: initial values of the embedding, shape (words, embedding); None: random.
    """
    branches = []
    inputs = {}
    if config.uses_audio:
        inputs["acoustic"] = keras.Input(tuple(acoustic_shape), name="acoustic")
        branches.append(_acoustic(config, inputs["acoustic"]))
    if config.uses_words:
        inputs["text"] = keras.Input((config.text_length,), dtype="int32", name="text")
        branches.append(_text(config, inputs["text"], words, vectors))
    x = branches[0]
    if len(branches) == 2:
        x = keras.layers.Concatenate(name="concatenation")(branches)
        for number, units in enumerate(FUSION, start=1):
            x = keras.layers.Dense(units, activation=config.activation, name=f"fusion_{number}")(x)
        x = _dropout(config.fusion_dropout, "fusion_dropout")(x)
    outputs = keras.layers.Dense(len(DIMENSIONS), dtype="float32", name="dimensions")(x)
    return keras.Model(inputs, outputs, name=f"dimensional_{config.modality}")


def _acoustic(config: DimensionalConfig, x):
    """Fig. 2: batch normalisation, three layers, all steps flattened, dropout."""
    x = keras.layers.BatchNormalization(momentum=config.momentum, name="acoustic_normalisation")(x)
    if config.acoustic_network == "lstm":
        widths = [config.width] * 3
        if config.small_acoustic:
            widths = [max(1, units * config.width // 256) for units in SMALL_ACOUSTIC]
        for number, units in enumerate(widths, start=1):
            sequences = number < 3 or not config.small_acoustic
            x = keras.layers.LSTM(units, return_sequences=sequences, name=f"acoustic_lstm_{number}")(x)
        if config.small_acoustic:
            x = keras.layers.Dense(widths[0], name="acoustic_dense")(x)
    else:
        x = _stack(x, config.acoustic_network, config.width, "valid", "acoustic")
    x = keras.layers.Flatten(name="acoustic_flatten")(x)
    return _dropout(config.acoustic_dropout, "acoustic_dropout")(x)


def _text(config: DimensionalConfig, x, words: int, vectors: np.ndarray | None):
    """Sec. IV-A: trainable embedding, three layers, a dense layer, dropout; padding is not masked."""
    embedding = keras.layers.Embedding(words, config.embedding, name="embedding")
    x = embedding(x)
    if vectors is not None:
        embedding.set_weights([vectors])
    if config.text_network == "lstm":
        for number in (1, 2, 3):
            x = keras.layers.LSTM(config.width, return_sequences=number < 3, name=f"text_lstm_{number}")(x)
    else:
        x = _stack(x, config.text_network, config.width, "same", "text")
        x = keras.layers.Flatten(name="text_flatten")(x)
    x = keras.layers.Dense(config.text_dense, name="text_dense")(x)
    return _dropout(config.text_dropout, "text_dropout")(x)


def _stack(x, kind: str, width: int, padding: str, name: str):
    """Three convolutions or three dense layers, with the padding of the authors' code."""
    for number, kernel in enumerate(KERNELS, start=1):
        if kind == "cnn":
            label = f"{name}_convolution_{number}"
            x = keras.layers.Conv1D(width, kernel, padding=padding, activation="relu", name=label)(x)
        else:
            x = keras.layers.Dense(width, activation="relu", name=f"{name}_mlp_{number}")(x)
    return x


def _dropout(rate: float, name: str) -> keras.layers.Layer:
    """Dropout; a rate of 1 drops nothing, as in the Keras version of Fig. 6 (newer ones refuse it)."""
    return keras.layers.Dropout(rate if rate < 1 else 0.0, name=name)


def build_optimiser(config: DimensionalConfig) -> keras.optimizers.Optimizer:
    """The optimiser of the config; the paper does not name one."""
    make = {"rmsprop": keras.optimizers.RMSprop, "adam": keras.optimizers.Adam}[config.optimiser]
    return make(config.learning_rate)
