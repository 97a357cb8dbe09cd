import dataclasses

import numpy as np
import pytest
import scipy.signal

from common.features.stft16 import MagnitudeStft


@pytest.mark.parametrize("samples", [1, 100, 8000, 63999, 64000, 64001, 64127, 64128, 70000, 150001])
def test_magnitudes_are_those_of_scipy_as_rh_emo_calls_it(samples):
    signal = np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32)
    padded = np.pad(signal, (0, max(0, 64000 - samples)))
    _, _, expected = scipy.signal.stft(padded, fs=16000, window="hamming", nperseg=256, noverlap=128, nfft=256)
    found = MagnitudeStft()(signal)
    assert found.dtype == np.float32 and found.shape == (expected.shape[1], 129)
    np.testing.assert_allclose(found, np.abs(expected).T, atol=2e-7)


def test_reversed_in_time_it_is_the_authors_array():
    """The authors rotate (bins, frames) by 90 degrees, so that time runs backwards and frequencies ascend."""
    signal = np.random.default_rng(0).normal(0, 0.1, 64000).astype(np.float32)
    _, _, spectrum = scipy.signal.stft(signal, fs=16000, window="hamming", nperseg=256, noverlap=128)
    rotated = np.rot90(np.abs(spectrum))
    assert rotated.shape == (501, 129)
    np.testing.assert_allclose(MagnitudeStft()(signal)[::-1], rotated, atol=2e-7)


def test_a_sine_gives_one_half_in_its_bin_and_four_seconds_give_501_frames():
    time = np.arange(64000) / 16000
    found = MagnitudeStft()(np.sin(2 * np.pi * 1000 * time).astype(np.float32))
    assert found.shape == (501, 129)
    np.testing.assert_allclose(found[5:-5, 16], 0.5, atol=1e-4)  # 1000 Hz at 62.5 Hz per bin


def test_silence_gives_zeros_and_padding_can_be_turned_off():
    assert not MagnitudeStft()(np.zeros(1000, np.float32)).any()
    short = dataclasses.replace(MagnitudeStft(), least_samples=0)
    signal = np.random.default_rng(1).normal(0, 0.1, 3000).astype(np.float32)
    _, _, expected = scipy.signal.stft(signal, window="hamming", nperseg=256, noverlap=128)
    np.testing.assert_allclose(short(signal), np.abs(expected).T, atol=2e-7)
