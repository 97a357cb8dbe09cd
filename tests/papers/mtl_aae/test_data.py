"""The input of the adversarial autoencoder: images, normalisation, silence, and batches with auxiliary utterances."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest

from common.errors import UserError
from common.normalisation import Normalisation
from papers.mtl_aae import batches, data
from papers.mtl_aae.config import AaeConfig
from tests.helpers import aae


def test_an_image_has_the_size_of_the_paper():
    (extractor,) = data.features(AaeConfig()).values()
    # Sec. IV-B: 25 ms every 10 ms, 128 rows; 256 frames last 2.575 s.
    assert extractor(np.zeros(round(2.575 * 16000), np.float32)).shape == (256, 128)
    (wide,) = data.features(AaeConfig(sample_rate=22050, top_hz=11000.0)).values()
    assert wide.sample_rate == 22050 and wide.edges()[-2] == pytest.approx(11000 * 128 / 129)
    with pytest.raises(UserError, match="top_hz"):
        data.features(AaeConfig(top_hz=11000.0))  # the paper's range, which does not exist at 16 kHz


def test_normalisation_is_fitted_per_row_or_per_corpus():
    part = aae.part(2)
    first, second = part.table["utterance"]
    part.features["spectrogram"][first] = np.tile(np.repeat([1.0, 7.0], 8), (4, 1))
    part.features["spectrogram"][second] = np.tile(np.repeat([4.0, 7.0], 8), (2, 1))
    for kind, mean in {"row": [2, 7], "corpus": [4.5, 4.5], "none": [0, 0]}.items():
        images = data.SpectrogramImages(part, aae.small(normalisation=kind))
        np.testing.assert_allclose(images.normalisation.mean, np.repeat(mean, 8), err_msg=kind)


def counting(lengths, config):
    """Images of spectrograms in which every value is the number of its frame."""
    part = aae.part(len(lengths), rows=config.rows)
    for utterance, length in zip(part.table["utterance"], lengths, strict=True):
        part.features["spectrogram"][utterance] = np.tile(np.arange(length, dtype=np.float32)[:, None], config.rows)
    plain = Normalisation.identity(config.rows)
    return data.SpectrogramImages(part, config, plain)


def test_long_utterances_are_cut_and_short_ones_padded():
    config = aae.small(frames=32)
    images = counting([52, 20], config)
    found = images.take([0, 1])
    assert found.shape == (2, 16, 32, 1) and found.dtype == np.float32
    np.testing.assert_array_equal(found[0, 5, :, 0], np.arange(10, 42))  # the centre of 52 frames
    np.testing.assert_array_equal(found[1, 5, :, 0], [*range(20), *[0] * 12])
    assert images.frames([1, 0, 1]).tolist() == [20, 32, 20] and images.frames([0]).dtype == np.int32
    generator = np.random.default_rng(0)
    firsts = {int(images.take([0], generator)[0, 0, 0, 0]) for _ in range(200)}
    assert firsts == set(range(21))  # every possible start of 32 of 52 frames
    assert counting([52], aae.small(crop="start")).take([0], generator)[0, 0, 0, 0] == 0
    assert counting([52], aae.small(crop="centre")).take([0], generator)[0, 0, 0, 0] == 10


def test_spectrograms_that_do_not_fit_into_memory_are_read_again(monkeypatch):
    config = aae.small()
    expected = counting([40, 40, 20], config).take([0, 1, 2])
    monkeypatch.setattr(data, "MEMORY_BYTES", 40 * 16 * 4)
    images = counting([40, 40, 20], config)
    for _ in range(2):
        np.testing.assert_array_equal(images.take([0, 1, 2]), expected)
    assert len(images._in_memory) == 1


def test_every_index_comes_once_before_any_comes_again():
    draws = list(itertools.islice(batches.shuffled_indices(5, 3, np.random.default_rng(0)), 10))
    together = np.concatenate(draws)
    assert all(len(draw) == 3 for draw in draws)
    for start in range(0, 30, 5):
        assert sorted(together[start : start + 5]) == [0, 1, 2, 3, 4]


def test_half_of_a_batch_is_auxiliary_and_has_no_emotion():
    config = aae.small(batch_size=4)
    own, other = data.SpectrogramImages(aae.part(8), config), data.SpectrogramImages(aae.auxiliary(6), config)
    labels = {"emotion": np.arange(8, dtype="int32"), "gender": np.zeros(8, "int32")}
    others = {"emotion": np.full(6, -1, "int32"), "gender": np.ones(6, "int32")}
    training_data = batches.TrainingData({}, own, labels, other, others, None, {}, np.zeros(0), {})
    batch = next(batches.batches(training_data, np.random.default_rng(0)))
    assert batch["picture"].shape == (8, 16, 32, 1)
    padded = [int((image[0, :, 0] != 0).sum()) for image in batch["picture"]]  # noise is never exactly 0
    assert batch["frames"].tolist() == padded and min(padded) < 32
    assert (batch["emotion"][:4] >= 0).all() and (batch["emotion"][4:] == -1).all()
    assert batch["gender"].tolist() == [0] * 4 + [1] * 4
    without = dataclasses.replace(training_data, auxiliary=None, auxiliary_labels={})
    alone = next(batches.batches(without, np.random.default_rng(0)))
    assert alone["picture"].shape == (4, 16, 32, 1)
    # Images and labels stay together: utterance k is loud in the five rows of class k % 3.
    for image, number in zip(alone["picture"], alone["emotion"], strict=True):
        loudest = image[:15, :20, 0].mean(axis=1).reshape(3, 5).mean(axis=1) * own.normalisation.deviation[:15:5]
        assert loudest.argmax() == number % 3


def test_images_and_labels_of_auxiliary_utterances_stay_together():
    config = aae.small(batch_size=4)
    part = aae.auxiliary(9)
    own, plain = data.SpectrogramImages(aae.part(8), config), Normalisation.identity(config.rows)
    for number, utterance in enumerate(part.table["utterance"]):
        part.features["spectrogram"][utterance] = np.full((20 + number, 16), float(number), np.float32)
    other = data.SpectrogramImages(part, config, plain)
    labels = {"emotion": np.zeros(8, "int32"), "speaker": np.zeros(8, "int32")}
    others = {"emotion": np.full(9, -1, "int32"), "speaker": np.arange(9, dtype="int32")}
    stream = batches.batches(
        batches.TrainingData({}, own, labels, other, others, None, {}, np.zeros(0), {}), np.random.default_rng(0)
    )
    seen = set()
    for batch in itertools.islice(stream, 4):
        assert batch["picture"][4:, 3, 3, 0].tolist() == batch["speaker"][4:].tolist()
        assert (batch["frames"][4:] == 20 + batch["speaker"][4:]).all()
        seen |= set(batch["speaker"][4:].tolist())
    assert seen == set(range(9))


def test_a_batch_has_the_wanted_share_of_auxiliary_utterances():
    for share, expected in {0.5: 32, 0.25: 11, 0.0: 0, 0.75: 96}.items():  # in addition to 32 labelled ones
        assert AaeConfig(auxiliary_share=share).auxiliary_batch_size == expected, share


def test_unknown_names_have_no_class_number():
    assert batches.class_numbers(pd.Series(["b", "a", None, "z"]), ("a", "b")).tolist() == [1, 0, -1, -1]
