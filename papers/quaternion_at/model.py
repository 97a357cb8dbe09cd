"""The networks of Table 1: RH-Emo's encoder, the VGG16 under training, and the fixed ones it is trained away from."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from common.contract import Context
from common.errors import UserError
from common.models.anti_transfer import AntiTransferTraining, signature_model
from common.models.rhemo import encoder as rhemo_encoder
from common.models.signature_cache import SignatureFile
from common.models.vgg16 import feature_map, vgg16
from papers.quaternion_at.config import QuaternionAtConfig
from papers.quaternion_at.data import size


def input_shape(config: QuaternionAtConfig) -> tuple[int, int, int]:
    """What the VGG16 reads: magnitudes (512, 128, 1), or RH-Emo's embedding (64, 64, 4), at the config's size."""
    frames, bins = size(config)
    return (frames, bins, 1) if config.rhemo == "none" else (frames // 8, bins // 2, 4)


def build_vgg(config: QuaternionAtConfig, classes: int) -> keras.Model:
    """VGG16 with logits, real or quaternion (Sec. 3.1)."""
    return vgg16(
        input_shape(config),
        classes,
        quaternion=config.network == "quaternion",
        pooling=config.pooling,
        width=config.width,
        dropout=config.dropout,
        initializer=config.initializer,
    )


def build_encoder(config: QuaternionAtConfig, context: Context) -> keras.Model | None:
    """RH-Emo's encoder as it was pretrained, or None if the network reads magnitudes.

    Without a pretrained one its weights are random, but the same in every fit and for every orthogonal task.

    Raises:
        UserError: the artefact that is asked for is not here, or of another size, or a fold's.
    """
    if config.rhemo == "none":
        return None
    if config.rhemo == "fold":
        raise UserError("rhemo=fold learns from a fold and here is none; take rhemo=newest, or random.")
    frames, bins = size(config)
    if config.rhemo not in ("newest", "random"):
        model = _stored(context, "rhemo", config.rhemo, "encoder.keras", config)
        if model.input_shape[1:] != (frames, bins, 1):
            raise UserError(
                f"RH-Emo {config.rhemo} reads {model.input_shape[1:3]} cells; this network's have {(frames, bins)}. "
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


def build_extractor(config: QuaternionAtConfig, task: str, context: Context) -> keras.Model:
    """The network of an orthogonal task, as it was pretrained, or of random weights if there is none.

    Args:
        config: settings.
        task: "speakers" or "words".
        context: where artefacts are.

    Raises:
        UserError: the artefact that is asked for is not here, or reads something else.
    """
    digest = getattr(config, task)
    if digest == "newest":
        return build_vgg(config, 10)
    model = _stored(context, task, digest, "network.keras", config)
    if model.input_shape[1:] != input_shape(config):
        raise UserError(
            f"The network {digest} that tells {task} reads {model.input_shape[1:]}; this one reads "
            f"{input_shape(config)}. Pretrain one with the same network, rhemo and shrink."
        )
    return model


def _stored(context: Context, name: str, digest: str, file: str, config: QuaternionAtConfig) -> keras.Model:
    """A network out of an artefact."""
    found = context.artefacts.find(f"quaternion_at/{name}", digest) if context.artefacts is not None else None
    path = found.folder / file if found is not None else Path()
    if not path.is_file():
        raise UserError(f"There is no {name} {digest} here; `ser pretrain quaternion_at {name}` makes one.")
    return keras.saving.load_model(path, compile=False, safe_mode=True)


def signature_of(extractor: keras.Model, layer: int, config: QuaternionAtConfig) -> keras.Model:
    """The fixed extractor up to a layer and what the loss needs of it, in the paper's reading or the authors'."""
    return signature_model(extractor, _feature_map(extractor, layer, config), variant=config.variant)


def with_anti_transfer(
    vgg: keras.Model,
    layer: int,
    config: QuaternionAtConfig,
    source: SignatureFile | keras.Model,
    *,
    encoder: keras.Model | None = None,
) -> AntiTransferTraining:
    """The training model of one layer.

    Args:
        vgg: the network.
        layer: 1 to 13.
        config: weight and variant of the loss.
        source: the extractor's signatures: a result of `cached_signatures`, whose rows come with the inputs, or a model
            of `signature_of`, which is run at each step.
        encoder: RH-Emo, if it is trained too; `source` is then a model, and reads its embedding.

    Raises:
        UserError: the extractor is of another width at the layer.
    """
    settings = {"beta": config.at_beta, "variant": config.variant}
    feature_maps = [_feature_map(vgg, layer, config)]
    if encoder is None:
        return AntiTransferTraining(vgg, feature_maps, [source], **settings)
    return EmbeddingTraining(encoder, vgg, feature_maps, [source], **settings)


def _feature_map(network: keras.Model, layer: int, config: QuaternionAtConfig):
    return feature_map(network, layer, reading=config.at_reading)


class EmbeddingTraining(AntiTransferTraining):
    """Anti-transfer with an RH-Emo that is trained too: both networks see the embedding it gives now (Fig. 1).

    The loss takes the extractor's side as given, so no gradient reaches RH-Emo through the extractor.

    Args:
        encoder: RH-Emo's encoder.
        *arguments: see `AntiTransferTraining`; the sources are models.
        **kwargs: as there.

    Call:
        inputs: magnitudes (batch, frames, bins, 1). Returns logits.
    """

    def __init__(self, encoder: keras.Model, *arguments, **kwargs):
        super().__init__(*arguments, **kwargs)
        self.encoder = encoder

    def call(self, inputs, training=False):
        """The network's outputs; the loss is added on the way."""
        return super().call(self.encoder(inputs, training=training), training=training)


def chained(encoder: keras.Model | None, vgg: keras.Model) -> keras.Model:
    """From magnitudes, through RH-Emo if there is one, to logits."""
    return vgg if encoder is None else keras.Model(encoder.input, vgg(encoder.output), name="rhemo_vgg16")
