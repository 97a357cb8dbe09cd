"""The network: a backbone for the spectrogram, fusion with text and audio features, and a head for each task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import keras

from common import losses
from common.corpus import GENDERS
from common.errors import UserError
from common.layers.cosine import CosineDense
from common.models.backbones import backbone
from common.training import jit_compile
from papers.mtap.config import GENDER_FEATURES, MtapConfig
from papers.mtap.data import SOURCE_NAMES, imagenet_file


def build_loss(config: MtapConfig) -> losses.MarginFocalLoss:
    """Returns the loss of a row (Tables 1-3): softmax and focal take logits, ArcFace and APFL cosines (Sec. 3)."""
    return {
        "softmax": lambda: losses.softmax(),
        "focal": lambda: losses.focal(config.gamma),
        "arcface": lambda: losses.arcface(config.margin, config.scale, config.safeguard),
        "apfl": lambda: losses.apfl(config.gamma, config.margin, config.scale, config.safeguard),
    }[config.loss]()


def build_model(config: MtapConfig, classes: int, widths: Mapping[str, int] | None = None) -> keras.Model:
    """Builds backbone, fusion and heads (Sec. 4, Fig. 2 and 3).

    Args:
        config: settings.
        classes: number of emotions.
        widths: number of text and of audio features, by modality.

    Returns:
        Model from spectrograms (batch, frames, bins, channels), or from a dictionary of "spectrogram", "text" and
        "audio", to logits or cosines of the emotions (batch, classes); with a gender head also to its logits
        (batch, 2).

    Raises:
        UserError: The ImageNet weights were not fetched.
    """
    inputs, parts = {}, {}
    if config.image:
        weights = _imagenet_weights(config)
        network = backbone(
            config.backbone,
            config.frames,
            config.bins,
            channels=3 if config.channels == "deltas" else 1,
            weights=weights,
            images=config.image_scale,
            tune=config.tune if weights else "all",
        )
        inputs["spectrogram"], parts["image"] = network.input, network.output
    for name in config.modalities:
        if name != "image":
            inputs[name] = parts[name] = keras.Input((widths[name],), name=name)
            if config.projection:
                layer = keras.layers.Dense(config.projection, activation="relu", name=f"{name}_projection")
                parts[name] = layer(inputs[name])
    x = _concatenated([parts[name] for name in config.modalities], "fused")
    if config.dropout:
        x = keras.layers.Dropout(config.dropout, name="dropout")(x)
    if config.loss in ("arcface", "apfl"):
        outputs = CosineDense(classes, name="cosines")(x)
    else:
        outputs = keras.layers.Dense(classes, dtype="float32", name="logits")(x)
    if config.gender_head != "none":
        features = _concatenated([parts[name] for name in GENDER_FEATURES[config.gender_head]], "gender_features")
        outputs = [outputs, keras.layers.Dense(len(GENDERS), dtype="float32", name="gender")(features)]
    if list(inputs) == ["spectrogram"]:
        inputs = inputs["spectrogram"]
    return keras.Model(inputs, outputs, name=f"mtap_{config.backbone}_{config.loss}")


def _imagenet_weights(config: MtapConfig) -> Path | None:
    if config.weights == "random":
        return None
    file = imagenet_file(config.backbone)
    if file is None:
        raise UserError(
            f"The ImageNet weights of {config.backbone} are not here. Download them with "
            f"`ser fetch {SOURCE_NAMES.get(config.backbone)}`, or use --set weights=random."
        )
    return file


def _concatenated(parts: list, name: str):
    return parts[0] if len(parts) == 1 else keras.layers.Concatenate(name=name)(parts)


def fused_features(model: keras.Model) -> keras.Model:
    """Returns the part of a network that computes F, the input of its emotion head."""
    head = next(layer for layer in model.layers if layer.name in ("cosines", "logits"))
    return keras.Model(model.input, head.input)


def compile_model(model: keras.Model, config: MtapConfig) -> None:
    """Compiles a network with its loss; with a gender head it is L_emotion + lambda L_gender (Sec. 4.1)."""
    loss, weights = build_loss(config), None
    if config.gender_head != "none":
        loss, weights = [loss, losses.softmax()], [1.0, config.gender_weight]
    model.compile(build_optimiser(config), loss=loss, loss_weights=weights, jit_compile=jit_compile())


def build_optimiser(config: MtapConfig) -> keras.optimizers.Optimizer:
    """Returns the optimiser; the paper names none."""
    if config.optimiser == "sgd":
        return keras.optimizers.SGD(config.start_learning_rate, momentum=0.9, nesterov=True)
    return keras.optimizers.Adam(config.start_learning_rate)
