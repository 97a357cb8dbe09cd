import numpy as np
import pytest
import soundfile

from common import audio
from common.errors import AudioError, UserError


def sine(frequency, sample_rate, duration_s=1.0, amplitude=0.5):
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(round(duration_s * sample_rate)) / sample_rate)


def peak_frequency(signal, sample_rate):
    spectrum = np.abs(np.fft.rfft(signal * np.hanning(len(signal))))
    return np.argmax(spectrum) * sample_rate / len(signal)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_samples_are_float32_in_minus_one_to_one(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, np.array([16384, -32768, 0, 8192], "int16"), 16000)
    signal = audio.read(path, 16000)
    assert signal.dtype == np.float32
    np.testing.assert_array_equal(signal, [0.5, -1.0, 0.0, 0.25])


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_all_sample_formats_are_read(tmp_path, subtype):
    path = tmp_path / "a.wav"
    soundfile.write(path, sine(440, 16000), 16000, subtype=subtype)
    signal = audio.read(path, 16000)
    np.testing.assert_allclose(signal, sine(440, 16000), atol=0.02)


def test_channels_are_averaged(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.tile([0.5, -0.25], (100, 1)), 16000)
    signal = audio.read(path, 16000)
    assert signal.shape == (100,)
    np.testing.assert_allclose(signal, 0.125)


def test_aiff_files_named_wav_are_read(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path.open("wb"), sine(440, 16000), 16000, format="AIFF", subtype="PCM_16")
    assert path.read_bytes()[:4] == b"FORM"
    np.testing.assert_allclose(audio.read(path, 16000), sine(440, 16000), atol=1e-4)
    assert audio.duration(path) == 1.0


@pytest.mark.parametrize("source", [8000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("target", [16000, 22050])
def test_a_resampled_sine_keeps_frequency_amplitude_and_length(tmp_path, source, target):
    path = tmp_path / "a.wav"
    soundfile.write(path, sine(440, source, 2.0), source, subtype="FLOAT")
    signal = audio.read(path, target)
    assert len(signal) == pytest.approx(2 * target, abs=1)
    assert peak_frequency(signal, target) == pytest.approx(440, abs=0.5)
    # Resampling distorts the edges; the middle is the same sine.
    middle = slice(target // 4, -target // 4)
    np.testing.assert_allclose(signal[middle], sine(440, target, 2.0)[: len(signal)][middle], atol=2e-3)


def test_resampling_filters_frequencies_that_would_alias(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, sine(440, 48000) + sine(12000, 48000, amplitude=0.4), 48000, subtype="FLOAT")
    spectrum = np.abs(np.fft.rfft(audio.read(path, 16000))) / 8000
    assert spectrum[440] == pytest.approx(0.5, abs=0.01)
    # Without a low-pass filter 12 kHz would appear at 4 kHz.
    assert spectrum[4000] < 1e-3


def test_a_resampled_clipped_recording_stays_in_range(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.sign(sine(310, 48000)), 48000, subtype="FLOAT")
    signal = audio.read(path, 16000)
    assert np.abs(signal).max() == 1.0


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        (None, None, 0, 999),
        (float("nan"), float("nan"), 0, 999),
        (0.25, None, 250, 999),
        (None, 0.25, 0, 249),
        (0.25, 0.75, 250, 749),
        (0.9, 5.0, 900, 999),
    ],
)
def test_start_and_end_in_seconds(tmp_path, start, end, first, last):
    path = tmp_path / "a.wav"
    ramp = np.arange(1000) / 1000
    soundfile.write(path, ramp, 1000, subtype="FLOAT")
    signal = audio.read(path, 1000, start, end)
    np.testing.assert_allclose(signal, ramp[first : last + 1], atol=1e-7)


def test_start_and_end_are_independent_of_the_sample_rate(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.concatenate([sine(440, 48000), sine(1000, 48000)]), 48000)
    signal = audio.read(path, 16000, 1.0, 1.5)
    assert len(signal) == 8000
    assert peak_frequency(signal, 16000) == pytest.approx(1000, abs=2)


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        (np.zeros(0), "the audio is empty"),
        (np.zeros(1600), "the audio is silent"),
        (np.full(1600, 5e-5), "the audio is silent"),
        (np.array([0.1, np.nan, 0.1]), "samples that are not finite numbers"),
        (np.array([0.1, np.inf, 0.1]), "samples that are not finite numbers"),
    ],
)
def test_unusable_signals_name_the_file(tmp_path, signal, message):
    path = tmp_path / "a.wav"
    soundfile.write(path, signal, 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match=message) as caught:
        audio.read(path, 16000)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_quiet_recording_is_not_silent(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, sine(440, 16000, amplitude=2e-4), 16000, subtype="FLOAT")
    assert np.abs(audio.read(path, 16000)).max() == pytest.approx(2e-4, rel=0.01)


def test_channels_that_cancel_are_silent(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([sine(440, 16000), -sine(440, 16000)], axis=1), 16000)
    with pytest.raises(AudioError, match="silent"):
        audio.read(path, 16000)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"not audio at all, but longer than a header of 44 bytes is"])
def test_unreadable_files_are_refused(tmp_path, content):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(AudioError, match="not readable as audio"):
        audio.read(path, 16000)
    assert np.isnan(audio.duration(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AudioError, match="does not exist"):
        audio.read(tmp_path / "a.wav", 16000)
    assert np.isnan(audio.duration(tmp_path / "a.wav"))


def test_a_folder_is_not_readable_as_audio(tmp_path):
    with pytest.raises(AudioError, match="not readable as audio"):
        audio.read(tmp_path, 16000)


@pytest.mark.parametrize("span", [(2.0, 3.0), (0.5, 0.5), (0.5, 0.25)])
def test_a_span_without_samples_is_empty(tmp_path, span):
    path = tmp_path / "a.wav"
    soundfile.write(path, sine(440, 16000), 16000)
    with pytest.raises(AudioError, match="empty"):
        audio.read(path, 16000, *span)


def test_duration_at_44100_hz(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, sine(440, 44100, 1.5), 44100)
    assert audio.duration(path) == pytest.approx(1.5)


def test_audio_errors_are_user_errors():
    assert issubclass(AudioError, UserError)
