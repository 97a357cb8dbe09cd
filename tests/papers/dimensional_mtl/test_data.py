"""The input of dimensional_mtl: padding, statistics, words, batches, and incomplete data."""

import dataclasses
import gzip

import keras
import numpy as np
import pytest

from common.contract import Context
from common.errors import UserError
from papers.dimensional_mtl.batches import Batches
from papers.dimensional_mtl.config import DimensionalConfig
from papers.dimensional_mtl.data import Preprocessor, labels
from papers.dimensional_mtl.experiments import PAPER
from papers.dimensional_mtl.train import fit, load
from papers.dimensional_mtl.vectors import pretrained_vectors
from tests.helpers.dimensional import part, reduced
from tests.helpers.resolved import resolve

ACOUSTIC = {
    "modality": "acoustic", "acoustic": "gemaps", "acoustic_network": "dense", "standardisation": "training",
}  # fmt: skip
FRAMES = reduced(DimensionalConfig(level="lld", **ACOUSTIC))
FUNCTIONALS = reduced(DimensionalConfig(**ACOUSTIC))
TEXT = reduced(DimensionalConfig(modality="text", text_network="dense"))
BOTH = reduced(DimensionalConfig(acoustic_network="dense", text_network="dense"))


def test_frames_are_padded_in_front_cut_in_front_and_standardised_by_the_training_part():
    train = part(6, acoustic="gemaps")
    descriptors = train.features["acoustic"]
    stacked = np.concatenate([descriptors[u] for u in train.table["utterance"]]).astype(np.float64)
    preprocessor = Preprocessor.fitted(FRAMES, train)
    np.testing.assert_allclose(preprocessor.normalisation.mean, stacked.mean(0), rtol=1e-5)
    np.testing.assert_allclose(preprocessor.normalisation.deviation, stacked.std(0), rtol=1e-5)
    batches = Batches(preprocessor, train, 4)
    assert [batch[0]["acoustic"].shape for batch in batches] == [(4, 24, 23), (2, 24, 23)]
    found = np.concatenate([batch[0]["acoustic"] for batch in batches])
    lengths = [len(descriptors[u]) for u in train.table["utterance"]]
    assert min(lengths) < 24 < max(lengths)
    for padded, utterance, length in zip(found, train.table["utterance"], lengths, strict=True):
        kept = min(length, 24)
        expected = (descriptors[utterance][-kept:] - stacked.mean(0)) / stacked.std(0)
        np.testing.assert_allclose(padded[24 - kept :], expected, atol=1e-4)
        assert not padded[: 24 - kept].any()


@pytest.mark.parametrize("level", ["hsf", "lld"])
def test_features_reach_the_network_as_they_are(level):
    """Sec. VI-A: no further preprocessing was applied, except as explained."""
    config = reduced(DimensionalConfig(modality="acoustic", level=level))
    assert config.standardisation == "none"
    train = part(6)
    for frames in train.features["acoustic"].values():
        frames *= 1000
    batch = Batches(Preprocessor.fitted(config, train), train, 6)[0][0]["acoustic"]
    for row, frames in zip(batch, train.features["acoustic"].values(), strict=True):
        kept = frames[-24:]
        if level == "lld":
            np.testing.assert_array_equal(row[24 - len(kept) :], kept)
        else:
            np.testing.assert_allclose(row[0], [*frames.mean(0), *frames.std(0)], rtol=1e-4)


def test_functionals_are_standardised_over_utterances_on_request():
    train = part(6, acoustic="gemaps")
    descriptors = [train.features["acoustic"][u].astype(np.float64) for u in train.table["utterance"]]
    expected = np.stack([np.concatenate([frames.mean(0), frames.std(0)]) for frames in descriptors])
    raw = Preprocessor.fitted(dataclasses.replace(FUNCTIONALS, standardisation="none"), train)
    np.testing.assert_allclose(raw.functionals(train)[:, 0], expected, atol=1e-5)
    scaled = Preprocessor.fitted(FUNCTIONALS, train).functionals(train)
    assert scaled.shape == (6, 1, 46)
    np.testing.assert_allclose(scaled[:, 0], (expected - expected.mean(0)) / expected.std(0), atol=1e-3)
    # For the CNN, the same numbers are a sequence.
    sequence = Preprocessor.fitted(dataclasses.replace(FUNCTIONALS, acoustic_network="cnn"), train)
    np.testing.assert_allclose(sequence.functionals(train)[..., 0], scaled[:, 0])


def test_nonzero_functionals_ignore_zeros():
    train = part(3, acoustic="gemaps")
    for frames in train.features["acoustic"].values():
        frames[::2, 10] = 0  # unvoiced
    config = dataclasses.replace(FUNCTIONALS, standardisation="none", functionals="nonzero")
    found = Preprocessor.fitted(config, train).functionals(train)[:, 0]
    for row, frames in zip(found, train.features["acoustic"].values(), strict=True):
        np.testing.assert_allclose(row[10], frames[1::2, 10].mean(), rtol=1e-4)
        np.testing.assert_allclose(row[23 + 10], frames[1::2, 10].std(), rtol=1e-4)
        np.testing.assert_allclose(row[0], frames[:, 0].mean(), rtol=1e-4)


def test_statistics_and_vocabulary_come_from_the_training_part_alone():
    train, other = part(6, acoustic="gemaps"), part(6, 1, "gemaps")
    other.table["text"] = "unseen words"
    for frames in other.features["acoustic"].values():
        frames += 100
    config = dataclasses.replace(FRAMES, modality="both")
    preprocessor = Preprocessor.fitted(config, train)
    assert "unseen" not in preprocessor.vocabulary.words
    assert abs(preprocessor.normalisation.mean).max() < 5
    keras.utils.set_random_seed(0)
    alone = fit(dataclasses.replace(config, text_network="dense"), train, other, Context(seed=1))
    np.testing.assert_array_equal(alone.preprocessor.normalisation.mean, preprocessor.normalisation.mean)


def test_a_constant_feature_becomes_zero():
    train = part(6, acoustic="gemaps")
    for frames in train.features["acoustic"].values():
        frames[:, 3] = 0.1
    for config in (FRAMES, FUNCTIONALS):
        batch = Batches(Preprocessor.fitted(config, train), train, 6)[0][0]["acoustic"]
        np.testing.assert_allclose(batch[..., 3], 0, atol=1e-5)
        assert np.isfinite(batch).all() and np.abs(batch).max() < 20


def test_words_are_numbers_padded_with_zeros_in_front():
    train = part(4)
    train.table["text"] = ["Yes!", "yes no", "", "a b c d e f g h yes"]
    numbers = Preprocessor.fitted(TEXT, train).words(train)
    assert numbers.shape == (4, 6) and numbers.dtype == np.int32
    yes = numbers[0, -1]
    assert numbers[0].tolist() == [0, 0, 0, 0, 0, yes] and numbers[1, -2] == yes
    assert not numbers[2].any() and numbers[3, -1] == yes and (numbers[3] > 0).all()


def test_epochs_are_shuffled_by_the_seed_and_predictions_are_in_file_order():
    train = part(9)
    preprocessor = Preprocessor.fitted(BOTH, train)
    targets = labels(train, BOTH)

    def epochs(seed):
        batches = Batches(preprocessor, train, 4, targets, seed=seed)
        orders = []
        for _ in range(2):
            batches.on_epoch_begin()
            drawn = [batches[number] for number in range(len(batches))]
            for inputs, truth in drawn:  # inputs and labels stay together
                rows = [int(np.flatnonzero((targets == row).all(axis=1))[0]) for row in truth]
                np.testing.assert_array_equal(inputs["text"], preprocessor.words(train)[rows])
            orders.append(np.concatenate([truth for _, truth in drawn]))
        return orders

    first, second = epochs(1)
    assert not np.array_equal(first, second)
    for order in (first, second):
        np.testing.assert_array_equal(np.sort(order[:, 1]), np.sort(targets[:, 1]))
    np.testing.assert_array_equal(epochs(1)[0], first)
    assert not np.array_equal(epochs(2)[0], first)
    plain = Batches(preprocessor, train, 4, targets)
    plain.on_epoch_begin()
    np.testing.assert_array_equal(np.concatenate([plain[number][1] for number in range(3)]), targets)


class Counted(dict):
    """Features that record which utterances were read."""

    def __init__(self, entries):
        super().__init__(entries)
        self.reads = []

    def __getitem__(self, utterance):
        self.reads.append(utterance)
        return super().__getitem__(utterance)


def test_frames_are_read_when_their_batch_is_needed():
    train = part(9, acoustic="gemaps")
    source = Counted(train.features["acoustic"])
    train = dataclasses.replace(train, features={"acoustic": source})
    preprocessor = Preprocessor.fitted(FRAMES, train)
    source.reads.clear()
    batches = Batches(preprocessor, train, 4)
    assert source.reads == []
    batches[1]
    assert source.reads == ["u4", "u5", "u6", "u7"]


@pytest.mark.parametrize("config", [FRAMES, FUNCTIONALS, dataclasses.replace(FUNCTIONALS, acoustic_network="cnn")])
def test_audio_without_a_whole_frame_is_accepted(config):
    train, short = part(6, acoustic="gemaps"), part(2, 1, "gemaps")
    short.features["acoustic"]["u0"] = np.zeros((0, 23), np.float32)
    train.features["acoustic"]["u1"] = np.zeros((0, 23), np.float32)
    fitted = fit(config, train, short, Context())
    values = np.stack(list(fitted.predict(short.without_labels()).values()))
    assert np.isfinite(values).all()
    for utterance in train.features["acoustic"]:
        train.features["acoustic"][utterance] = np.zeros((0, 23), np.float32)
    if config.level == "lld":
        with pytest.raises(UserError, match="No training utterance is as long as one frame"):
            fit(config, train, short, Context())


def test_an_utterance_without_words_is_predicted_and_counted():
    train, test = part(8), part(3, 1)
    train.table.loc[[0, 3], "text"] = ["...", None]
    test.table.loc[1, "text"] = ""
    test.table.loc[2, "text"] = "nothing known here"
    context = Context()
    fitted = fit(BOTH, train, test, context)
    assert "without words: 2 of 8 training utterances" in context.flags
    assert all(np.isfinite(values).all() for values in fitted.predict(test.without_labels()).values())


def test_only_networks_with_words_need_transcripts():
    train = part(6)
    train.table["text"] = None
    with pytest.raises(UserError, match="no utterance has a transcript"):
        fit(TEXT, train, train, Context())
    acoustic = dataclasses.replace(BOTH, modality="acoustic")
    assert np.isfinite(fit(acoustic, train, train, Context()).outputs(train)).all()


def test_constant_labels_and_a_batch_of_one_leave_training_finite():
    train = part(9)  # batches of 4, 4 and 1
    train.table["dominance"] = 2.5
    context = Context()
    fitted = fit(dataclasses.replace(BOTH, epochs=3, weighting="none"), train, train.take(("u0",)), context)
    assert np.isfinite(context.history["loss"]).all() and np.isfinite(context.history["validation"]).all()
    assert all(np.isfinite(weight).all() for weight in fitted.model.get_weights())


def vectors_file(folder, dimension=7):
    lines = [f"{word} " + " ".join(f"{number + k / 10:.1f}" for k in range(dimension))
             for number, word in enumerate(("awful", "lovely", "day"), start=1)]  # fmt: skip
    path = folder / "vectors.txt.gz"
    path.write_bytes(gzip.compress((f"3 {dimension}\n" + "\n".join(lines) + "\n").encode()))
    return path


def test_pretrained_vectors_initialise_the_embedding_and_are_trained(tmp_path):
    config = dataclasses.replace(TEXT, words="glove", vectors=str(vectors_file(tmp_path)))
    found = resolve(PAPER, config, allow=False)
    assert (found.config, found.flags) == (config, ()) and found.pretrained[0]["name"] == "vectors.txt.gz"
    train = part(8)
    vocabulary = Preprocessor.fitted(config, train).vocabulary
    start = pretrained_vectors(config, vocabulary)
    row = vocabulary.ids("lovely")[0]
    np.testing.assert_allclose(start.matrix[row], 2 + np.arange(7) / 10, atol=1e-6)
    assert not start.matrix[vocabulary.ids("number")[0]].any()
    context = Context()
    fitted = fit(config, train, train.take(()), context)
    assert [flag for flag in context.flags if flag.startswith("words without a pretrained vector")]
    trained = fitted.model.get_layer("embedding").get_weights()[0]
    assert not np.array_equal(trained[row], start.matrix[row]) and np.abs(trained[row] - start.matrix[row]).max() < 0.5


@pytest.mark.parametrize("modality", ["text", "both"])
def test_words_outside_the_training_part_have_their_vectors(tmp_path, modality):
    """The file knows them; the network that predicts has a larger embedding and is otherwise the trained one."""
    config = dataclasses.replace(
        BOTH if modality == "both" else TEXT, words="glove", vectors=str(vectors_file(tmp_path)), text_length=3
    )
    train, test = part(8), part(3, 1)
    train.table["text"] = "a lovely table"
    test.table["text"] = ["a awful table", "a unheard table", "a nowhere table"]
    for name in test.features["acoustic"]:  # audio alike, so that only words differ
        test.features["acoustic"][name] = test.features["acoustic"]["u0"]
    context = Context()
    fitted = fit(config, train, train.take(()), context)
    embedding = fitted.model.get_layer("embedding").get_weights()[0]
    assert len(embedding) == 2 + 3, "the vocabulary is that of the training part"
    found = fitted.outputs(test)
    assert np.abs(found[0] - found[1]).max() > 1e-4, "the vector of 'awful' is used"
    np.testing.assert_allclose(found[1], found[2], atol=1e-6)  # neither has a vector

    # With 'awful' in place of a training word, the trained network gives the same: it has seen nothing else.
    changed = embedding.copy()
    changed[fitted.preprocessor.vocabulary.ids("lovely")] = 1 + np.arange(7) / 10
    fitted.model.get_layer("embedding").set_weights([changed])
    test.table["text"] = "a lovely table"
    np.testing.assert_allclose(fitted.outputs(test)[0], found[0], atol=1e-5)


def test_the_share_of_words_without_vector_is_reported_for_training_and_prediction(tmp_path):
    config = dataclasses.replace(TEXT, words="glove", vectors=str(vectors_file(tmp_path)))
    train, test = part(4), part(2, 1)
    train.table["text"] = "lovely day and more"
    test.table["text"] = ["awful day", "lovely mood"]
    context = Context()
    fitted = fit(config, train, train.take(()), context)
    fitted.predict(test.without_labels())
    assert [flag for flag in context.flags if "vector" in flag] == [
        "words without a pretrained vector: 50.0 % of those trained on",
        "words without a pretrained vector: 25.0 % of those predicted from",
    ]
    (tmp_path / "kept").mkdir()
    fitted.save(tmp_path / "kept")
    kept = load(tmp_path / "kept")
    np.testing.assert_allclose(kept.outputs(test), fitted.outputs(test), atol=1e-6)


def test_unusable_word_vectors_are_errors(tmp_path):
    gone = dataclasses.replace(TEXT, words="glove", vectors=str(tmp_path / "none.txt"))
    with pytest.raises(UserError, match=r"no word-vector file or folder .*none\.txt"):
        resolve(PAPER, gone)
    other = dataclasses.replace(TEXT, words="glove", vectors=str(vectors_file(tmp_path, dimension=5)))
    with pytest.raises(UserError):
        fit(other, part(4), part(2), Context())
