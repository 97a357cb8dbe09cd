"""Samples as features: untouched or normalised, and never too few."""

import numpy as np
import pytest
import soundfile

from common.corpus import build_table
from common.errors import AudioError, UserError
from common.features.store import FeatureStore
from common.features.waveform import Waveform


def test_mean_0_and_variance_1_as_hugging_face_has_it():
    signal = np.array([0.1, -0.2, 0.4, 0.1], np.float32)
    # By hand: mean 0.1, variance (0 + 0.09 + 0.09 + 0) / 4 = 0.045.
    expected = np.array([0, -0.3, 0.3, 0]) / np.sqrt(0.045 + 1e-7)
    np.testing.assert_allclose(Waveform(shortest=1)(signal), expected, atol=1e-6)
    assert Waveform(shortest=1, normalise=False)(signal) is signal
    # A very quiet utterance is not blown up to variance 1: 1e-8 / (1e-8 + 1e-7) = 1 / 11 of it is left.
    quiet = np.tile(np.array([1e-4, -1e-4], np.float32), 300)
    np.testing.assert_allclose(Waveform()(quiet).var(), 1 / 11, rtol=1e-4)


def test_less_than_one_frame_is_one_sentence_and_can_be_skipped(tmp_path):
    with pytest.raises(AudioError, match=r"399 samples at 16000 Hz; one frame of the network needs 400"):
        Waveform()(np.ones(399, np.float32))
    assert Waveform()(np.sin(np.arange(400, dtype=np.float32))).shape == (400,)
    rows = []
    for name, samples in (("short", 300), ("long", 800)):
        soundfile.write(tmp_path / f"{name}.wav", 0.5 * np.sin(np.arange(samples)), 16000)
        rows.append({"utterance": name, "path": str(tmp_path / f"{name}.wav")})
    store = FeatureStore(tmp_path / "cache", jobs=1)
    with pytest.raises(UserError, match=r"short\.wav: The utterance has 300 samples"):
        store.get(build_table(rows, "toy"), Waveform())
    found = store.get(build_table(rows, "toy"), Waveform(), skip_bad_audio=True)
    assert list(found) == ["long"] and found["long"].dtype == np.float32 and "short" in found.skipped


def test_a_recording_of_8_khz_is_refused_where_the_whole_band_is_needed(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 16000)
    rows = []
    for name, rate in (("telephone", 8000), ("studio", 16000)):
        soundfile.write(tmp_path / f"{name}.wav", noise, rate)
        rows.append({"utterance": name, "path": str(tmp_path / f"{name}.wav")})
    table, store = build_table(rows, "toy"), FeatureStore(tmp_path / "cache", jobs=1)
    with pytest.raises(UserError, match=r"telephone\.wav: The audio has nothing above 4 kHz, as if recorded at 8 kHz"):
        store.get(table, Waveform(narrowband=False))
    # Where it is taken it is heard at 16 kHz: two seconds are 32,000 samples.
    assert {name: len(one) for name, one in store.get(table, Waveform()).items()} == {
        "telephone": 32000,
        "studio": 16000,
    }
