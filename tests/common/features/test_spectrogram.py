import numpy as np
import pytest
from scipy.signal import stft
from scipy.signal.windows import hamming

from common.features.spectrogram import Spectrogram, fix_length


def sine(bin_, amplitude=1.0, rate=16000, bin_hz=10.0, seconds=0.5):
    return (amplitude * np.sin(2 * np.pi * bin_ * bin_hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("bin_", [40, 100, 251, 399])
@pytest.mark.parametrize("amplitude", [1.0, 0.5, 0.01])
def test_a_sine_peaks_in_its_bin_with_its_amplitude(bin_, amplitude):
    frames = Spectrogram()(sine(bin_, amplitude))
    assert set(frames.argmax(axis=1)) == {bin_}
    # The floor of 1e-5 is 1e-3 of the smallest amplitude.
    np.testing.assert_allclose(frames[:, bin_], np.log(amplitude + 1e-5), atol=1e-3)


def test_bins_of_another_dft_length():
    # 800 samples at 16 kHz: 401 bins of 20 Hz, up to 8 kHz.
    wide = Spectrogram(dft_length=800, bins=401)
    assert wide(sine(300, bin_hz=20.0)).argmax(axis=1).tolist() == [300] * 47
    # At 8 kHz a DFT of 800 also gives bins of 10 Hz.
    telephone = Spectrogram(sample_rate=8000, dft_length=800)
    frames = telephone(sine(123, rate=8000))
    assert set(frames.argmax(axis=1)) == {123}
    np.testing.assert_allclose(frames[:, 123], 0, atol=2e-3)


def test_spectrograms_are_those_of_scipy():
    signal = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    _, _, peer = stft(
        signal.astype(float), window=hamming(640), nperseg=640, noverlap=480, nfft=1600, boundary=None, padded=False
    )
    # scipy divides by the sum of the window, so that a sine gives half its amplitude.
    expected = np.log(2 * np.abs(peer[:400].T) + 1e-5)
    found = Spectrogram()(signal)
    assert found.dtype == np.float32
    assert found.shape == expected.shape == (47, 400)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_spectrograms_are_the_fourier_sum():
    small = Spectrogram(sample_rate=1000, frame_ms=16, hop_ms=8, dft_length=40, bins=12, floor=1e-3)
    signal = np.random.default_rng(1).uniform(-1, 1, 50).astype(np.float32)
    window = [0.54 - 0.46 * np.cos(2 * np.pi * n / 15) for n in range(16)]
    expected = np.empty((5, 12))
    for frame in range(5):
        for k in range(12):
            total = sum(signal[8 * frame + n] * window[n] * np.exp(-2j * np.pi * k * n / 40) for n in range(16))
            expected[frame, k] = np.log(2 * abs(total) / sum(window) + 1e-3)
    np.testing.assert_allclose(small(signal), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("samples", "frames"), [(1, 1), (639, 1), (640, 1), (799, 1), (800, 2), (801, 2), (16000, 97), (48000, 297)]
)
def test_number_of_frames(samples, frames):
    # 16000: a frame ends at 640, 800, ...; (16000 - 640) / 160 = 96 more.
    assert Spectrogram()(np.full(samples, 0.1, np.float32)).shape == (frames, 400)


def test_a_short_signal_is_padded_with_silence_at_its_end():
    signal = np.random.default_rng(2).uniform(-1, 1, 300).astype(np.float32)
    np.testing.assert_array_equal(Spectrogram()(signal), Spectrogram()(np.append(signal, np.zeros(340, np.float32))))


def test_silence_gives_the_floor():
    np.testing.assert_allclose(Spectrogram()(np.zeros(1600, np.float32)), np.log(1e-5), rtol=1e-6)


def test_the_signal_is_not_modified():
    signal = sine(40)
    before = signal.copy()
    Spectrogram()(signal)
    np.testing.assert_array_equal(signal, before)


@pytest.mark.parametrize(
    "bad",
    [{"dft_length": 639}, {"bins": 802}, {"frame_ms": 100.1}, {"bins": 0}, {"frame_ms": 0.0}, {"hop_ms": 0.0},
     {"hop_ms": 0.01}, {"hop_ms": -10.0}, {"floor": 0.0}],
)  # fmt: skip
def test_invalid_settings_are_refused(bad):
    with pytest.raises(ValueError, match=r"too short for|at least"):
        Spectrogram(**bad)


def test_settings_at_the_limit_are_accepted():
    assert Spectrogram(dft_length=640, bins=321)(np.full(640, 0.1, np.float32)).shape == (1, 321)


def test_fix_length_pads_the_end():
    frames = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(fix_length(frames, 5), [[0, 1], [2, 3], [4, 5], [0, 0], [0, 0]])
    np.testing.assert_array_equal(fix_length(frames, 4, value=-7)[3], [-7, -7])


@pytest.mark.parametrize(("length", "first"), [(5, 0), (6, 0), (7, 1), (8, 1), (9, 2), (105, 50)])
def test_fix_length_cuts_both_ends_equally(length, first):
    frames = np.arange(float(length))[:, None]
    cut = fix_length(frames, 5)
    assert cut[:, 0].tolist() == list(range(first, first + 5))
    head, tail = first, length - first - 5
    assert 0 <= tail - head <= 1
