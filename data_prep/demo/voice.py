"""How the texts of the demo corpus are spoken: espeak-ng, followed by some signal processing.

A speaker is an espeak-ng voice with habits; a style is an emotion's prosody and voice quality relative to the speaker's
neutral ones. As in acted speech, styles differ in arousal far more than in valence: anger and joy are both fast, high
and loud, and only roughness and pitch range distinguish them.
"""

import dataclasses
import io
import shutil
import subprocess

import numpy as np
import scipy.signal
import soundfile
import soxr

RATE_HZ = 16_000
ESPEAK_RATE_HZ = 22_050
NEUTRAL_RMS_DB = -29.0
QUANTISATION_STEP = 16  # of 16-bit samples: the four lowest bits are zero, which FLAC stores for free


@dataclasses.dataclass(frozen=True)
class Speaker:
    """A speaker's voice and habits.

    Attributes:
        voice: espeak-ng voice, accent and variant.
        scale: Factor on all resonances and on pitch (by resampling); a speaker above 1 sounds smaller.
        pitch: Shift of pitch in semitones.
        rate: Factor on speaking rate.
        gain_db: Level habit.
        tilt_db: Spectral tilt habit in dB per octave.
        span: Factor on pitch range.
        breath: Share of breath noise in the voice.
    """

    voice: str
    scale: float = 1.0
    pitch: float = 0.0
    rate: float = 1.0
    gain_db: float = 0.0
    tilt_db: float = 0.0
    span: float = 1.0
    breath: float = 0.05


@dataclasses.dataclass(frozen=True)
class Style:
    """An emotion's expression relative to the speaker's neutral one.

    Units are those of `Speaker`; `rough` and `tremor` are depths from 0 to 1.
    """

    rate: float = 1.0
    pitch: float = 0.0
    span: float = 1.0
    gain_db: float = 0.0
    tilt_db: float = 0.0
    breath: float = 0.0
    rough: float = 0.0
    tremor: float = 0.0

    def at(self, intensity: float, generator: np.random.Generator) -> "Style":
        """The style at an intensity (0 is neutral, 1 is full), with one utterance's random variation."""
        jitter = generator.standard_normal(8)
        return Style(
            rate=self.rate**intensity * np.exp(0.08 * jitter[0]),
            pitch=self.pitch * intensity + 1.1 * jitter[1],
            span=self.span**intensity * np.exp(0.18 * jitter[2]),
            gain_db=self.gain_db * intensity + 1.8 * jitter[3],
            tilt_db=self.tilt_db * intensity + 0.45 * jitter[4],
            breath=max(0.0, self.breath * intensity + 0.04 * jitter[5]),
            rough=max(0.0, self.rough * intensity + 0.08 * jitter[6]),
            tremor=max(0.0, self.tremor * intensity + 0.05 * jitter[7]),
        )


# espeak-ng 1.51 ignores the variant after plain `en-gb`, so British speakers take a named accent.
SPEAKERS = {
    "1F": Speaker("en-us+f2", scale=1.03, pitch=0.5, breath=0.08),
    "1M": Speaker("en-us+m3", scale=0.98, rate=1.03, gain_db=0.5),
    "2F": Speaker("en-gb-x-gbclan+f3", scale=0.98, pitch=-0.5, rate=0.97, gain_db=-0.5, tilt_db=-0.2),
    "2M": Speaker("en-gb-x-rp+m2", scale=1.03, pitch=1.0, span=1.1, tilt_db=0.2),
    "3F": Speaker("en-us+f4", scale=1.06, pitch=1.0, rate=1.04, tilt_db=0.2),
    "3M": Speaker("en-us+m7", scale=0.95, pitch=-1.0, rate=0.96, tilt_db=-0.2, span=0.95),
    "4F": Speaker("en-gb-scotland+f2", scale=0.99, pitch=-0.5, gain_db=-0.5, breath=0.1),
    "4M": Speaker("en-029+m7", scale=1.05, gain_db=0.5, breath=0.1),
    "5F": Speaker("en-us-nyc+f3", scale=1.05, pitch=0.5, rate=0.98, span=1.1),
    "5M": Speaker("en-gb-x-gbcwmd+m6", scale=0.97, pitch=-0.5, rate=1.02, gain_db=-0.5),
}

STYLES = {
    "neu": Style(),
    "ang": Style(rate=1.16, pitch=2.2, span=1.45, gain_db=7.5, tilt_db=1.8, rough=0.55),
    "hap": Style(rate=1.06, pitch=3.2, span=1.65, gain_db=3.5, tilt_db=0.8),
    "exc": Style(rate=1.16, pitch=4.0, span=1.75, gain_db=5.5, tilt_db=1.3, rough=0.1),
    "sad": Style(rate=0.8, pitch=-1.5, span=0.5, gain_db=-6.0, tilt_db=-1.7, breath=0.35, tremor=0.1),
    "fru": Style(rate=1.03, pitch=0.8, span=1.15, gain_db=3.0, tilt_db=0.8, breath=0.1, rough=0.2),
    "sur": Style(rate=1.04, pitch=4.0, span=1.8, gain_db=3.0, tilt_db=0.5),
    "fea": Style(rate=1.12, pitch=3.0, span=0.8, gain_db=-1.0, breath=0.25, tremor=0.5),
    "dis": Style(rate=0.92, pitch=-0.8, span=1.1, gain_db=1.0, tilt_db=0.3, rough=0.3),
    "oth": Style(rate=0.98, pitch=0.8, span=1.2),
}


def espeak_version() -> str:
    """The version line of espeak-ng.

    Raises:
        RuntimeError: espeak-ng is not installed.
    """
    if shutil.which("espeak-ng") is None:
        raise RuntimeError("espeak-ng was not found: install it (Debian and Ubuntu: apt-get install espeak-ng).")
    result = subprocess.run(["espeak-ng", "--version"], capture_output=True, text=True, check=True)
    return result.stdout.split("Data at")[0].strip()


def _speak(text: str, speaker: Speaker, style: Style) -> np.ndarray:
    """Runs espeak-ng; returns 16 kHz samples without silence at the ends, with an RMS of 1 during speech."""
    words_per_minute = 162 * speaker.rate * style.rate / speaker.scale
    semitones = speaker.pitch + style.pitch - 12 * np.log2(speaker.scale)
    # Six steps of -p are about one semitone (measured: 20, 50, 80 -> 152, 199, 274 Hz).
    pitch = int(np.clip(round(50 + 6 * semitones), 5, 99))
    span = int(np.clip(round(100 * speaker.span * style.span), 20, 250))
    spoken = text.replace("[LAUGHTER]", "ha ha ha,")
    command = ["espeak-ng", "-v", speaker.voice, "-s", str(max(80, round(words_per_minute))), "-p", str(pitch), "-z"]
    markup = f'<speak><prosody range="{span}%">{spoken}</prosody></speak>'
    result = subprocess.run([*command, "-m", "--stdout", markup], capture_output=True, check=True)
    samples, rate = soundfile.read(io.BytesIO(result.stdout), dtype="float64")
    if rate != ESPEAK_RATE_HZ or not len(samples):
        raise RuntimeError(f"espeak-ng gave {len(samples)} samples at {rate} Hz for {text!r} (22050 Hz expected).")
    # Assuming another sampling rate shifts pitch and resonances together, as another length of the vocal tract does.
    samples = soxr.resample(samples, ESPEAK_RATE_HZ * speaker.scale, RATE_HZ, quality="HQ")
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
    samples = samples[max(0, loud[0] - 480) : loud[-1] + 1280]
    return samples / _active_rms(samples)


def _active_rms(samples: np.ndarray) -> float:
    """RMS over the 20 ms frames within 30 dB of the loudest one."""
    power = (samples[: len(samples) // 320 * 320].reshape(-1, 320) ** 2).mean(axis=1)
    return float(np.sqrt(power[power > 1e-3 * power.max()].mean()))


def _whispered(samples: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The same words whispered: the short-time magnitudes with random phases, rising by 3 dB per octave."""
    _, _, spectrum = scipy.signal.stft(samples, RATE_HZ, nperseg=320)
    spectrum = np.abs(spectrum) * np.exp(2j * np.pi * generator.random(spectrum.shape))
    spectrum *= np.sqrt(np.arange(len(spectrum)) / 20)[:, None]
    _, whisper = scipy.signal.istft(spectrum, RATE_HZ, nperseg=320)
    whisper = np.pad(whisper, (0, max(0, len(samples) - len(whisper))))[: len(samples)]
    return whisper / _active_rms(whisper)


def _tilted(samples: np.ndarray, db_per_octave: float) -> np.ndarray:
    """Tilts the spectrum around 700 Hz, from one octave below to three above."""
    spectrum = np.fft.rfft(samples)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(samples), 1 / RATE_HZ), 1.0) / 700)
    return np.fft.irfft(spectrum * 10 ** (db_per_octave * np.clip(octaves, -1, 3) / 20), len(samples))


def synthesise(
    text: str, speaker: Speaker, style: Style, room: np.random.Generator, generator: np.random.Generator
) -> np.ndarray:
    """Speaks one utterance.

    Args:
        text: What is said.
        speaker: Who says it.
        style: How, for this utterance (see `Style.at`).
        room: Draws the echo and the noise floor; it must have the same seed for all utterances of a session.
        generator: Draws all other noise.

    Returns:
        int16 samples at 16 kHz with zeros as lowest bits. Levels are not normalised.
    """
    samples = _speak(text, speaker, style)
    breath = min(0.7, speaker.breath + style.breath)
    samples = np.sqrt(1 - breath**2) * samples + breath * _whispered(samples, generator)
    time = np.arange(len(samples)) / RATE_HZ
    wander = scipy.signal.lfilter([0.02], [1, -0.98], generator.standard_normal(len(samples)))
    buzz = np.sin(2 * np.pi * ((70 + 10 * generator.random()) * time + 40 * np.cumsum(wander) / RATE_HZ))
    samples = samples * (1 + 0.3 * style.rough * buzz) * (1 + 0.5 * style.tremor * np.sin(2 * np.pi * 5.5 * time))
    drive = 0.4 + 1.2 * style.rough  # a tense voice saturates
    samples = _tilted(np.tanh(drive * samples) / drive, speaker.tilt_db + style.tilt_db)
    tail = np.exp(-np.arange(2400) / RATE_HZ / room.uniform(0.018, 0.026))
    echo = room.standard_normal(2400) * tail * room.uniform(0.015, 0.025)
    echo[0] = 1.0
    samples = scipy.signal.fftconvolve(samples, echo)[: len(samples)]
    level = NEUTRAL_RMS_DB + speaker.gain_db + style.gain_db
    samples *= 10 ** (level / 20) / _active_rms(samples)
    noise = generator.standard_normal(len(samples) + 8)
    noise = np.convolve(noise, [0.4, 0.3, 0.2, 0.1], "same")[: len(samples)]
    samples += noise * 10 ** (room.uniform(-67, -65) / 20)
    samples = np.clip(samples, -0.95, 0.95)  # far above any level planned here; a guard, not a limiter
    return (np.round(samples * 32768 / QUANTISATION_STEP) * QUANTISATION_STEP).astype(np.int16)
