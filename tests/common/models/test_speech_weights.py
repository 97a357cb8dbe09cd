"""Checkpoints of HuBERT and similar networks: what is read, what is refused, and the error messages."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from common import safetensors
from common.errors import UserError
from common.models.speech_weights import digest, load, read_config
from tests.helpers import GOLDEN
from tests.helpers.speech_checkpoints import save_checkpoint, write_tensors

EXPECTED = GOLDEN / "hubert_tiny"
FOLDER = GOLDEN / "speech_encoders"


@pytest.fixture(scope="module")
def plain():
    return load(EXPECTED)


KINDS = ("hubert_large", "wav2vec2", "wavlm", "wavlm_large", "data2vec", "data2vec_large")


@pytest.mark.parametrize("folder", [EXPECTED, *(FOLDER / name for name in KINDS)], ids=lambda folder: folder.name)
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


def checkpoint(folder: Path, change=None, source: Path = EXPECTED, **config) -> Path:
    """A tiny checkpoint with changed tensors or configuration."""
    folder.mkdir(exist_ok=True)
    described = {**json.loads((source / "config.json").read_text()), **config}
    (folder / "config.json").write_text(json.dumps(described))
    tensors = dict(safetensors.read(source / "model.safetensors"))
    write_tensors(folder / "model.safetensors", change(tensors) if change else tensors)
    return folder


HEADS = {
    "hubert": ["classifier.weight", "projector.bias", "layer_weights"],  # a classifier's
    "wav2vec2": ["quantizer.codevectors", "quantizer.weight_proj.bias", "project_q.weight", "project_hid.bias"],
    "wavlm": ["lm_head.weight", "lm_head.bias"],
    "data2vec_audio": ["lm_head.weight", "lm_head.bias"],
}
"""Tensors of Hugging Face's models for pretraining, for recognition and for classification, by prefix of the others."""


@pytest.mark.parametrize("prefix", HEADS)
def test_old_tensor_names_and_a_task_head_are_accepted(tmp_path, prefix):
    def of_a_task(tensors):
        renamed = {}
        for name, values in tensors.items():
            name = name.replace("parametrizations.weight.original0", "weight_g")
            renamed[f"{prefix}." + name.replace("parametrizations.weight.original1", "weight_v")] = values
        return {**renamed, **{name: np.zeros((4, 8), np.float32) for name in HEADS[prefix]}}

    source = FOLDER / prefix.removesuffix("_audio")
    model = load(checkpoint(tmp_path, of_a_task, source))
    for one, other in zip(load(source).get_weights(), model.get_weights(), strict=True):
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
    ("name", "lacking", "message"),
    [
        ("wavlm", "encoder.layers.0.attention.rel_attn_embed.weight", "does not hold the WavLM of its config.json"),
        ("wavlm", "encoder.layers.2.attention.gru_rel_pos_const", "is missing"),
        ("data2vec", "encoder.pos_conv_embed.layers.2.conv.bias", "does not hold the data2vec audio"),
    ],
)
def test_what_only_one_family_has_is_needed(tmp_path, name, lacking, message):
    def without(tensors):
        return {name: values for name, values in tensors.items() if name != lacking}

    with pytest.raises(UserError, match=message) as caught:
        load(checkpoint(tmp_path, without, FOLDER / name))
    assert f"{lacking} is missing" in str(caught.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "unispeech"}, r"no network that is supported \(model_type is 'unispeech'\)"),
        ({"model_type": None}, "types wav2vec2, hubert, wavlm, data2vec-audio"),
        ({"model_type": "data2vec-audio"}, "does not hold the data2vec audio of its config.json: .* is missing"),
        ({"conv_pos_batch_norm": True}, "conv_pos_batch_norm is True; only False is supported"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"model_type": "wavlm", "num_buckets": 15}, "is not a WavLM configuration: num_buckets is not even"),
        ({"add_adapter": True}, "add_adapter is True; only False is supported"),
        ({"conv_kernel": [10, 3]}, "conv_dim, conv_kernel and conv_stride differ in length"),
        ({"hidden_size": "wide"}, "is not a HuBERT configuration"),
    ],
)
def test_other_networks_are_refused_by_name(tmp_path, config, message):
    with pytest.raises(UserError, match=message):
        load(checkpoint(tmp_path, **config))


def test_fields_that_hugging_faces_network_ignores_are_ignored(tmp_path):
    folder = checkpoint(
        tmp_path / "a", source=FOLDER / "data2vec", do_stable_layer_norm=True, feat_extract_norm="group"
    )
    assert read_config(folder) == read_config(FOLDER / "data2vec")
    folder = checkpoint(tmp_path / "b", source=FOLDER / "wav2vec2", feat_proj_layer_norm=False)
    assert read_config(folder) == read_config(FOLDER / "wav2vec2")
    assert not read_config(checkpoint(tmp_path / "c", feat_proj_layer_norm=False)).feat_proj_layer_norm


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
