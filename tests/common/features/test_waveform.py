import numpy as np
import pytest
import soundfile

from common import audio
from common.corpus import build_table
from common.errors import AudioError, UserError
from common.features.store import FeatureStore
from common.features.waveform import Waveform, high_frequency_share
from tests.helpers import ROOT


def test_normalisation_is_that_of_hugging_face():
    signal = np.array([0.1, -0.2, 0.4, 0.1], np.float32)
    # By hand: mean 0.1, variance (0 + 0.09 + 0.09 + 0) / 4 = 0.045.
    expected = np.array([0, -0.3, 0.3, 0]) / np.sqrt(0.045 + 1e-7)
    np.testing.assert_allclose(Waveform(shortest=1)(signal), expected, atol=1e-6)
    assert Waveform(shortest=1, normalise=False)(signal) is signal
    # A very quiet utterance is not amplified to variance 1: 1e-8 / (1e-8 + 1e-7) = 1 / 11 remains.
    quiet = np.tile(np.array([1e-4, -1e-4], np.float32), 300)
    np.testing.assert_allclose(Waveform()(quiet).var(), 1 / 11, rtol=1e-4)


def write_corpus(folder, signals):
    """Writes a file for each (signal, sample rate) and returns their utterance table."""
    rows = []
    for name, (signal, rate) in signals.items():
        soundfile.write(folder / f"{name}.wav", signal, rate)
        rows.append({"utterance": name, "path": str(folder / f"{name}.wav")})
    return build_table(rows, "toy")


def test_audio_below_one_frame_is_refused_and_can_be_skipped(tmp_path):
    with pytest.raises(AudioError, match=r"399 samples at 16000 Hz; one frame of the network needs 400"):
        Waveform()(np.ones(399, np.float32))
    assert Waveform()(np.sin(np.arange(400, dtype=np.float32))).shape == (400,)
    lengths = {"short": 300, "long": 800}
    table = write_corpus(tmp_path, {name: (0.5 * np.sin(np.arange(n)), 16000) for name, n in lengths.items()})
    store = FeatureStore(tmp_path / "cache", jobs=1)
    with pytest.raises(UserError, match=r"short\.wav: The utterance has 300 samples"):
        store.get(table, Waveform())
    found = store.get(table, Waveform(), skip_bad_audio=True)
    assert list(found) == ["long"] and found["long"].dtype == np.float32 and "short" in found.skipped


def test_recordings_of_8_khz_are_refused_if_the_full_band_is_needed(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 16000)
    table = write_corpus(tmp_path, {"telephone": (noise, 8000), "studio": (noise, 16000)})
    store = FeatureStore(tmp_path / "cache", jobs=1)
    with pytest.raises(UserError, match=r"telephone\.wav: The audio has nothing above 4 kHz, as if recorded at 8 kHz"):
        store.get(table, Waveform(narrowband=False))
    # Where it is accepted, it is resampled to 16 kHz: two seconds are 32,000 samples.
    lengths = {name: len(samples) for name, samples in store.get(table, Waveform()).items()}
    assert lengths == {"telephone": 32000, "studio": 16000}
    # White noise has the same energy at all frequencies: 3800 of 8000 Hz lie above 4.2 kHz.
    assert high_frequency_share(noise) == pytest.approx(3800 / 8000, abs=0.02)


def test_the_demo_corpus_has_the_full_band():
    files = sorted((ROOT / "data_prep/demo/corpus").rglob("*.flac"))[::24]
    assert len(files) == 10
    assert min(high_frequency_share(audio.read(file, 16000)) for file in files) > 1e-4
