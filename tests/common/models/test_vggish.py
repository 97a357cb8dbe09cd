"""VGGish compared with Google's front end and a SavedModel like that of TF-Hub, and error messages for checkpoints."""

import keras
import numpy as np
import pytest

from common.errors import UserError
from common.features import vggish as front
from common.models import vggish as model
from tests.helpers import GOLDEN
from tests.helpers.hub_vggish import embed_by_hub, save_like_hub

EXPECTED = GOLDEN / "vggish" / "log_mel.npz"
"""Waveform, log-mel and examples of AudioSet's own `vggish_input` (float64)."""


@pytest.fixture(scope="module")
def golden():
    with np.load(EXPECTED, allow_pickle=False) as stored:
        return dict(stored)


def speech(seconds, seed=0):
    """A chirp with noise, so that the spectrum changes over time."""
    t = np.arange(round(seconds * 16000)) / 16000
    noise = np.random.default_rng(seed).normal(0, 0.02, len(t))
    return (0.3 * np.sin(2 * np.pi * (200 + 150 * t) * t) + noise).astype(np.float32)


# --- front end -------------------------------------------------------------------------------------------------------


def test_log_mel_equals_googles(golden):
    signal = (golden["waveform_int16"] / 32768.0).astype(np.float32)
    np.testing.assert_allclose(front.log_mel(signal), golden["log_mel"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(front.examples(signal), golden["examples"], atol=1e-5, rtol=0)


def test_a_tone_is_in_its_mel_band():
    t = np.arange(16000) / 16000
    band = front.log_mel(0.5 * np.sin(2 * np.pi * 1000 * t)).mean(axis=0).argmax()
    # 64 triangles between 125 and 7500 Hz, evenly spaced in 1127 ln(1 + f/700): the one centred nearest to 1000 Hz.
    edges = np.linspace(1127 * np.log1p(125 / 700), 1127 * np.log1p(7500 / 700), 66)[1:-1]
    assert band == np.abs(700 * np.expm1(edges / 1127) - 1000).argmin()


@pytest.mark.parametrize(("samples", "count"), [(400, 1), (15360, 1), (15599, 1), (15600, 1), (30959, 1), (30960, 2)])
def test_a_short_clip_is_padded_and_a_remainder_is_dropped(samples, count):
    # Example k needs 15600 + (k - 1) * 15360 samples: 96 frames of 10 ms and the last frame's further 15 ms.
    assert front.examples(np.ones(samples, np.float32)).shape == (count, 96, 64)


def test_padding_is_silence():
    padded = front.examples(speech(0.5))[0]
    np.testing.assert_allclose(padded[60:], np.log(0.01), atol=1e-6)
    np.testing.assert_allclose(padded[:47], front.log_mel(speech(0.5))[:47], atol=1e-6)


# --- network ---------------------------------------------------------------------------------------------------------


def test_the_network_has_the_published_number_of_parameters():
    network = model.vggish()
    assert network.count_params() == 72_141_184
    assert network.output_shape == (None, 128)
    assert network.get_layer("fc2").activation is keras.activations.linear
    assert network.get_layer("flatten").output.shape == (None, 12288)


def small(monkeypatch, width=1 / 16):
    """Makes all functions of the module build the network at reduced width."""
    build = model.vggish
    monkeypatch.setattr(model, "vggish", lambda: build(width))
    return build(width)


@pytest.fixture(scope="module")
def reduced():
    return model.random_vggish(1 / 16, seed=3)


def test_the_keras_model_equals_the_saved_model(tmp_path, monkeypatch, reduced):
    small(monkeypatch)
    biased = [value + 0.05 if value.ndim == 1 else value for value in reduced.get_weights()]
    reduced.set_weights(biased)
    folder = save_like_hub(reduced, tmp_path / "hub")
    embed = front.Embedder(model.load_vggish(folder))
    reference = embed_by_hub(folder)
    for seconds in (0.975, 2.0, 3.1):
        signal = speech(seconds)
        expected = reference(signal)
        found = embed(front.examples(signal))
        assert found.shape == expected.shape == (int((seconds * 100 - 1.5) // 96), 128)
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max() + 1e-5)
    # For less than 0.975 s, the SavedModel has no example; here the clip is padded.
    assert np.isfinite(embed(front.examples(speech(0.9)))).all()


def test_digest_depends_on_the_content_only(tmp_path, monkeypatch, reduced):
    small(monkeypatch)
    one = save_like_hub(reduced, tmp_path / "one")
    first = model.digest(one)
    one.rename(tmp_path / "moved")
    assert model.digest(tmp_path / "moved") == first
    data = next((tmp_path / "moved" / "variables").glob("*.data*"))
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(content)
    assert model.digest(tmp_path / "moved") != first


FC = "vggish/fc1/fc1_2/weights"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"leave_out": [FC]}, rf"{FC} is missing"),
        ({"rename": {FC: "vggish/fc1/other/weights"}}, rf"{FC} is missing; vggish/fc1/other/weights is not known"),
        (
            {"rename": {"x": "y"}, "extra": {"vggish/fc3/weights": np.zeros((2, 2), np.float32)}},
            "vggish/fc3/weights is not",
        ),
        (
            {"rename": {"x": "y"}, "extra": {FC: np.zeros((256, 8), np.float32)}},
            rf"{FC} has the shape \(256, 8\) instead",
        ),
    ],
)
def test_a_wrong_tensor_is_named(tmp_path, monkeypatch, reduced, damage, said):
    small(monkeypatch)
    folder = save_like_hub(reduced, tmp_path / "hub", **damage)
    with pytest.raises(UserError, match=said) as caught:
        model.load_vggish(folder)
    assert "ser fetch vggish" in str(caught.value)


def test_folders_that_are_not_a_checkpoint(tmp_path, monkeypatch, reduced):
    with pytest.raises(UserError, match=r"is not a SavedModel: it holds no saved_model.pb"):
        model.load_vggish(tmp_path)
    small(monkeypatch)
    folder = save_like_hub(reduced, tmp_path / "hub")
    (folder / "saved_model.pb").write_bytes(b"no protocol buffer at all" * 9)
    with pytest.raises(UserError, match="damaged SavedModel"):
        model.load_vggish(folder)
    with pytest.raises(UserError, match="cannot be downloaded"):
        model.saved_model_folder("https://127.0.0.1:9/google/vggish/1")


# --- extractor -------------------------------------------------------------------------------------------------------


def test_pooling_and_batches():
    signals = [speech(3.0, 1), speech(0.6, 2), speech(2.2, 3)]
    mean = front.Vggish("random-tiny", "random-tiny")
    together = mean.batch(signals)
    for signal, vector in zip(signals, together, strict=True):
        assert vector.shape == (128,) and vector.dtype == np.float32
        np.testing.assert_allclose(mean(signal), vector, atol=1e-6)
    each = front.Embedder(model.random_vggish(1 / 16))(front.examples(signals[0]))
    assert len(each) == 3
    np.testing.assert_allclose(together[0], each.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(
        front.Vggish("random-tiny", "random-tiny", "max")(signals[0]), each.max(axis=0), atol=1e-6
    )
    np.testing.assert_allclose(each.std(axis=0).max() > 1e-4, True)


def test_many_examples_are_processed_in_batches():
    network = model.random_vggish(1 / 16)
    inputs = np.random.default_rng(0).normal(0, 1, (front.DENSE_BATCH + 3, 96, 64)).astype(np.float32)
    whole = np.asarray(network(inputs[..., None]))
    np.testing.assert_allclose(front.Embedder(network)(inputs), whole, atol=1e-4 * np.abs(whole).max())


def test_pca_equals_the_definition(tmp_path):
    vectors, means = np.eye(128)[::-1], np.full((128, 1), 0.5)
    np.savez(tmp_path / "pca.npz", pca_eigen_vectors=vectors, pca_means=means)
    embedding = np.full((1, 128), 0.5)
    embedding[0, :4] = [0.5 + 2, 0.5 - 2, 0.5 + 9, 0.51]
    found = front.Pca.read(tmp_path / "pca.npz")(embedding)
    # (x + 2) * 255 / 4, cut off: 0 gives 127.5, 0.01 gives 128.1375.
    assert found.dtype == np.uint8
    assert found[0, ::-1][:5].tolist() == [255, 0, 255, 128, 127]
    raw = front.Vggish("random-tiny", "random-tiny")(speech(1.0))
    quantised = front.Vggish("random-tiny", "random-tiny", pca=str(tmp_path / "pca.npz"), pca_digest="x")(speech(1.0))
    np.testing.assert_allclose(quantised, np.floor((np.clip(raw[::-1] - 0.5, -2, 2) + 2) * 63.75), atol=1)
    (tmp_path / "other.npz").write_bytes((tmp_path / "pca.npz").read_bytes()[:100])
    with pytest.raises(UserError, match="not vggish_pca_params"):
        front.Pca.read(tmp_path / "other.npz")
    np.savez(tmp_path / "small.npz", pca_eigen_vectors=np.eye(4), pca_means=np.zeros(4))
    with pytest.raises(UserError, match="expected eigenvectors"):
        front.Pca.read(tmp_path / "small.npz")
