"""HuBERT's extractor, its batches and its masks."""

import numpy as np
import pytest
import soundfile

from common import audio
from common.batches import batches_by_length, pad
from common.errors import AudioError
from common.features.hubert import HubertFrames, high_share
from common.models.hubert import normalise
from common.models.hubert_weights import digest, load
from tests.helpers import GOLDEN, ROOT

EXPECTED = GOLDEN / "hubert_tiny"


def noise(samples, seed=0):
    return np.random.default_rng(seed).uniform(-0.3, 0.3, samples).astype(np.float32)


def test_frames_of_a_layer_whatever_the_batch():
    extractor = HubertFrames(str(EXPECTED), digest(EXPECTED), layer=-3)
    signals = [noise(samples, samples) for samples in (400, 8000, 16000, 12345)]
    together = extractor.batch(signals)
    assert [len(rows) for rows in together] == [1, 24, 49, 38]
    network = load(EXPECTED)
    for signal, rows in zip(signals, together, strict=True):
        alone = np.asarray(network({"waveform": normalise(signal)[None]})["hidden_states"][2])[0]
        np.testing.assert_allclose(rows, alone, atol=2e-5)
        assert rows.dtype == np.float32
    np.testing.assert_allclose(extractor(signals[3]), together[3], atol=2e-5)


def test_scale_hardly_matters_and_the_switch_does_what_it_says():
    loud = HubertFrames(str(EXPECTED), digest(EXPECTED), layer=1)
    raw = HubertFrames(str(EXPECTED), digest(EXPECTED), layer=1, normalise=False)
    signal = noise(4000)
    np.testing.assert_allclose(loud(signal), loud(signal * 0.25 + 0.1), atol=1e-4)
    network = load(EXPECTED)
    np.testing.assert_allclose(
        raw(signal), np.asarray(network({"waveform": signal[None]})["hidden_states"][1])[0], atol=2e-5
    )
    scaled = normalise(signal)
    assert abs(scaled.mean()) < 1e-6 and scaled.std() == pytest.approx(1, abs=1e-4)


def test_audio_it_cannot_use(tmp_path):
    extractor = HubertFrames(str(EXPECTED), digest(EXPECTED))
    with pytest.raises(AudioError, match="399 samples at 16 kHz; HuBERT needs 400"):
        extractor(noise(399))
    soundfile.write(tmp_path / "telephone.wav", noise(8000), 8000, subtype="PCM_16")
    signal = audio.read(tmp_path / "telephone.wav", 16000)
    with pytest.raises(AudioError, match="nothing above 4 kHz, as if recorded at 8 kHz"):
        extractor(signal)
    assert HubertFrames(str(EXPECTED), digest(EXPECTED), narrowband=True)(signal).shape == (49, 32)
    # Half of white noise's energy above 0 Hz lies above 4 kHz, less the 200 Hz that are left out.
    assert high_share(noise(16000)) == pytest.approx(3800 / 8000, abs=0.02)


def test_demo_corpus_has_the_whole_band():
    files = sorted((ROOT / "data_prep/demo/corpus").rglob("*.flac"))[::24]
    assert len(files) == 10
    assert min(high_share(audio.read(file, 16000)) for file in files) > 1e-4


def test_batches_pad_within_bounds():
    lengths = np.random.default_rng(0).integers(400, 160000, 500)
    for seed in (None, 7):
        batches = batches_by_length(lengths, 8, padding=0.1, seed=seed)
        assert sorted(np.concatenate(batches)) == list(range(500))
        assert all(len(batch) <= 8 and lengths[batch].min() >= 0.9 * lengths[batch].max() for batch in batches)
    assert lengths[batches_by_length(lengths, 8)[0][0]] == lengths.max()
    assert [list(batch) for batch in batches_by_length(np.array([5, 5, 5]), 2)] == [[0, 1], [2]]
    assert batches_by_length(np.array([], int), 8) == []
    shuffled = batches_by_length(np.full(64, 100), 8, seed=1)
    assert not np.array_equal(np.concatenate(shuffled), np.concatenate(batches_by_length(np.full(64, 100), 8, seed=2)))
    with pytest.raises(ValueError):
        batches_by_length(lengths, 0)


def test_stack_pads_behind():
    assert pad([np.array([1, 2]), np.array([3])], 3).tolist() == [[1, 2, 0], [3, 0, 0]]
    assert pad([np.ones((2, 3)), np.ones((1, 3))]).shape == (2, 2, 3)
