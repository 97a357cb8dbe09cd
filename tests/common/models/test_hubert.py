"""HuBERT compared with Hugging Face's PyTorch model (activations, checkpoints), training, and error messages."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from common import safetensors
from common.errors import UserError
from common.layers.waveform import NormalizedWaveConvolution, StridedConvolution
from common.models.hubert import HubertConfig
from common.models.speech_encoder import freeze_front_end, speech_encoder, truncate
from common.models.speech_weights import digest, load, read_config
from tests.helpers import GOLDEN
from tests.helpers.speech_checkpoints import save_checkpoint, write_tensors

EXPECTED = GOLDEN / "hubert_tiny"
LARGE = GOLDEN / "speech_encoders" / "hubert_large"


def expected_numbers():
    with np.load(EXPECTED / "expected.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def expected():
    return expected_numbers()


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


def test_save_and_load_as_keras_model(tmp_path, expected):
    model = load(EXPECTED, padding="attention", masking=True)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    inputs = {
        "waveform": expected["waveform"],
        "lengths": np.array([16000, 9000]),
        "masked": expected["mask_time_indices"],
    }
    for one, other in zip(run(model, **inputs)["hidden_states"], run(again, **inputs)["hidden_states"], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("folder", [EXPECTED, LARGE])
def test_stored_weights_are_the_checkpoint_bit_for_bit(folder, tmp_path):
    model = load(folder)
    save_checkpoint(model, read_config(folder), tmp_path)
    written = safetensors.read(tmp_path / "model.safetensors")
    new = {
        "conv.weight_g": "conv.parametrizations.weight.original0",
        "conv.weight_v": "conv.parametrizations.weight.original1",
    }
    original = safetensors.read(folder / "model.safetensors")
    assert len(written) == len(original)
    for name, values in written.items():
        for old, other in new.items():
            name = name.replace(old, other)
        np.testing.assert_array_equal(values, original[name])
    assert read_config(tmp_path) == read_config(folder)
    theirs = json.loads((folder / "config.json").read_text())
    ours = json.loads((tmp_path / "config.json").read_text())
    assert {name: theirs[name] for name in ours if name in theirs} == {n: ours[n] for n in ours if n in theirs}


def checkpoint(folder: Path, change=None, **config) -> Path:
    """The tiny checkpoint with changed tensors or configuration."""
    folder.mkdir(exist_ok=True)
    described = {**json.loads((EXPECTED / "config.json").read_text()), **config}
    (folder / "config.json").write_text(json.dumps(described))
    tensors = dict(safetensors.read(EXPECTED / "model.safetensors"))
    write_tensors(folder / "model.safetensors", change(tensors) if change else tensors)
    return folder


def old_names(tensors):
    renamed = {}
    for name, values in tensors.items():
        name = name.replace("parametrizations.weight.original0", "weight_g")
        renamed["hubert." + name.replace("parametrizations.weight.original1", "weight_v")] = values
    return {**renamed, "classifier.weight": np.zeros((4, 8), np.float32)}


def test_old_tensor_names_and_a_task_head_are_accepted(tmp_path, plain, expected):
    model = load(checkpoint(tmp_path, old_names))
    for one, other in zip(plain.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_pytorch_files_are_read(tmp_path, plain):
    torch = pytest.importorskip("torch")
    shutil.copy(EXPECTED / "config.json", tmp_path)
    tensors = safetensors.read(EXPECTED / "model.safetensors")
    torch.save({name: torch.tensor(values) for name, values in tensors.items()}, tmp_path / "pytorch_model.bin")
    for one, other in zip(plain.get_weights(), load(tmp_path).get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    torch.save({"weights": Path("anything that is no tensor")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="not a file of PyTorch tensors only"):
        load(tmp_path)


def test_pytorch_files_without_pytorch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    shutil.copy(EXPECTED / "config.json", tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"any")
    with pytest.raises(UserError, match=r"needs PyTorch to be read: install torch, or put a model\.safetensors"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {n: v for n, v in t.items() if n != "masked_spec_embed"}, "masked_spec_embed is missing"),
        (lambda t: {**t, "gru_rel_pos_const": t["masked_spec_embed"]}, "gru_rel_pos_const is not known"),
        (lambda t: {**t, "lm_head.weight": t["masked_spec_embed"]}, "lm_head.weight is not known"),
        (
            lambda t: {**t, "encoder.layer_norm.bias": np.zeros(31, np.float32)},
            r"encoder\.layer_norm\.bias has the shape \(31,\) instead of \(32,\)",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        load(checkpoint(tmp_path, change))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "unispeech"}, r"no network that is supported \(model_type is 'unispeech'\)"),
        ({"model_type": None}, "types wav2vec2, hubert, wavlm, data2vec-audio"),
        ({"model_type": "data2vec-audio"}, "does not hold the data2vec audio of its config.json: .* is missing"),
        ({"conv_pos_batch_norm": True}, "conv_pos_batch_norm is True; only False is supported"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"conv_kernel": [10, 3]}, "conv_dim, conv_kernel and conv_stride differ in length"),
        ({"hidden_size": "wide"}, "is not a HuBERT configuration"),
    ],
)
def test_other_networks_are_refused_by_name(tmp_path, config, message):
    with pytest.raises(UserError, match=message):
        load(checkpoint(tmp_path, **config))


def test_incomplete_and_damaged_folders(tmp_path):
    with pytest.raises(UserError, match=r"holds no config\.json"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        load(tmp_path)
    shutil.copy(EXPECTED / "config.json", tmp_path / "config.json")
    with pytest.raises(UserError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        load(tmp_path)
    whole = (EXPECTED / "model.safetensors").read_bytes()
    for content in (b"", b"\x08", whole[:-5], whole[:5000], b"\xff" * 100):
        (tmp_path / "model.safetensors").write_bytes(content)
        with pytest.raises(UserError, match="not a whole safetensors file"):
            load(tmp_path)


def test_digest_depends_on_the_content_only(tmp_path):
    copy = shutil.copytree(EXPECTED, tmp_path / "copy")
    assert digest(copy) == digest(EXPECTED)
    other = checkpoint(tmp_path / "other", lambda t: {**t, "masked_spec_embed": t["masked_spec_embed"] + 1})
    assert digest(other) != digest(EXPECTED)


def test_bfloat16_and_float16_tensors(tmp_path):
    values = np.array([1.0, -2.5, 3e38], np.float32)
    header = (
        b'{"a":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]},"b":{"dtype":"F16","shape":[1],"data_offsets":[6,8]}}'
    )
    body = (values.view(np.uint32) >> 16).astype("<u2").tobytes() + np.float16(0.5).tobytes()
    (tmp_path / "x").write_bytes(len(header).to_bytes(8, "little") + header + body)
    found = safetensors.read(tmp_path / "x")
    np.testing.assert_allclose(found["a"], values, rtol=2**-7)
    assert found["b"].tolist() == [0.5]


def test_a_training_step_changes_all_weights_that_are_not_frozen(expected):
    model = load(EXPECTED, masking=True, layerdrop=0.0)
    freeze_front_end(model)
    step = keras.Model(model.input, model.output["hidden_states"][-1])
    step.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    before = {weight.path: np.array(weight) for weight in model.weights}
    step.train_on_batch(
        {"waveform": expected["waveform"], "masked": expected["mask_time_indices"]}, np.zeros((2, 49, 32))
    )
    still = {weight.path for weight in model.weights if np.array_equal(before[weight.path], weight)}
    assert {path for path in still if "key/bias" not in path} == {p for p in before if p.startswith("convolution_")}


def test_layerdrop_skips_layers_in_training(expected):
    model = speech_encoder(dataclasses.replace(read_config(EXPECTED), layerdrop=1.0, hidden_dropout=0.0))
    states = model({"waveform": expected["waveform"][:1, :2000]}, training=True)["hidden_states"]
    np.testing.assert_array_equal(states[0], states[-1])
    states = model({"waveform": expected["waveform"][:1, :2000]}, training=False)["hidden_states"]
    assert np.abs(np.asarray(states[0]) - np.asarray(states[-1])).max() > 0.01


def test_normalising_the_kernel_equals_group_normalisation():
    """Values and gradients of the separate layers in float64, for low-pass audio and a high-pass filter."""
    generator = np.random.default_rng(0)
    walk = np.cumsum(generator.standard_normal((2, 9000)), axis=1)
    waveform = ((walk - walk.mean(axis=1, keepdims=True)) / walk.std(axis=1, keepdims=True)).astype(np.float32)
    layer = NormalizedWaveConvolution(6, 10, 5)
    layer.build((None, None))
    kernel = generator.standard_normal((10, 1, 6)).astype(np.float32)
    kernel[:, 0, 0] = [1, -2, 1, 0, 0, 0, 0, 0, 0, 0]  # second difference
    layer.kernel.assign(kernel)
    layer.scale.assign(generator.standard_normal(6))
    layer.offset.assign(generator.standard_normal(6))

    def plain(kernel):
        windows = np.lib.stride_tricks.sliding_window_view(waveform.astype(np.float64), 10, axis=1)[:, ::5]
        values = windows @ kernel[:, 0]
        values = (values - values.mean(axis=1, keepdims=True)) / np.sqrt(values.var(axis=1, keepdims=True) + 1e-5)
        values = values * np.asarray(layer.scale) + np.asarray(layer.offset)
        from scipy.special import erf

        return values * 0.5 * (1 + erf(values / np.sqrt(2)))

    np.testing.assert_allclose(layer(waveform), plain(kernel.astype(np.float64)), atol=2e-5)
    import tensorflow as tf

    weights = generator.standard_normal(plain(kernel.astype(np.float64)).shape)
    with tf.GradientTape() as tape:
        loss = ops.sum(layer(waveform) * weights.astype(np.float32))
    gradient = np.asarray(tape.gradient(loss, layer.kernel.value))
    for tap, filter_ in ((0, 1), (7, 3)):
        shift = np.zeros_like(kernel, np.float64)
        shift[tap, 0, filter_] = 1e-5
        numeric = ((plain(kernel + shift) - plain(kernel - shift)) * weights).sum() / 2e-5
        assert gradient[tap, 0, filter_] == pytest.approx(numeric, rel=2e-3)


@pytest.mark.parametrize(("size", "stride"), [(3, 2), (2, 2), (5, 2), (3, 5), (7, 3)])
@pytest.mark.parametrize("frames", [50, 51, 52, 53, 54])
def test_strided_convolution_equals_keras(size, stride, frames):
    layer = StridedConvolution(4, size, stride, use_bias=True)
    x = np.random.default_rng(frames).standard_normal((2, frames, 3)).astype(np.float32)
    found = layer(x)
    layer.bias.assign([1.0, 2.0, 3.0, 4.0])
    theirs = keras.activations.gelu(ops.conv(x, layer.kernel, stride, "valid") + layer.bias)
    np.testing.assert_allclose(layer(x), theirs, atol=1e-5)
    assert found.shape == theirs.shape == layer.compute_output_shape(x.shape)
