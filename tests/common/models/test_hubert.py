"""HuBERT compared with Hugging Face's PyTorch model on a second golden file, with 49 frames; parts and copies."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

from common.errors import UserError
from common.models.hubert import HubertConfig
from common.models.speech_encoder import speech_encoder, truncate
from common.models.speech_weights import load, read_config
from tests.helpers import GOLDEN

EXPECTED = GOLDEN / "hubert_tiny"


@pytest.fixture(scope="module")
def expected():
    with np.load(EXPECTED / "expected.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def plain():
    return load(EXPECTED)


def run(model, **inputs):
    return keras.tree.map_structure(np.asarray, model(inputs))


def test_all_hidden_states_equal_the_pytorch_model(plain, expected):
    found = run(plain, waveform=expected["waveform"])
    np.testing.assert_allclose(found["features"], expected["conv_features"], atol=2e-5)
    assert len(found["hidden_states"]) == 5
    for state, theirs in zip(found["hidden_states"], expected["hidden_states"], strict=True):
        np.testing.assert_allclose(state, theirs, atol=2e-5)
    np.testing.assert_allclose(found["hidden_states"][-1], expected["last_hidden_state"], atol=2e-5)


def test_padding_attention_equals_the_pytorch_model(expected):
    lengths = expected["attention_mask"].sum(axis=1).astype(np.int32)
    found = run(load(EXPECTED, padding="attention"), waveform=expected["waveform"], lengths=lengths)
    np.testing.assert_allclose(found["hidden_states"][-1], expected["last_hidden_state_with_attention_mask"], atol=2e-5)
    assert np.abs(found["hidden_states"][-1] - expected["last_hidden_state"]).max() > 0.01


def test_masked_frames_equal_the_pytorch_model(expected):
    found = run(load(EXPECTED, masking=True), waveform=expected["waveform"], masked=expected["mask_time_indices"])
    theirs = expected["last_hidden_state_with_mask_time_indices"]
    np.testing.assert_allclose(found["hidden_states"][-1], theirs, atol=2e-5)
    assert expected["mask_time_indices"].any()


def test_bfloat16_has_the_expected_precision(expected):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = load(EXPECTED)
    finally:
        keras.config.set_dtype_policy(before)
    states = [
        np.asarray(ops.cast(state, "float32")) for state in model({"waveform": expected["waveform"]})["hidden_states"]
    ]
    # bfloat16 has 8 bits, so the mean error of a value of 1 is 2^-9 = 0.002; the errors of some tens of steps add up.
    for state, theirs in zip(states, expected["hidden_states"], strict=True):
        assert 1e-4 < np.abs(state - theirs).mean() < 0.02 * np.abs(theirs).mean()


def test_number_of_frames():
    config = HubertConfig()
    assert [config.frames(n) for n in (399, 400, 16000, 32000, 64000, 160000)] == [0, 1, 49, 99, 199, 499]
    assert config.receptive_field == 400


def test_truncate_removes_the_later_layers(plain, expected):
    part = truncate(plain, -3)
    names = {layer.name for layer in part.layers}
    assert "layer_2" in names and "layer_3" not in names
    np.testing.assert_allclose(part({"waveform": expected["waveform"]}), expected["hidden_states"][2], atol=2e-5)
    with pytest.raises(UserError, match="no layer 5: this network has the hidden states 0 to 4"):
        truncate(plain, 5)


def test_weights_can_be_copied_between_variants(plain, expected):
    other = speech_encoder(read_config(EXPECTED), padding="exact", masking=True)
    other.set_weights(plain.get_weights())
    inputs = {"lengths": np.full(2, 16000, np.int32), "masked": np.zeros((2, 49), bool)}
    found = run(other, waveform=expected["waveform"], **inputs)["hidden_states"][-1]
    np.testing.assert_allclose(found, expected["last_hidden_state"], atol=2e-5)


def test_layerdrop_skips_layers_in_training(expected):
    model = speech_encoder(dataclasses.replace(read_config(EXPECTED), layerdrop=1.0, hidden_dropout=0.0))
    states = model({"waveform": expected["waveform"][:1, :2000]}, training=True)["hidden_states"]
    np.testing.assert_array_equal(states[0], states[-1])
    states = model({"waveform": expected["waveform"][:1, :2000]}, training=False)["hidden_states"]
    assert np.abs(np.asarray(states[0]) - np.asarray(states[-1])).max() > 0.01
