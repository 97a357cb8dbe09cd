"""BERT compared with the activations of Hugging Face's PyTorch model, and damaged checkpoints."""

import json
import shutil

import numpy as np
import pytest

from common.errors import UserError
from common.features.bert import Bert
from common.models import bert as model
from tests.helpers import GOLDEN

EXPECTED = GOLDEN / "bert_tiny"
"""A random three-layer BERT in Hugging Face's format, and what the PyTorch model gives for two padded sentences."""


@pytest.fixture(scope="module")
def golden():
    with np.load(EXPECTED / "expected.npz", allow_pickle=False) as stored:
        return dict(stored)


@pytest.fixture
def copy(tmp_path):
    folder = tmp_path / "bert"
    folder.mkdir()
    for name in model.FILES:
        shutil.copy(EXPECTED / name, folder)
    return folder


def test_activations_are_those_of_pytorch(golden):
    mask = golden["padding_mask"].astype(np.int32)
    inputs = {"token_ids": golden["token_ids"].astype(np.int32), "padding_mask": mask, "segment_ids": 0 * mask}
    outputs = model.load_bert(str(EXPECTED))[1](inputs, training=False)
    np.testing.assert_allclose(np.asarray(outputs["pooled_output"]), golden["pooled_output"], atol=1e-5, rtol=0)
    sequence = np.asarray(outputs["sequence_output"])[mask == 1]
    np.testing.assert_allclose(sequence, golden["sequence_output"][mask == 1], atol=1e-5, rtol=0)


def test_random_networks_have_the_same_weights_every_time():
    first = np.asarray(model.load_bert("random-tiny")[1].get_weights()[0])
    np.testing.assert_array_equal(first, np.asarray(model.load_bert("random-tiny")[1].get_weights()[0]))


def test_the_digest_depends_on_the_content_alone(copy):
    first = model.digest(str(copy))
    assert first == model.digest(str(EXPECTED))
    words = (copy / "vocab.txt").read_text()
    (copy / "vocab.txt").write_text(words.replace("happy", "merry"))
    assert model.digest(str(copy)) != first
    assert (
        model.digest("random-tiny") == "random-tiny" and model.digest("bert_base_en_uncased") == "bert_base_en_uncased"
    )


def tensors(file):
    """A safetensors file taken apart: eight bytes of length, a JSON header, the arrays."""
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    body = content[8 + length :]
    return {name: (one["dtype"], one["shape"], body[slice(*one["data_offsets"])]) for name, one in header.items()}


def write(file, parts):
    header, body = {}, b""
    for name, (dtype, shape, data) in parts.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + body)


KEY = "encoder.layer.1.attention.self.key.weight"


def missing(parts):
    del parts[KEY]


def extra(parts):
    parts["encoder.layer.3.output.dense.bias"] = ("F32", [32], bytes(128))


def misshapen(parts):
    dtype, _, data = parts[KEY]
    parts[KEY] = (dtype, [16, 64], data)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (missing, f"{KEY} is missing"),
        (extra, "encoder.layer.3.output.dense.bias is not known"),
        (misshapen, rf"{KEY} has the shape \(16, 64\) instead of \(32, 32\)"),
    ],
)
def test_a_wrong_tensor_is_named(copy, spoil, said):
    parts = tensors(copy / "model.safetensors")
    spoil(parts)
    write(copy / "model.safetensors", parts)
    with pytest.raises(UserError, match=said):
        model.load_bert(str(copy))


def test_a_published_checkpoints_names_are_understood(copy, golden):
    """google-bert's files have the prefix of the task, gamma and beta, and the heads of pretraining."""
    old = {
        "bert." + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): part
        for name, part in tensors(copy / "model.safetensors").items()
    }
    old["cls.seq_relationship.bias"] = ("F32", [2], bytes(8))
    write(copy / "model.safetensors", old)
    vector = Bert(str(copy), model.digest(str(copy)))("That's out of control.")
    np.testing.assert_allclose(vector, golden["pooled_output"][0], atol=1e-5, rtol=0)


def configured(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "vocab.txt").unlink(), "it holds no vocab.txt"),
        (lambda folder: (folder / "config.json").write_text("{"), "damaged BERT checkpoint"),
        (lambda folder: (folder / "config.json").write_text("{}"), "damaged BERT checkpoint"),
        (lambda folder: configured(folder, model_type="roberta"), "model_type bert"),
        (lambda folder: (folder / "vocab.txt").write_text("a\nb\n"), "2 words of 83"),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"pickled, perhaps" * 9),
            "not a whole safetensors file",
        ),
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), "not a whole safetensors file"),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(
                (EXPECTED / "model.safetensors").read_bytes()[:-100]
            ),
            "it is not as long as its header says",
        ),
    ],
)
def test_folders_that_are_no_checkpoint(copy, spoil, said):
    spoil(copy)
    with pytest.raises(UserError, match=said):
        model.load_bert(str(copy))


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(UserError, match=r"is not a BERT checkpoint: it holds no config.json"):
        model.digest(str(tmp_path / "none"))
