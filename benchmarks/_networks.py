"""Every network of `ser/steps.csv`: built from a config that uses it, with a training step on random data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

WORDS = 3438
"""Rows of the dimensional networks' embedding: the words of IEMOCAP's training part, about."""


@dataclass(frozen=True)
class Trained:
    """A network that can be stepped and counted.

    Attributes:
        step: takes a batch size, gives an action that trains on a batch once.
        forward: one forward pass of one example, to be counted; for a step of several phases all of them.
        batch: examples of the paper's step on one device.
        little: examples of the step that is measured on a processor.
        frozen: the part of `forward` that never learns, and so has no backward pass; None: all learns.
        parts: how many such steps the whole one is, where a part of it is measured.
    """

    step: Callable[[int], Callable[[], object]]
    forward: Callable[[], object]
    batch: int
    little: int
    frozen: Callable[[], object] | None = None
    parts: int = 1


def build(paper: str, network: str, config: Any) -> Trained:
    """The network of that key; the backend has been started."""
    return globals()[f"_{paper}"](network, config)


def _random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _labels(count: int, classes: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, classes, count)


def _stepped(model, inputs: Callable, targets: Callable, batch: int, little: int, **keywords) -> Trained:
    """A compiled Keras model's step."""

    def step(size: int):
        given, wanted = inputs(size), targets(size)
        weights = keywords.get("weights", lambda size: None)(size)
        return lambda: model.train_on_batch(given, wanted, sample_weight=weights)

    return Trained(step, lambda: model(inputs(1)), batch, little, keywords.get("frozen"))


def _mtap(network: str, config) -> Trained:
    from papers.mtap.cost import FRAMES
    from papers.mtap.model import build_model, compile_model

    config = dataclasses.replace(
        config, backbone=network, weights="random", frames=FRAMES, text=False, audio=False, gender_head="none",
        gender_weight=0.0,
    )  # fmt: skip
    model = build_model(config, 4)
    compile_model(model, config)
    little = 16 if network == "small_cnn" else 2
    return _stepped(
        model, lambda n: _random(n, FRAMES, config.bins, 1), lambda n: _labels(n, 4), config.batch_size, little
    )


def _dimensional_mtl(network: str, config) -> Trained:
    from common.training import jit_compile
    from papers.dimensional_mtl.data import LLDS
    from papers.dimensional_mtl.model import build_loss, build_model, build_optimiser

    modality = network.split()[0]
    config = dataclasses.replace(config, modality=modality, choose="none")
    features = LLDS[config.acoustic]
    shape = (config.frames, features)
    if config.level == "hsf":
        shape = (2 * features, 1) if config.acoustic_network == "cnn" else (1, 2 * features)
    model = build_model(config, shape, WORDS)
    model.compile(build_optimiser(config), build_loss(config), jit_compile=jit_compile())

    def inputs(n: int) -> dict[str, np.ndarray]:
        return {"acoustic": _random(n, *shape)} if modality == "acoustic" else {"text": _words(n, config.text_length)}

    return _stepped(model, inputs, lambda n: _random(n, 3), config.batch_size, config.batch_size)


def _words(count: int, length: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, WORDS, (count, length)).astype(np.int32)


def _quaternion_at(network: str, config) -> Trained:
    import keras

    from common.contract import Context
    from common.training import jit_compile
    from papers.quaternion_at.data import size
    from papers.quaternion_at.model import build_encoder, build_vgg, chained

    frames, bins = size(config)
    if network.startswith("rh-emo"):
        return _rhemo(network, config, frames, bins)
    model = chained(build_encoder(config, Context()), build_vgg(config, 4))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(config.learning_rate), loss, jit_compile=jit_compile())
    return _stepped(model, lambda n: _random(n, frames, bins, 1), lambda n: _labels(n, 4), config.batch_size, 4)


def _rhemo(network: str, config, frames: int, bins: int) -> Trained:
    import keras

    from common.models.rhemo import rhemo
    from common.training import jit_compile
    from papers.quaternion_at.pretraining import COMPONENTS, EMOTIONS

    model, binary = (
        rhemo(len(EMOTIONS) + 1, frames=frames, bins=bins, units=config.rhemo_units),
        keras.losses.BinaryCrossentropy,
    )

    def inputs(n: int) -> np.ndarray:
        return np.abs(np.tanh(_random(n, frames, bins, 1)))

    if network.startswith("rh-emo autoencoder"):
        model = keras.Model(model.input, model.output["reconstruction"])
        model.compile(keras.optimizers.Adam(1e-3), binary(), jit_compile=jit_compile())
        return _stepped(model, inputs, inputs, config.rhemo_batch_size, 4)
    losses = {"reconstruction": binary(), "emotion": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
    model.compile(
        keras.optimizers.Adam(1e-6), losses | {name: binary() for name in COMPONENTS}, jit_compile=jit_compile()
    )

    def told(n: int) -> dict[str, np.ndarray]:
        high = {name: np.ones((n, 1), np.float32) for name in COMPONENTS}
        return {"reconstruction": inputs(n), "emotion": _labels(n, 4), **high}

    return _stepped(model, inputs, told, 20, 4)


def _gmp_atl(network: str, config) -> Trained:
    import keras

    from papers.gmp_atl import cost, data, model

    if network.startswith("k-means"):
        return _kmeans(network, config)
    config = dataclasses.replace(
        config, hubert="random-tiny" if network.endswith("tiny") else "random-base", pseudo_labels=True
    )
    samples, stage = round(cost.EXAMPLE_S * 16000), network.split(",")[0]
    frames = data.frame_count(samples)
    encoder = model.build_hubert(config, masking=stage == "stage 2")
    names = [data.output_name(clusters) for clusters in config.cluster_counts]

    def inputs(n: int) -> dict[str, np.ndarray]:
        given = {"waveform": _random(n, samples), "lengths": np.full(n, samples, np.int32)}
        return given | ({"masked": np.ones((n, frames), np.int32)} if stage == "stage 2" else {})

    def targets(n: int) -> dict[str, np.ndarray]:
        if stage == "stage 2":
            return dict.fromkeys(names, np.ones((n, frames), np.int32))
        labels = {"emotion": _labels(n, 4)}
        return labels | ({"gender": _labels(n, 2)} if stage == "stage 1" else {})

    if stage == "stage 2":
        built = model.build_stage2(config, encoder)
    else:
        built = {"stage 1": model.build_stage1, "stage 3": model.build_stage3}[stage](config, encoder, 4)
    front = keras.Model(encoder.input, encoder.output["features"])
    masked = {"masked": np.ones((1, frames), bool)} if stage == "stage 2" else {}
    return _stepped(
        built,
        inputs,
        targets,
        config.batch_size // config.accumulation,
        2,
        weights=lambda n: dict.fromkeys(names, np.ones((n, frames), np.float32)) if stage == "stage 2" else None,
        frozen=(lambda: front(inputs(1) | masked)) if config.freeze_encoder else None,
    )


def _kmeans(network: str, config) -> Trained:
    """A step of every codebook, or a k-means++ start of each, on random frames; both run on a processor."""
    from sklearn.cluster import MiniBatchKMeans, kmeans_plusplus

    width = 32 if network.endswith("tiny") else 768
    batch, counts = config.kmeans_batch, config.cluster_counts
    tenth = 3 * batch // 10

    def start(times: int):
        frames = _random(max(tenth, max(counts)), width)
        return lambda: [kmeans_plusplus(frames, count, random_state=0) for count in counts]

    def step(times: int):
        frames = _random(batch, width)
        machines = [
            MiniBatchKMeans(count, init=_random(count, width), n_init=1, batch_size=batch, reassignment_ratio=0.0)
            for count in counts
        ]
        return lambda: [machine.partial_fit(frames) for machine in machines]

    # A start's cost is linear in its sample, of which a tenth (or as many frames as clusters) is measured.
    if network.startswith("k-means start"):
        return Trained(start, lambda: None, 1, 1, parts=round(3 * batch / max(tenth, max(counts))))
    return Trained(step, lambda: None, 1, 1)


def _mtl_aae(network: str, config) -> Trained:
    import keras

    from papers.mtl_aae.model import build_model
    from papers.mtl_aae.phases import Phases

    config = dataclasses.replace(config, alpha=0.4)
    classes = {"emotion": 4} | ({"gender": 2, "speaker": 510} if config.secondary else {})
    keras.utils.set_random_seed(0)
    phases = Phases(config, build_model(config, classes), tuple(classes))

    def batch(n: int) -> dict[str, np.ndarray]:
        given = {task: _labels(n, count).astype("int32") for task, count in classes.items()}
        return given | {"picture": _random(n, config.rows, config.frames, 1)}

    def step(n: int):
        given = batch(n)
        return lambda: [float(value) for value in phases.step(given).values()]

    return Trained(step, lambda: phases.all_phases(batch(1)), 2 * config.batch_size, 16)
