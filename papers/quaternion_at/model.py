"""The networks of Table 1: RH-Emo's encoder, the VGG16 to train, and the fixed networks of the orthogonal tasks."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from common.contract import Context
from common.errors import UserError
from common.models.anti_transfer import AntiTransferTraining, signature_model
from common.models.checkpoint import load_until
from common.models.rhemo import encoder as rhemo_encoder
from common.models.signature_cache import SignatureFile
from common.models.vgg16 import feature_map, name_of_feature_map, vgg16
from papers.quaternion_at.config import QuaternionAtConfig
from papers.quaternion_at.data import size


def input_shape(config: QuaternionAtConfig) -> tuple[int, int, int]:
    """Input shape of the VGG16: magnitudes (512, 128, 1) or RH-Emo's embedding (64, 64, 4), smaller with `shrink`."""
    frames, bins = size(config)
    return (frames, bins, 1) if config.rhemo == "none" else (frames // 8, bins // 2, 4)


def build_vgg(config: QuaternionAtConfig, classes: int, until: str = "logits") -> keras.Model:
    """Builds the real or quaternion VGG16, with logits as outputs, or up to the layer of this name (Sec. 3.1)."""
    return vgg16(
        input_shape(config),
        classes,
        quaternion=config.network == "quaternion",
        pooling=config.pooling,
        width=config.width,
        dropout=config.dropout,
        initializer=config.initializer,
        until=until,
    )


def build_encoder(config: QuaternionAtConfig, context: Context) -> keras.Model | None:
    """Returns the pretrained encoder of RH-Emo, or None if the network reads magnitudes.

    With `rhemo=random`, its weights are random, but the same in every fit and for every orthogonal task.

    Raises:
        UserError: The artefact does not exist or has another input size, or the config says `rhemo=fold`.
    """
    if config.rhemo == "none":
        return None
    if config.rhemo == "fold":
        raise UserError("rhemo=fold needs the training part of a fold. Use rhemo=newest or random here.")
    frames, bins = size(config)
    if config.rhemo != "random":
        model = _stored(context, "rhemo", config.rhemo, "encoder.keras")
        if model.input_shape[1:] != (frames, bins, 1):
            raise UserError(
                f"RH-Emo {config.rhemo} reads {model.input_shape[1:3]} cells, but this network needs {(frames, bins)}. "
                "Choose one with the same shrink."
            )
        return model
    model = rhemo_encoder(frames, bins)
    generator = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel, bias = layer.get_weights()
            deviation = np.sqrt(2 / (kernel.shape[0] * kernel.shape[1] * (kernel.shape[2] + kernel.shape[3])))
            layer.set_weights([generator.normal(0, deviation, kernel.shape), bias])
    return model


def build_extractor(config: QuaternionAtConfig, task: str, layer: int, context: Context) -> keras.Model:
    """Returns the pretrained network of an orthogonal task up to one layer, or random weights if the config says so.

    What comes after the layer is no part of the result: of the real VGG16's 165.7 million weights, layer 2 needs 37,568
    (640 and 36,928).

    Args:
        config: settings.
        task: "speakers" or "words".
        layer: number of the layer, from 1 to 13.
        context: has the artefacts.

    Returns:
        Model from the network's input to the feature map of the layer.

    Raises:
        UserError: The artefact does not exist, or has another input shape.
    """
    digest, until = getattr(config, task), name_of_feature_map(layer, reading=config.at_reading)
    if digest == "random":
        return build_vgg(config, 10, until=until)
    extractor = load_until(_path(context, task, digest, "network.keras"), until)
    if extractor.input_shape[1:] != input_shape(config):
        raise UserError(
            f"The network {digest} that recognises {task} reads {extractor.input_shape[1:]}; this one reads "
            f"{input_shape(config)}. Pretrain one with the same network, rhemo and shrink."
        )
    return extractor


def start_of_transfer(config: QuaternionAtConfig, context: Context) -> tuple[keras.Model, keras.Model | None] | None:
    """Returns the network that was trained on IEMOCAP's emotions, with its RH-Emo if that was trained as well.

    None without transfer, or if the config asks for random weights, with which every network starts anyway.

    Raises:
        UserError: The artefact does not exist, or has another input shape.
    """
    if config.transfer in ("none", "random"):
        return None
    vgg = _stored(context, "emotions", config.transfer, "network.keras")
    if vgg.input_shape[1:] != input_shape(config):
        raise UserError(
            f"The network {config.transfer} that recognises emotions reads {vgg.input_shape[1:]}; this one reads "
            f"{input_shape(config)}. Pretrain one with the same network, rhemo and shrink."
        )
    if config.rhemo == "none" or config.rhemo_training == "frozen":
        return vgg, None
    return vgg, _stored(context, "emotions", config.transfer, "encoder.keras")


def _stored(context: Context, name: str, digest: str, file: str) -> keras.Model:
    """Reads a network from an artefact."""
    return keras.saving.load_model(_path(context, name, digest, file), compile=False, safe_mode=True)


def _path(context: Context, name: str, digest: str, file: str) -> Path:
    """The file of a network in an artefact."""
    found = context.artefacts.find(f"quaternion_at/{name}", digest) if context.artefacts is not None else None
    path = found.folder / file if found is not None else Path()
    if not path.is_file():
        raise UserError(f"There is no {name} {digest} here. Make one with `ser pretrain quaternion_at {name}`.")
    return path


def signature_of(extractor: keras.Model, config: QuaternionAtConfig) -> keras.Model:
    """Returns an extractor of `build_extractor`, fixed, followed by what the chosen variant of the loss needs of it."""
    return signature_model(extractor, extractor.output, variant=config.variant)


def with_anti_transfer(
    vgg: keras.Model,
    layer: int,
    config: QuaternionAtConfig,
    source: SignatureFile | keras.Model,
    *,
    encoder: keras.Model | None = None,
) -> AntiTransferTraining:
    """Builds the model that is trained with anti-transfer at one layer.

    Args:
        vgg: the network.
        layer: number of the layer, from 1 to 13.
        config: weight and variant of the loss.
        source: the extractor's signatures: a result of `cached_signatures`, whose rows come with the inputs, or a model
            from `signature_of`, which is run in each step.
        encoder: RH-Emo, if it is trained as well; `source` is then a model, which reads its embedding.

    Raises:
        UserError: The extractor has another number of channels at the layer.
    """
    settings = {"beta": config.at_beta, "variant": config.variant}
    feature_maps = [_feature_map(vgg, layer, config)]
    if encoder is None:
        return AntiTransferTraining(vgg, feature_maps, [source], **settings)
    return EmbeddingTraining(encoder, vgg, feature_maps, [source], **settings)


def _feature_map(network: keras.Model, layer: int, config: QuaternionAtConfig):
    return feature_map(network, layer, reading=config.at_reading)


class EmbeddingTraining(AntiTransferTraining):
    """Anti-transfer with an RH-Emo that is trained as well: both networks read its current embedding (Fig. 1).

    The loss treats the extractor's signatures as constants, so no gradient reaches RH-Emo through the extractor.

    Args:
        encoder: RH-Emo's encoder.
        *arguments: see `AntiTransferTraining`; the sources are models.
        **kwargs: see `AntiTransferTraining`.

    Call:
        inputs: magnitudes (batch, frames, bins, 1). Returns logits.
    """

    def __init__(self, encoder: keras.Model, *arguments, **kwargs):
        super().__init__(*arguments, **kwargs)
        self.encoder = encoder

    def call(self, inputs, training=False):
        """Returns the network's outputs and adds the anti-transfer loss."""
        return super().call(self.encoder(inputs, training=training), training=training)


def chained(encoder: keras.Model | None, vgg: keras.Model) -> keras.Model:
    """Model from magnitudes, through RH-Emo if there is one, to logits."""
    return vgg if encoder is None else keras.Model(encoder.input, vgg(encoder.output), name="rhemo_vgg16")
