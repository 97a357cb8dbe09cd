import numpy as np
import pytest

from common.errors import UserError
from common.features.bert import Bert, token_ids
from common.models import bert as model
from tests.helpers import GOLDEN

EXPECTED = GOLDEN / "bert_tiny"
"""A random three-layer BERT in Hugging Face's format, and what the PyTorch model gives for two padded sentences."""

TEXTS = ["That's out of control.", "I am so happy"]


@pytest.fixture(scope="module")
def golden():
    with np.load(EXPECTED / "expected.npz", allow_pickle=False) as stored:
        return dict(stored)


def test_token_ids_are_those_of_hugging_face(golden):
    tokenizer, _ = model.load_bert(str(EXPECTED))
    for text, ids, mask in zip(TEXTS, golden["token_ids"], golden["padding_mask"], strict=True):
        assert token_ids(tokenizer, text, 64) == ids[mask == 1].tolist()


@pytest.mark.parametrize("pooling", ["pooled", "cls", "mean"])
def test_vectors_are_those_of_pytorch(golden, pooling):
    extractor = Bert(str(EXPECTED), model.digest(str(EXPECTED)), pooling)
    found = extractor.batch(TEXTS)
    for number, vector in enumerate(found):
        kept = golden["sequence_output"][number][golden["padding_mask"][number] == 1]
        expected = {"pooled": golden["pooled_output"][number], "cls": kept[0], "mean": kept.mean(axis=0)}[pooling]
        assert vector.dtype == np.float32
        np.testing.assert_allclose(vector, expected, atol=1e-5, rtol=0)
        np.testing.assert_allclose(extractor(TEXTS[number]), expected, atol=1e-5, rtol=0)


def test_a_transcript_longer_than_the_network_reads_is_refused():
    extractor = Bert(str(EXPECTED), model.digest(str(EXPECTED)))
    assert extractor("so " * 62).shape == (32,)  # 62 words, [CLS] and [SEP]; the golden network reads 64
    with pytest.raises(UserError, match=r"'so so .* has 65 tokens; BERT reads at most 64"):
        extractor("so " * 63)
    with pytest.raises(UserError, match="513 tokens; BERT reads at most 512"):
        Bert("random-tiny", "random-tiny")("a " * 511)


def test_random_networks_give_different_vectors_for_different_texts():
    one, other, empty = Bert().batch(["I am happy.", "I am sad.", ""])
    assert np.abs(one - other).max() > 0.05 and np.abs(one - empty).max() > 0.05
    assert one.shape == (32,) and np.isfinite(empty).all()
