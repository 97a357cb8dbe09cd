"""The networks of the three stages, around one HuBERT (Fig. 1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import keras
import numpy as np

from common import losses
from common.corpus import GENDERS
from common.errors import UserError
from common.layers.cosine import CosineDense
from common.layers.frames import ValidFrames
from common.models import speech_weights
from common.models.hubert import HubertConfig
from common.models.speech_encoder import freeze_front_end, speech_encoder
from common.training import jit_compile
from papers.gmp_atl.config import CHECKPOINTS, RANDOM, GmpConfig
from papers.gmp_atl.experiments import checkpoint_folder
from papers.gmp_atl.waveforms import output_name


def tiny(layer: int) -> HubertConfig:
    """Shape of a small HuBERT for two cores, which makes the same number of frames as HuBERT.

    Two convolutions replace HuBERT's seven: 64 filters of 5 ms, and five of their outputs per frame. With random
    weights they learn from a few hundred utterances; seven narrow ones hardly do.

    Args:
        layer: layer of the pseudo-labels, counted from the last one, -1; it must exist. There are at least 3.
    """
    return HubertConfig(
        hidden_size=32,
        num_hidden_layers=max(3, -layer),
        num_attention_heads=4,
        intermediate_size=64,
        conv_dim=(64, 64),
        conv_kernel=(80, 5),
        conv_stride=(80, 4),
        conv_bias=True,
        feat_extract_norm="layer",
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )


def checkpoint_digest(config: GmpConfig) -> str:
    """Names the weights that HuBERT starts from: a hash of the checkpoint, or the name of random ones."""
    if config.hubert in RANDOM:
        return f"{config.hubert}, {_shape(config).num_hidden_layers} layers"
    return speech_weights.digest(_folder(config))


def _shape(config: GmpConfig) -> HubertConfig:
    return HubertConfig() if config.hubert == "random-base" else tiny(config.layer)


def _folder(config: GmpConfig) -> Path:
    folder = checkpoint_folder(config.hubert)
    if folder is None:
        raise UserError(f"{config.hubert} is not here. Download it with `ser fetch {CHECKPOINTS[config.hubert]}`.")
    return folder


def build_hubert(
    config: GmpConfig, weights: Sequence[np.ndarray] | None = None, *, stage: Literal[0, 1, 2, 3] = 0
) -> keras.Model:
    """Builds the HuBERT that a config names.

    Args:
        config: checkpoint, dropout, treatment of padding, what is trained.
        weights: weights from an earlier stage; None: those of the checkpoint, or random ones.
        stage: the stage that trains it, which decides what of it is trainable, and whether it has the input "masked";
            0: none, it is only applied.
    """
    masking = stage == 2 or (stage > 0 and config.augment_probability > 0)
    settings = {
        "hidden_dropout": config.hubert_dropout,
        "attention_dropout": config.hubert_dropout,
        "activation_dropout": config.hubert_dropout,
        "layerdrop": config.layerdrop,
    }
    build = {"padding": config.padding_is, "masking": masking}
    if config.hubert in RANDOM:
        model = speech_encoder(dataclasses.replace(_shape(config), **settings), **build)
    else:
        model = speech_weights.load(_folder(config), **build, **settings)
    if weights is not None:
        model.set_weights(weights)
    if config.tune != "all":
        freeze_front_end(model)
    if stage == 0 or (stage != 2 and config.tune == "none"):
        model.trainable = False
    return model


def _states(encoder: keras.Model):
    """Inputs of a stage's network, HuBERT's last hidden states, and the mask of frames that are not padding."""
    inputs = {
        "waveform": keras.Input((None,), name="waveform", dtype="float32"),
        "lengths": keras.Input((), name="lengths", dtype="int32"),
    }
    if "masked" in encoder.input:
        # Not bool: with several devices, Keras sums each input once, and TensorFlow cannot sum bools.
        inputs["masked"] = keras.Input((None,), name="masked", dtype="int32")
    cast = {name: keras.ops.cast(inputs[name], "bool") if name == "masked" else inputs[name] for name in encoder.input}
    outputs = encoder(cast)
    front_end = HubertConfig()
    valid = ValidFrames(front_end.conv_kernel, front_end.conv_stride, name="valid")(
        outputs["features"], inputs["lengths"]
    )
    return inputs, outputs["hidden_states"][-1], valid


def _pooled(config: GmpConfig, states, valid, recurrent: bool):
    """One vector per utterance: optionally a BiLSTM, then the mean over the frames (Sec. 3.1)."""
    if recurrent:
        lstm = keras.layers.LSTM(config.lstm_units, return_sequences=True)
        states = keras.layers.Bidirectional(lstm, name="bilstm")(states, mask=valid)
    return keras.layers.GlobalAveragePooling1D(name="mean")(states, mask=valid)


def _utterance_network(config: GmpConfig, inputs, vector, emotion, loss, *, gender: bool, name: str) -> keras.Model:
    """Network that predicts emotion, and optionally gender from an utterance's vector, weighted as in Eq. 1."""
    outputs, loss, weights = {"emotion": emotion}, {"emotion": loss}, {"emotion": 1.0}
    if gender and config.emotion_weight < 1:
        hidden = keras.layers.Dense(config.projection, activation="relu", name="gender_hidden")(vector)
        outputs["gender"] = keras.layers.Dense(len(GENDERS), dtype="float32", name="gender")(hidden)
        loss["gender"] = losses.softmax()
        weights = {"emotion": config.emotion_weight, "gender": 1 - config.emotion_weight}
    return _compiled(config, keras.Model(inputs, outputs, name=name), loss, weights)


def build_stage1(config: GmpConfig, encoder: keras.Model, classes: int) -> keras.Model:
    """HuBERT, BiLSTM, mean over frames, and two linear layers each for emotion and gender (Sec. 3.1, Fig. 1a)."""
    inputs, states, valid = _states(encoder)
    vector = _pooled(config, states, valid, recurrent=True)
    hidden = keras.layers.Dense(config.projection, activation="relu", name="hidden")(vector)
    emotion = keras.layers.Dense(classes, dtype="float32", name="emotion")(hidden)
    return _utterance_network(config, inputs, vector, emotion, losses.softmax(), gender=True, name="gmp_atl_stage1")


def build_stage2(config: GmpConfig, encoder: keras.Model) -> keras.Model:
    """HuBERT with masked frames, and two linear layers per label set that predict its labels (Sec. 3.2, Fig. 1b)."""
    inputs, states, _ = _states(encoder)
    shared = keras.layers.Dense(config.label_projection, activation="relu", name="hidden")
    outputs, loss = {}, {}
    for clusters in config.cluster_counts:
        name = output_name(clusters)
        own = keras.layers.Dense(config.label_projection, activation="relu", name=f"hidden_{clusters}")
        hidden = (shared if config.heads == "shared" else own)(states)
        outputs[name] = keras.layers.Dense(clusters, dtype="float32", name=name)(hidden)
        loss[name] = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    weights = dict(zip(outputs, config.weights, strict=True))
    return _compiled(config, keras.Model(inputs, outputs, name="gmp_atl_stage2"), loss, weights)


def build_stage3(config: GmpConfig, encoder: keras.Model, classes: int) -> keras.Model:
    """HuBERT, pooling, and a projection to cosines (AM-softmax) or logits (CE) (Sec. 3.3, Fig. 1c)."""
    inputs, states, valid = _states(encoder)
    vector = _pooled(config, states, valid, recurrent=config.pooling == "bilstm-mean")
    hidden = keras.layers.Dense(config.projection, activation="relu", name="hidden")(vector)
    if config.loss == "ce":
        emotion = keras.layers.Dense(classes, dtype="float32", name="emotion")(hidden)
    else:
        if config.cosines_of == "projected":
            hidden = keras.layers.Dense(config.projection, name="projected")(hidden)
        emotion = CosineDense(classes, name="emotion")(hidden)
    loss, gender = emotion_loss(config), config.gender_in_stage3
    return _utterance_network(config, inputs, vector, emotion, loss, gender=gender, name="gmp_atl_stage3")


def emotion_loss(config: GmpConfig) -> losses.MarginFocalLoss:
    """Stage 3's loss: AM-softmax (Eq. 2) or cross-entropy."""
    return losses.am_softmax(config.margin, config.scale) if config.loss == "am_softmax" else losses.softmax()


def encoder_of(model: keras.Model) -> keras.Model:
    """Returns the HuBERT inside a stage's network."""
    return next(layer for layer in model.layers if isinstance(layer, keras.Model))


MAX_KEPT_WEIGHTS = 1_000_000
"""Networks with more weights are not kept: their memory matters, and tracing is short compared with training."""

_TRACED: dict[str, tuple] = {}
"""By stage, what the last kept network was made of, and the network, whose training step TensorFlow has traced."""


def traced_network(config: GmpConfig, model: keras.Model) -> keras.Model:
    """Returns a network to train instead of a new one: equal, but already traced if a fold or seed came before.

    The next fold uses the same network again, so nothing else may keep a reference to it.

    Args:
        config: everything that the training step depends on, except the number of classes.
        model: untrained network from a `build_...` function, on one device.

    Returns:
        A network with the same weights, the same states of random generators, and a new optimiser state.
    """
    made_of = (config, {name: output.shape[-1] for name, output in model.output.items()})
    known, kept = _TRACED.get(model.name, (None, None))
    if known == made_of:
        for variable, new in zip(kept.variables, model.variables, strict=True):
            variable.assign(new.value)
        # Not zeros: the loss scale of mixed_float16 starts at 32768.
        model.optimizer.build(model.trainable_variables)
        for state, new in zip(kept.optimizer.variables, model.optimizer.variables, strict=True):
            state.assign(new.value)
        return kept
    _create_variables(model)
    if model.count_params() <= MAX_KEPT_WEIGHTS:
        _TRACED[model.name] = (made_of, model)
    return model


def _create_variables(model: keras.Model) -> None:
    """Creates the variables of optimiser and loss, since TensorFlow traces a step that creates variables twice."""
    model.optimizer.build(model.trainable_variables)
    shapes = {name: (1,) * (len(output.shape) - 1) for name, output in model.output.items()}
    truth = {name: np.zeros(shape, np.int32) for name, shape in shapes.items()}
    outputs = {name: np.zeros((*shape, model.output[name].shape[-1]), np.float32) for name, shape in shapes.items()}
    model.compute_loss(None, truth, outputs)


@keras.saving.register_keras_serializable(package="ser")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises linearly in the first steps, the last of which has all of it, and is then constant.

    Args:
        rate: the constant rate.
        steps: steps of the warm-up.
        parts: parts of a batch; Keras counts each as a step of the schedule.
    """

    def __init__(self, rate: float, steps: int, parts: int):
        self.rate, self.steps, self.parts = rate, steps, parts

    def __call__(self, step):
        """The rate of a step, counted in parts."""
        done = keras.ops.cast(keras.ops.floor_divide(step, self.parts) + 1, "float32")
        return self.rate * keras.ops.minimum(1.0, done / self.steps)

    def get_config(self):
        """Arguments of the constructor, for saving."""
        return {"rate": self.rate, "steps": self.steps, "parts": self.parts}


@keras.saving.register_keras_serializable(package="ser")
class AdamOfTwoRates(keras.optimizers.Adam):
    """Adam whose learning rate is another one for some of the weights.

    Args:
        others: positions of these weights among the trainable ones.
        ratio: their learning rate divided by that of the other weights.
        **kwargs: as in `keras.optimizers.Adam`.
    """

    def __init__(self, others: Sequence[int], ratio: float, **kwargs):
        super().__init__(**kwargs)
        self.others, self.ratio = tuple(others), ratio

    def update_step(self, gradient, variable, learning_rate):
        """One step of one weight."""
        other = self._get_variable_index(variable) in self.others
        super().update_step(gradient, variable, self.ratio * learning_rate if other else learning_rate)

    def get_config(self):
        """Arguments of the constructor, for saving."""
        return {**super().get_config(), "others": list(self.others), "ratio": self.ratio}


def _compiled(config: GmpConfig, model: keras.Model, loss: dict, weights: dict) -> keras.Model:
    """Compiles a network with Adam at the learning rate of Sec. 4.1.2, which is constant after the warm-up."""
    rate, parts = config.learning_rate, config.accumulation
    if config.warmup_steps:
        rate = WarmUp(rate, config.warmup_steps, parts)
    within = {id(weight) for weight in encoder_of(model).trainable_variables}
    optimiser = AdamOfTwoRates(
        [number for number, weight in enumerate(model.trainable_variables) if id(weight) not in within],
        config.head_learning_rate / config.learning_rate or 1.0,
        learning_rate=rate,
        global_clipnorm=config.clip_norm or None,
        gradient_accumulation_steps=parts if parts > 1 else None,
    )
    model.compile(optimiser, loss=loss, loss_weights=weights, jit_compile=jit_compile())
    return model
