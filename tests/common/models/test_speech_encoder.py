"""wav2vec 2.0, HuBERT, WavLM and data2vec audio: compared with Hugging Face's models; padding, sizes, training."""

import dataclasses
from functools import cache

import keras
import numpy as np
import pytest
from keras import ops

from common.models.data2vec import Data2VecConfig
from common.models.hubert import HubertConfig
from common.models.speech_encoder import freeze_front_end, speech_encoder, truncate
from common.models.speech_weights import load, read_config, stored_weights
from common.models.wav2vec2 import Wav2Vec2Config
from common.models.wavlm import WavLMConfig
from tests.helpers import GOLDEN
from tests.helpers.speech_checkpoints import save_checkpoint

FOLDER = GOLDEN / "speech_encoders"
NAMES = [
    f"{family}{size}" for family in ("hubert", "wav2vec2", "wavlm", "data2vec") for size in ("", "_large")
]  # see make.py there
WIDE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
LARGE = {**WIDE, "feat_extract_norm": "layer", "do_stable_layer_norm": True}
TRANSFORMERS = {
    HubertConfig: "Hubert", Wav2Vec2Config: "Wav2Vec2", WavLMConfig: "WavLM", Data2VecConfig: "Data2VecAudio",
}  # fmt: skip
PUBLISHED = {
    "hubert-base-ls960": (HubertConfig(), 94_371_712, 211),
    "hubert-large-ll60k": (HubertConfig(**LARGE, conv_bias=True), 315_438_720, 422),
    "wav2vec2-base": (Wav2Vec2Config(), 94_371_712, 211),
    "wav2vec2-large-lv60": (Wav2Vec2Config(**LARGE, conv_bias=True), 315_438_720, 422),
    "wavlm-base-plus": (WavLMConfig(), 94_381_936, 248),
    "wavlm-large": (WavLMConfig(**LARGE), 315_453_120, 488),
    "data2vec-audio-base": (Data2VecConfig(), 93_164_288, 230),
    "data2vec-audio-large": (Data2VecConfig(**WIDE), 313_276_416, 422),
}
"""Parameters and tensors of Hugging Face's models of these configurations (transformers 4.57.6)."""


def read(file):
    with np.load(FOLDER / file) as stored:
        return dict(stored)


@cache
def network(name, padding="attention"):
    """Shared by the tests, which leave its weights alone."""
    return load(FOLDER / name, padding=padding, masking=True)


def states_of(model, waveform, lengths=None, masked=None):
    """The front end's features, and all hidden states, shape (layers + 1, batch, frames, width)."""
    lengths = np.full(len(waveform), waveform.shape[1], np.int32) if lengths is None else lengths.astype(np.int32)
    frames = HubertConfig().frames(waveform.shape[1])
    masked = np.zeros((len(waveform), frames), bool) if masked is None else masked
    found = model({"waveform": waveform, "lengths": lengths, "masked": masked})
    states = [ops.convert_to_numpy(ops.cast(state, "float32")) for state in found["hidden_states"]]
    return ops.convert_to_numpy(ops.cast(found["features"], "float32")), np.stack(states)


def errors(name):
    """Largest differences from the numbers of transformers, by array."""
    inputs, expected, model = read("inputs.npz"), read(f"{name}/expected.npz"), network(name)
    features, plain = states_of(model, inputs["waveform"])
    found = {
        "features": features,
        "hidden_states": plain,
        "hidden_states_with_attention_mask": states_of(model, inputs["waveform"], inputs["lengths"])[1],
        "hidden_states_with_masked_frames": states_of(model, inputs["waveform"], masked=inputs["masked"])[1],
    }
    assert all(values.shape == expected[array].shape for array, values in found.items())
    return {array: float(np.abs(values - expected[array]).max()) for array, values in found.items()}


@pytest.mark.parametrize("name", NAMES)
def test_all_hidden_states_equal_the_pytorch_model(name):
    found = errors(name)
    assert len(found) == 4 and max(found.values()) < 1e-5
    expected = read(f"{name}/expected.npz")
    for changed in ("hidden_states_with_attention_mask", "hidden_states_with_masked_frames"):
        assert np.abs(expected[changed] - expected["hidden_states"]).max() > 0.5  # so that the inputs matter


@pytest.mark.parametrize("name", NAMES)
def test_exact_padding_gives_the_same_as_a_single_utterance(name):
    inputs, model = read("inputs.npz"), network(name, "exact")
    waveform, lengths = inputs["waveform"], inputs["lengths"]
    together = states_of(model, waveform, lengths)[1]  # what follows after an utterance is noise and has no effect
    # The first utterance is as long as the batch, so its numbers are those of transformers without padding.
    np.testing.assert_allclose(together[:, 0], read(f"{name}/expected.npz")["hidden_states"][:, 0], atol=1e-5)
    alone = states_of(model, waveform[1:, : lengths[1]])[1]
    np.testing.assert_allclose(together[:, 1:, : alone.shape[2]], alone, atol=1e-5)


@pytest.mark.parametrize("name", ["hubert", "data2vec"])
def test_attention_padding_is_not_exact_in_networks_that_normalise_it(name):
    inputs, model = read("inputs.npz"), network(name)
    together = states_of(model, inputs["waveform"], inputs["lengths"])[1]
    alone = states_of(model, inputs["waveform"][1:, : inputs["lengths"][1]])[1]
    assert np.abs(together[:, 1:, : alone.shape[2]] - alone).max() > 0.01


@pytest.mark.parametrize("name", ["wavlm", "data2vec"])
def test_bfloat16_has_the_expected_precision(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = load(FOLDER / name, padding="exact", masking=True)
    finally:
        keras.config.set_dtype_policy(before)
    assert model.get_layer("layer_2").compute_dtype == "bfloat16"
    found = states_of(model, read("inputs.npz")["waveform"])[1]
    expected = read(f"{name}/expected.npz")["hidden_states"]
    # bfloat16 has 8 bits, so the mean error of a value of 1 is 2^-9 = 0.002; the errors of some tens of steps add up.
    for state, theirs in zip(found, expected, strict=True):
        assert 1e-4 < np.abs(state - theirs).mean() < 0.03 * np.abs(theirs).mean()


def errors_and_training(name):
    """Largest errors, and how many trainable weights six steps leave unchanged."""
    found = errors(name)
    inputs, both = read("inputs.npz"), load(FOLDER / name, padding="exact", masking=True)
    step = keras.Model(both.input, both.output["hidden_states"][-1])
    step.compile("sgd", "mse")
    before = step.get_weights()
    given = {"waveform": inputs["waveform"], "lengths": inputs["lengths"].astype("int32"), "masked": inputs["masked"]}
    for _ in range(6):  # a step may skip a layer, but no layer is skipped in all steps
        loss = step.train_on_batch(given, np.zeros((2, 15, 16)))
    still = sum(np.array_equal(one, other) for one, other in zip(before, step.get_weights(), strict=True))
    return {"errors": found, "loss": float(loss), "still": still, "backend": keras.backend.backend()}


@pytest.mark.parametrize("name", ["wavlm", pytest.param("data2vec", marks=pytest.mark.slow)])
def test_jax_gives_the_same_results_and_trains(under_jax, name):
    found = under_jax(errors_and_training, name)
    assert found["backend"] == "jax"
    assert max(found["errors"].values()) < 2e-5
    assert np.isfinite(found["loss"])
    # A bias of the keys changes all scores of a row equally, which softmax ignores: its gradient is zero or rounding.
    assert found["still"] <= 3


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_jax_equals_the_pytorch_model(under_jax, name):
    assert max(under_jax(errors, name).values()) < 2e-5


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_number_of_parameters_is_the_published_one(name, monkeypatch):
    zeros = lambda self, shape, dtype=None: ops.zeros(shape, dtype)  # noqa: E731
    monkeypatch.setattr(keras.initializers.VarianceScaling, "__call__", zeros)  # random numbers would take seconds
    config, parameters, tensors = PUBLISHED[name]
    short = dataclasses.replace(config, num_hidden_layers=2, layerdrop=0.0)
    model = speech_encoder(short)
    layers = config.num_hidden_layers - 2  # all layers but the first are equal
    assert model.count_params() + layers * model.get_layer("layer_2").count_params() == parameters
    stored = stored_weights(model, short)
    of_layer = sum(one.startswith("encoder.layers.1.") for one in stored)
    assert len(stored) + layers * of_layer == tensors
    assert sum(np.prod(one.shape) for one in stored.values()) == model.count_params()


@pytest.mark.parametrize("name", ["hubert", "wavlm_large", "data2vec"])
def test_gradients_reach_all_weights(name):
    import tensorflow as tf

    inputs, model = read("inputs.npz"), load(FOLDER / name, padding="exact", masking=True)
    freeze_front_end(model)
    given = {"waveform": inputs["waveform"], "lengths": inputs["lengths"].astype("int32"), "masked": inputs["masked"]}
    with tf.GradientTape() as tape:
        loss = ops.mean(ops.square(model(given)["hidden_states"][-1] - 1.0))
    weights = model.trainable_variables
    gradients = tape.gradient(loss, [weight.value for weight in weights])
    assert not any(weight.path.startswith("convolution_") for weight in weights)
    for weight, gradient in zip(weights, gradients, strict=True):
        gradient = tf.convert_to_tensor(gradient)
        assert "key/bias" in weight.path or np.abs(gradient).max() > 1e-6, weight.path


def test_wavlms_first_layer_is_never_skipped():
    model = load(FOLDER / "wavlm", layerdrop=1.0, hidden_dropout=0.0)
    waveform = read("inputs.npz")["waveform"][:1, :2000]
    states = [np.asarray(state) for state in model({"waveform": waveform}, training=True)["hidden_states"]]
    assert np.abs(states[1] - states[0]).max() > 0.01
    np.testing.assert_array_equal(states[1], states[-1])


@pytest.mark.parametrize("name", ["wavlm", "data2vec"])
def test_parts_and_copies_give_the_same(name, tmp_path):
    inputs, expected = read("inputs.npz"), read(f"{name}/expected.npz")["hidden_states"]
    plain = load(FOLDER / name)
    np.testing.assert_allclose(truncate(plain, -2)({"waveform": inputs["waveform"]}), expected[2], atol=1e-5)
    other = speech_encoder(read_config(FOLDER / name), padding="exact", masking=True)
    other.set_weights(plain.get_weights())
    other.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(states_of(again, inputs["waveform"])[1], expected, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_random_weights_give_hugging_faces_results(name, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    compare_with_transformers(read_config(FOLDER / name), tmp_path, samples=6000)


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_full_size_equals_hugging_faces_model_on_four_seconds(name, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    states = compare_with_transformers(PUBLISHED[name][0], tmp_path, samples=64000)
    assert states[-1].shape[:2] == (1, 199) and np.abs(states[-1]).mean() > 0.5


def compare_with_transformers(config, folder, samples):
    """Random weights, also where the initial ones are 0 or 1, written to a folder, read by transformers strictly."""
    import torch
    import transformers

    keras.utils.set_random_seed(0)
    model, draw = speech_encoder(config), np.random.default_rng(1)
    for weight in model.weights:
        if len(weight.shape) == 1 and "seed" not in weight.path:
            weight.assign(weight + draw.normal(0, 0.05, weight.shape).astype(np.float32))
    save_checkpoint(model, config, folder)
    kind = getattr(transformers, f"{TRANSFORMERS[type(config)]}Model")
    theirs, read = kind.from_pretrained(folder, output_loading_info=True)
    assert not any(read.values())  # nothing missing, unexpected or of another shape
    waveform = draw.standard_normal((1, samples)).astype(np.float32)
    with torch.no_grad():
        expected = theirs.eval()(torch.tensor(waveform), output_hidden_states=True)
    states = [np.asarray(state) for state in model({"waveform": waveform})["hidden_states"]]
    pairs = [(one, other.numpy()) for one, other in zip(states, expected.hidden_states, strict=True)]
    differences = [np.abs(one - other).max() for one, other in pairs]
    sizes = [np.abs(one).mean() for one in states]
    worst = int(np.argmax(differences))
    print(
        f"{config.title} of width {config.hidden_size}, {keras.backend.backend()}: at most {differences[worst]:.1e} "
        f"(state {worst}, mean size {sizes[worst]:.2f}); last {differences[-1]:.1e} (mean size {sizes[-1]:.2f})"
    )
    assert max(differences) < 5e-5
    np.testing.assert_allclose(states[-1], expected.last_hidden_state.numpy(), atol=5e-5)
    return states


@pytest.mark.slow
@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_defaults_are_those_of_transformers(kind):
    transformers = pytest.importorskip("transformers")
    theirs = getattr(transformers, f"{TRANSFORMERS[kind]}Config")().to_dict()
    assert kind.from_json(theirs) == kind()
    fields = {field.name for field in dataclasses.fields(kind)} - set(kind.fixed)
    assert fields <= set(theirs)
