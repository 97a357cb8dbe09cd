import subprocess
import sys

import numpy as np
import pytest

from common.errors import AudioError
from common.features.gemaps import LLD_COLUMNS, GemapsLLD


def voiced(seconds, f0=150.0, rate=16000):
    """Harmonics of a fundamental frequency with falling amplitudes, as in a voice, and a little noise."""
    time = np.arange(round(seconds * rate)) / rate
    signal = sum(np.sin(2 * np.pi * f0 * k * time) / k for k in range(1, 20))
    return (0.2 * signal + np.random.default_rng(0).normal(0, 1e-3, len(time))).astype(np.float32)


ORACLE = """
import sys
import numpy as np, opensmile
smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv01b, opensmile.FeatureLevel.LowLevelDescriptors)
np.savez(sys.argv[2], values=smile.process_file(sys.argv[1]).to_numpy(np.float32), names=smile.feature_names)
"""


def test_descriptors_are_those_of_opensmile(tmp_path):
    import soundfile

    signal = np.round(voiced(1.0) * 2**15) / 2**15
    soundfile.write(tmp_path / "voiced.wav", signal, 16000, subtype="PCM_16")
    # In a separate process, because openSMILE crashes if TensorFlow is already loaded.
    command = [sys.executable, "-W", "ignore", "-c", ORACLE, tmp_path / "voiced.wav", tmp_path / "expected.npz"]
    subprocess.run(command, check=True)
    expected = np.load(tmp_path / "expected.npz")
    found = GemapsLLD()(signal.astype(np.float32))
    assert found.shape == (96, 23) and found.dtype == np.float32
    np.testing.assert_array_equal(found, expected["values"])
    assert [name.rsplit("_sma3", 1)[0] for name in expected["names"]] == list(LLD_COLUMNS)


@pytest.mark.parametrize("f0", [110.0, 220.0])
def test_the_f0_column_contains_the_pitch(f0):
    found = GemapsLLD()(voiced(1.0, f0))[20:-20, LLD_COLUMNS.index("F0semitoneFrom27.5Hz")]
    np.testing.assert_allclose(np.median(found), 12 * np.log2(f0 / 27.5), atol=0.1)


def test_audio_below_one_frame_is_refused():
    # openSMILE's longest frame is 60 ms: 960 samples.
    assert GemapsLLD()(voiced(0.06)).shape[1] == 23
    for samples in (0, 1, 400, 959):
        with pytest.raises(AudioError, match=f"has {samples} samples at 16000 Hz, less than one frame of 60 ms"):
            GemapsLLD()(voiced(1.0)[:samples])


def test_silence_gives_finite_descriptors():
    assert np.isfinite(GemapsLLD()(np.zeros(8000, np.float32))).all()
