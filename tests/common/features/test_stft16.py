"""The 16 ms magnitudes against scipy.signal.stft, taken literally as the public code of RH-Emo calls it."""

import dataclasses

import numpy as np
import pytest
import scipy.signal

from common.features.stft16 import MagnitudeStft


@pytest.mark.parametrize("samples", [1, 100, 8000, 63999, 64000, 64001, 64127, 64128, 70000, 150001])
def test_it_is_what_scipy_gives(samples):
    signal = np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32)
    padded = np.pad(signal, (0, max(0, 64000 - samples)))
    _, _, expected = scipy.signal.stft(padded, fs=16000, window="hamming", nperseg=256, noverlap=128, nfft=256)
    found = MagnitudeStft()(signal)
    assert found.dtype == np.float32 and found.shape == (expected.shape[1], 129)
    np.testing.assert_allclose(found, np.abs(expected).T, atol=2e-7)


def test_rotated_it_is_the_authors_array():
    """They rotate (bins, frames) by 90 degrees: the last frame comes first, frequencies ascend."""
    signal = np.random.default_rng(0).normal(0, 0.1, 64000).astype(np.float32)
    _, _, spectrum = scipy.signal.stft(signal, fs=16000, window="hamming", nperseg=256, noverlap=128)
    rotated = np.rot90(np.abs(spectrum))
    assert rotated.shape == (501, 129)
    np.testing.assert_allclose(MagnitudeStft()(signal)[::-1], rotated, atol=2e-7)


def test_a_sine_reads_a_half_in_its_bin_and_four_seconds_are_501_frames():
    time = np.arange(64000) / 16000
    found = MagnitudeStft()(np.sin(2 * np.pi * 1000 * time).astype(np.float32))
    assert found.shape == (501, 129)
    np.testing.assert_allclose(found[5:-5, 16], 0.5, atol=1e-4)  # 1000 Hz / 62.5 Hz a bin


def test_silence_is_zero_and_short_signals_need_not_be_padded():
    assert not MagnitudeStft()(np.zeros(1000, np.float32)).any()
    short = dataclasses.replace(MagnitudeStft(), least_samples=0)
    signal = np.random.default_rng(1).normal(0, 0.1, 3000).astype(np.float32)
    _, _, expected = scipy.signal.stft(signal, window="hamming", nperseg=256, noverlap=128)
    np.testing.assert_allclose(short(signal), np.abs(expected).T, atol=2e-7)
