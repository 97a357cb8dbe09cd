import numpy as np
import pytest
from scipy.signal import stft
from scipy.signal.windows import hamming

from common.features.bands import BandSpectrogram


def sine(hertz, amplitude=1.0, rate=16000, seconds=0.3):
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("scale", ["linear", "mel"])
@pytest.mark.parametrize("row", [20, 60, 127])
def test_a_sine_peaks_in_its_band(scale, row):
    extractor = BandSpectrogram(scale=scale, dft_length=2048)
    frames = extractor(sine(extractor.edges()[1 + row]))
    assert set(frames.argmax(axis=1)) == {row}


def test_bands_are_evenly_spaced_in_hertz_or_in_mel():
    np.testing.assert_allclose(BandSpectrogram().edges()[1:-1], [8000 * k / 129 for k in range(1, 129)])
    centres = BandSpectrogram(scale="mel", dft_length=2048, rows=40, top_hz=4000).edges()[1:-1]
    # Slaney's and HTK's formulas agree on 1000 Hz = 1000 mel (HTK: 1127 ln(1 + 1000 / 700) = 999.99).
    mels = 2595 * np.log10(1 + centres / 700)
    np.testing.assert_allclose(np.diff(mels), mels[0], rtol=1e-4)
    assert 1127 * np.log1p(1000 / 700) == pytest.approx(1000, abs=0.02)


def test_bands_are_weighted_means_of_scipys_magnitudes():
    signal = np.random.default_rng(0).normal(0, 0.1, 4000).astype(np.float32)
    _, _, peer = stft(
        signal.astype(float), window=hamming(400), nperseg=400, noverlap=240, nfft=512, boundary=None, padded=False
    )
    magnitude = 2 * np.abs(peer.T)  # scipy divides by the sum of the window: half the amplitude
    expected = np.empty((23, 6))
    for row in range(6):
        below, centre, above = (8000 * (row + k) / 7 for k in range(3))
        triangle = [max(0, 1 - abs(31.25 * k - centre) / (centre - below)) for k in range(257)]
        assert above - centre == pytest.approx(centre - below)
        expected[:, row] = (magnitude * triangle).sum(axis=1) / sum(triangle)
    small = BandSpectrogram(dft_length=512, rows=6, log=False)
    assert small(signal).dtype == np.float32
    np.testing.assert_allclose(small(signal), expected, rtol=1e-4)
    logarithms = BandSpectrogram(dft_length=512, rows=6)(signal)
    np.testing.assert_allclose(logarithms, np.log(expected + 1e-5), rtol=1e-4)


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (400, 1), (559, 1), (560, 2), (16000, 98)])
def test_number_of_frames_and_silence(samples, frames):
    found = BandSpectrogram()(np.zeros(samples, np.float32))
    assert found.shape == (frames, 128)
    np.testing.assert_allclose(found, np.log(1e-5), rtol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"dft_length": 256},
        {"top_hz": 8001.0},
        {"top_hz": 0.0},
        {"scale": "mel", "dft_length": 512},
        {"rows": 0},
        {"floor": 0.0},
    ],
)
def test_invalid_settings_are_refused(changes):
    with pytest.raises(ValueError):
        BandSpectrogram(**changes)
