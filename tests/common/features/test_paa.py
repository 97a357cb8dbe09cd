import numpy as np
import pytest

import data_prep
from common import audio
from common.errors import AudioError
from common.features.paa import COLUMNS, PaaShortTerm
from tests.helpers import GOLDEN

EXPECTED = GOLDEN / "paa" / "short_term.npz"


def package(signal, rate=16000, frame=400, hop=160):
    """The features of the package, float64."""
    from pyAudioAnalysis import ShortTermFeatures

    return ShortTermFeatures.feature_extraction(np.asarray(signal, float) * 2**15, rate, frame, hop, deltas=False)[0].T


def assert_same(found, expected, rtol=1e-6):
    assert found.shape == expected.shape
    # 1e-12 allows for rounding errors of zeros, in columns whose values are of the order of 0.01 to 10.
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-12)


def noise(samples, seed=0):
    return np.random.default_rng(seed).uniform(-0.3, 0.3, samples).astype(np.float32)


def test_features_are_those_of_the_golden_file():
    golden = np.load(EXPECTED)
    assert tuple(golden["names"]) == COLUMNS
    signal = (golden["waveform_int16"] / 2.0**15).astype(np.float32)
    found = PaaShortTerm()(signal)
    assert found.shape == (308, 34) and found.dtype == np.float32
    assert_same(found, golden["features"])
    # Before rounding to float32, they agree to almost twelve digits.
    assert_same(PaaShortTerm()._vectorised(signal.astype(float)), golden["features"], rtol=1e-11)


SINE = np.sin(2 * np.pi * 440 * np.arange(8000) / 16000).astype(np.float32)
IMPULSES = (np.arange(4000) % 1000 == 0).astype(np.float32)  # flat spectra, whose roll-off is a tie
SIGNALS = {
    "noise": noise(12345),
    "more than one block": noise(16000 * 2 + 7),
    "offset": noise(5000) + np.float32(0.5),
    "one frame": noise(400),
    "one sample short of two frames": noise(559),
    "two frames": noise(560),
    "silence": np.zeros(2000, np.float32),
    "constant": np.full(2000, 0.25, np.float32),
    "silence then noise": np.concatenate([np.zeros(1600, np.float32), noise(1600), np.zeros(1600, np.float32)]),
    "constant then noise": np.concatenate([np.full(1600, 0.1, np.float32), noise(1601)]),
    "sine": SINE,
    "sine on a bin": np.sin(2 * np.pi * 400 * np.arange(4000) / 16000).astype(np.float32),
    "impulses": IMPULSES,
    "square": np.sign(SINE),
    # Without an offset, so that the quiet frames are close to the package's epsilon.
    "loud then nearly nothing": np.concatenate(
        [noise(1600), -noise(1600), noise(1600) * np.float32(3e-8), noise(1600) * np.float32(1e-14)]
    ),
    "very quiet": noise(3000) * np.float32(1e-6),
    "16 bit": np.round(noise(3000) * 2**15).astype(np.float32) / 2**15,
    "zeros between signs": np.tile(np.array([0.5, 0.0, -0.5, 0.0], np.float32), 300),
}


@pytest.mark.parametrize("name", SIGNALS)
def test_features_are_those_of_the_package(name):
    assert_same(PaaShortTerm()(SIGNALS[name]), package(SIGNALS[name]))


@pytest.mark.parametrize("samples", range(64 * 160 + 230, 64 * 160 + 251, 5))
def test_lengths_around_a_full_block(samples):
    assert_same(PaaShortTerm()(noise(samples)), package(noise(samples)))


@pytest.mark.parametrize(
    ("rate", "frame_ms", "hop_ms", "frame", "hop"),
    [(16000, 50, 25, 800, 400), (8000, 25, 10, 200, 80), (22050, 25, 10, 551, 220), (44100, 25, 10, 1102, 441),
     (16000, 40, 40, 640, 640), (16000, 25.0625, 40, 401, 640)],
)  # fmt: skip
def test_other_frames_and_rates(rate, frame_ms, hop_ms, frame, hop):
    found = PaaShortTerm(sample_rate=rate, frame_ms=frame_ms, hop_ms=hop_ms)(noise(rate))
    assert_same(found, package(noise(rate), rate, frame, hop))


def test_a_square_wave_by_hand():
    # A step from +1 to -1 and back every 50 samples: 7 sign changes in 400 samples, energy 1.
    square = np.tile(np.repeat([1.0, -1.0], 50), 8).astype(np.float32)
    found = PaaShortTerm()(square)[0]
    np.testing.assert_allclose(found[0], 7 / 399, rtol=1e-6)
    np.testing.assert_allclose(found[1], 1.0, rtol=1e-6)
    np.testing.assert_allclose(found[2], np.log2(10), rtol=1e-6)  # ten sub-blocks with the same energy
    assert found[6] == 0  # the first frame is compared with itself
    # Odd harmonics 1, 3, ... of 160 Hz; the first has 8/pi^2 = 81 % of the power, both 90.06 %: bin 3 * 4 of 200.
    np.testing.assert_allclose(found[7], 12 / 200, rtol=1e-6)


def test_silence_by_hand():
    found = PaaShortTerm()(np.zeros(720, np.float32))
    # All filters give log10(epsilon), so only the first coefficient of the DCT is not 0: sqrt(40) times that.
    expected = np.zeros(34)
    expected[8] = np.sqrt(40) * np.log10(2.0**-52)
    np.testing.assert_allclose(found, [expected] * 3, atol=1e-6)


def test_features_do_not_depend_on_the_level():
    np.testing.assert_allclose(PaaShortTerm()(noise(4000) / 2), PaaShortTerm()(noise(4000)), rtol=1e-5, atol=1e-6)


def test_the_package_can_be_selected():
    found = PaaShortTerm(implementation="package")(noise(2000))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, package(noise(2000)).astype(np.float32))


@pytest.mark.parametrize("samples", [0, 1, 399])
@pytest.mark.parametrize("implementation", ["vectorised", "package"])
def test_audio_below_one_frame_is_refused(samples, implementation):
    with pytest.raises(AudioError, match=rf"has {samples} samples, less than one frame of 25 ms \(400 samples"):
        PaaShortTerm(implementation=implementation)(noise(samples))


@pytest.mark.parametrize(
    ("bad", "message"),
    [({"implementation": "fast"}, "'vectorised' or 'package'"), ({"hop_ms": 0.01}, "hop"),
     ({"frame_ms": 5.0}, "too short for chroma"), ({"frame_ms": 0.0}, "too short"),
     ({"sample_rate": 6000, "frame_ms": 50.0}, "too low for the MFCC filters")],
)  # fmt: skip
def test_invalid_settings_are_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        PaaShortTerm(**bad)


@pytest.mark.parametrize(("rate", "frame"), [(16000, 80), (6000, 300)])
def test_the_package_fails_for_the_settings_that_are_refused(rate, frame):
    with pytest.raises((IndexError, ValueError)):
        package(noise(4000), rate, frame, frame)


def test_the_signal_is_not_modified():
    signal = noise(3000)
    before = signal.copy()
    PaaShortTerm()(signal)
    np.testing.assert_array_equal(signal, before)


@pytest.mark.corpus
def test_emodb_features_are_those_of_the_package():
    table = data_prep.load("emodb", "7class").table
    for path in table.path[::20]:
        signal = audio.read(path, 16000)
        assert_same(PaaShortTerm()(signal), package(signal))
