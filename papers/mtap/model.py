"""The network of the loss study: a backbone over the spectrogram, and a head that fits the loss."""

from __future__ import annotations

import keras

from common import losses
from common.layers.cosine import CosineDense
from common.models.backbones import backbone, imagenet_file
from papers.mtap.config import MtapConfig


def build_loss(config: MtapConfig) -> losses.MarginFocalLoss:
    """The row's loss (Tables 1-3); softmax and focal take plain logits, ArcFace and APFL cosines (Sec. 3)."""
    return {
        "softmax": lambda: losses.softmax(),
        "focal": lambda: losses.focal(config.gamma),
        "arcface": lambda: losses.arcface(config.margin, config.scale),
        "apfl": lambda: losses.apfl(config.gamma, config.margin, config.scale),
    }[config.loss]()


def build_model(config: MtapConfig, classes: int) -> keras.Model:
    """Network from spectrograms (batch, frames, bins, 1) to logits or cosines (batch, classes), Sec. 4.1 and Fig. 3."""
    weights = imagenet_file(config.backbone) if config.weights == "imagenet" else None
    network = backbone(config.backbone, config.frames, config.bins, weights=weights)
    x = network.output
    if config.dropout:
        x = keras.layers.Dropout(config.dropout, name="dropout")(x)
    if build_loss(config).needs_cosines:
        outputs = CosineDense(classes, name="cosines")(x)
    else:
        outputs = keras.layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(network.input, outputs, name=f"mtap_{config.backbone}_{config.loss}")


def build_optimiser(config: MtapConfig) -> keras.optimizers.Optimizer:
    """The optimiser; the paper names none."""
    if config.optimiser == "sgd":
        return keras.optimizers.SGD(config.learning_rate, momentum=0.9, nesterov=True)
    return keras.optimizers.Adam(config.learning_rate)
