"""The networks of the three stages, around one HuBERT (Fig. 1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from common import losses
from common.corpus import GENDERS
from common.errors import UserError
from common.layers.cosine import CosineDense
from common.models import hubert_weights
from common.models.hubert import HubertConfig, ValidFrames, freeze_front_end, hubert
from common.training import jit_compile
from papers.gmp_atl.config import RANDOM, GmpConfig
from papers.gmp_atl.data import output_name
from papers.gmp_atl.experiments import checkpoint_folder


def tiny(layer: int) -> HubertConfig:
    """A HuBERT for two cores: the front end's kernels, everything narrow, and as many layers as are asked for.

    Args:
        layer: that pseudo-labels are made of, counted from the end; there are at least 3.
    """
    return HubertConfig(
        hidden_size=32,
        num_hidden_layers=max(3, -layer),
        num_attention_heads=4,
        intermediate_size=64,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )


def checkpoint_digest(config: GmpConfig) -> str:
    """Which weights a HuBERT starts from: a hash of the checkpoint, or the name of a random one."""
    if config.hubert in RANDOM:
        return f"{config.hubert}, {_shape(config).num_hidden_layers} layers"
    return hubert_weights.digest(_folder(config))


def _shape(config: GmpConfig) -> HubertConfig:
    return HubertConfig() if config.hubert == "random-base" else tiny(config.layer)


def _folder(config: GmpConfig) -> Path:
    folder = checkpoint_folder(config.hubert)
    if folder is None:
        raise UserError(f"{config.hubert} is not here. Bring it with `ser fetch hubert-base-ls960`.")
    return folder


def build_hubert(config: GmpConfig, weights: Sequence[np.ndarray] | None = None, masking: bool = False) -> keras.Model:
    """The HuBERT that a config names.

    Args:
        config: checkpoint, dropout, what padding is.
        weights: of a stage that came before; None: the checkpoint's, or random ones.
        masking: there is an input "masked".
    """
    settings = {
        "hidden_dropout": config.hubert_dropout,
        "attention_dropout": config.hubert_dropout,
        "activation_dropout": config.hubert_dropout,
        "layerdrop": config.layerdrop,
    }
    build = {"padding": config.padding_is, "masking": masking}
    if config.hubert in RANDOM:
        model = hubert(dataclasses.replace(_shape(config), **settings), **build)
    else:
        model = hubert_weights.load(_folder(config), **build, **settings)
    if weights is not None:
        model.set_weights(weights)
    if config.freeze_encoder:
        freeze_front_end(model)
    return model


def _states(config: GmpConfig, encoder: keras.Model, masking: bool = False):
    """Inputs of a stage's network, HuBERT's last hidden states, and which frames are no padding."""
    inputs = {
        "waveform": keras.Input((None,), name="waveform", dtype="float32"),
        "lengths": keras.Input((), name="lengths", dtype="int32"),
    }
    if masking:
        # Not bool: what several devices share, Keras adds up once, and TensorFlow adds no bools.
        inputs["masked"] = keras.Input((None,), name="masked", dtype="int32")
    heard = {name: keras.ops.cast(inputs[name], "bool") if name == "masked" else inputs[name] for name in encoder.input}
    outputs = encoder(heard)
    front_end = HubertConfig()
    valid = ValidFrames(front_end.conv_kernel, front_end.conv_stride, name="valid")(
        outputs["features"], inputs["lengths"]
    )
    return inputs, outputs["hidden_states"][-1], valid


def _pooled(config: GmpConfig, states, valid, recurrent: bool):
    """One vector an utterance: BiLSTM if asked for, then the mean over its frames (Sec. 3.1)."""
    if recurrent:
        lstm = keras.layers.LSTM(config.lstm_units, return_sequences=True)
        states = keras.layers.Bidirectional(lstm, name="bilstm")(states, mask=valid)
    return keras.layers.GlobalAveragePooling1D(name="mean")(states, mask=valid)


def _gender_head(config: GmpConfig, vector):
    hidden = keras.layers.Dense(config.projection, activation="relu", name="gender_hidden")(vector)
    return keras.layers.Dense(len(GENDERS), dtype="float32", name="gender")(hidden)


def build_stage1(config: GmpConfig, encoder: keras.Model, classes: int) -> keras.Model:
    """HuBERT, BiLSTM, mean, and two linear layers for each of emotion and gender (Sec. 3.1, Fig. 1a)."""
    inputs, states, valid = _states(config, encoder)
    vector = _pooled(config, states, valid, recurrent=True)
    hidden = keras.layers.Dense(config.projection, activation="relu", name="hidden")(vector)
    outputs = {"emotion": keras.layers.Dense(classes, dtype="float32", name="emotion")(hidden)}
    loss, weights = {"emotion": losses.softmax()}, {"emotion": config.emotion_weight}
    if config.emotion_weight < 1:
        outputs["gender"] = _gender_head(config, vector)
        loss["gender"], weights["gender"] = losses.softmax(), 1 - config.emotion_weight
    return _compiled(config, keras.Model(inputs, outputs, name="gmp_atl_stage1"), loss, weights)


def build_stage2(config: GmpConfig, encoder: keras.Model) -> keras.Model:
    """HuBERT over masked frames, and two linear layers that tell each frame's clusters (Sec. 3.2, Fig. 1b)."""
    inputs, states, _ = _states(config, encoder, masking=True)
    shared = keras.layers.Dense(config.label_projection, activation="relu", name="hidden")
    outputs, loss = {}, {}
    for clusters in config.cluster_counts:
        name = output_name(clusters)
        own = keras.layers.Dense(config.label_projection, activation="relu", name=f"hidden_{clusters}")
        hidden = (shared if config.heads == "shared" else own)(states)
        outputs[name] = keras.layers.Dense(clusters, dtype="float32", name=name)(hidden)
        # The mean over the frames that count, not over all: those have weight 0.
        loss[name] = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
    weights = dict(zip(outputs, config.weights, strict=True))
    return _compiled(config, keras.Model(inputs, outputs, name="gmp_atl_stage2"), loss, weights)


def build_stage3(config: GmpConfig, encoder: keras.Model, classes: int) -> keras.Model:
    """HuBERT, pooling, and a projection that ends in cosines for AM-softmax, in logits for CE (Sec. 3.3, Fig. 1c)."""
    inputs, states, valid = _states(config, encoder)
    vector = _pooled(config, states, valid, recurrent=config.pooling == "bilstm-mean")
    hidden = keras.layers.Dense(config.projection, activation="relu", name="hidden")(vector)
    if config.loss == "am_softmax":
        if config.cosines_of == "projected":
            hidden = keras.layers.Dense(config.projection, name="projected")(hidden)
        outputs = {"emotion": CosineDense(classes, name="emotion")(hidden)}
    else:
        outputs = {"emotion": keras.layers.Dense(classes, dtype="float32", name="emotion")(hidden)}
    loss, weights = {"emotion": emotion_loss(config)}, {"emotion": 1.0}
    if config.gender_in_stage3 and config.emotion_weight < 1:
        outputs["gender"] = _gender_head(config, vector)
        loss["gender"] = losses.softmax()
        weights = {"emotion": config.emotion_weight, "gender": 1 - config.emotion_weight}
    return _compiled(config, keras.Model(inputs, outputs, name="gmp_atl_stage3"), loss, weights)


def emotion_loss(config: GmpConfig) -> losses.MarginFocalLoss:
    """Stage 3's loss: AM-softmax (Eq. 2) or cross-entropy."""
    return losses.am_softmax(config.margin, config.scale) if config.loss == "am_softmax" else losses.softmax()


def encoder_of(model: keras.Model) -> keras.Model:
    """The HuBERT within a stage's network."""
    return model.get_layer("hubert")


SMALL = 1_000_000
"""Weights up to which tracing a training step takes longer than training, and keeping a network costs no memory."""

_LEARNERS: dict[str, tuple] = {}
"""By stage, what the last small network was made of, and the network, whose training step TensorFlow has traced."""


def learner(config: GmpConfig, model: keras.Model) -> keras.Model:
    """The network to train in a stage's stead: equal to it, but traced already if another fold or seed came before.

    Nobody else may hold what is given: the next fold takes it again.

    Args:
        config: all that the step depends on, besides the classes.
        model: of a `build_...`, untrained, on one device.

    Returns:
        A network with the same weights, the same states of random numbers, and an optimiser as new.
    """
    made_of = (config, {name: output.shape[-1] for name, output in model.output.items()})
    known, kept = _LEARNERS.get(model.name, (None, None))
    if known == made_of:
        for mine, given in zip(kept.variables, model.variables, strict=True):
            mine.assign(given.value)
        for state in kept.optimizer.variables:
            if state is not kept.optimizer.learning_rate:
                state.assign(keras.ops.zeros_like(state.value))
        return kept
    _create_states(model)
    if model.count_params() <= SMALL:
        _LEARNERS[model.name] = (made_of, model)
    return model


def _create_states(model: keras.Model) -> None:
    """What the first step would create otherwise: TensorFlow traces a step that creates variables twice."""
    model.optimizer.build(model.trainable_variables)
    ones = {name: (1,) * (len(output.shape) - 1) for name, output in model.output.items()}
    truth = {name: np.zeros(shape, np.int32) for name, shape in ones.items()}
    answers = {name: np.zeros((*shape, model.output[name].shape[-1]), np.float32) for name, shape in ones.items()}
    model.compute_loss(None, truth, answers)


def _compiled(config: GmpConfig, model: keras.Model, loss: dict, weights: dict) -> keras.Model:
    """Ready for Adam at the constant rate of Sec. 4.1.2."""
    optimiser = keras.optimizers.Adam(
        config.learning_rate,
        global_clipnorm=config.clip_norm or None,
        gradient_accumulation_steps=config.accumulation if config.accumulation > 1 else None,
    )
    model.compile(optimiser, loss=loss, loss_weights=weights, jit_compile=jit_compile())
    return model
