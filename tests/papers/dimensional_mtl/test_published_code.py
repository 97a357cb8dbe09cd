"""The rows "as published code", compared with what the authors' scripts do to a whole array of features."""

import dataclasses

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from common.contract import Context
from common.errors import UserError
from common.features.gemaps import LLD_COLUMNS, GemapsLLD
from common.features.silence import SilentShare
from papers.dimensional_mtl import data
from papers.dimensional_mtl.batches import Batches
from papers.dimensional_mtl.config import DimensionalConfig
from papers.dimensional_mtl.data import Preprocessor
from papers.dimensional_mtl.experiments import PAPER, pretrained
from papers.dimensional_mtl.model import build_model
from papers.dimensional_mtl.train import fit
from tests.helpers.dimensional import part, reduced
from tests.helpers.eagerly import eagerly

eager = pytest.fixture(eagerly)

CODE = {
    experiment.id.removeprefix("dimensional_mtl/").removesuffix("-code"): experiment
    for experiment in PAPER.experiments
    if experiment.id.endswith("-code")
}
OWN = {
    "table3/iemocap/lstm-paa-lld": {"integers": True},
    "table3/iemocap/lstm-paa-hsf": {"functionals": "nonzero", "acoustic_dropout": 0.4},
    "table3/iemocap/lstm-gemaps-lld": {"gemaps_set": "eGeMAPSv01a"},
    "table3/iemocap/lstm-gemaps-hsf": {"gemaps_set": "eGeMAPSv01a", "functionals": "nonzero", "silence": True},
    "table3/iemocap/cnn-paa-lld": {"integers": True, "scrambled": True, "standardisation": "padded"},
    "table3/iemocap/cnn-gemaps-lld": {"gemaps_set": "eGeMAPSv01a", "scrambled": True, "standardisation": "padded"},
    "table4/iemocap/cnn-fasttext": {"words": "fasttext-subword", "text_length": 554},
    "table4/iemocap/lstm-we": {"text_length": 554},
    "table5/iemocap/dense-cnn": {
        "functionals": "nonzero", "acoustic_dropout": 0.3, "text_dropout": 0.3,
        "text_length": 554, "activation": "relu",
    },
    "table6/iemocap/three": {
        "functionals": "nonzero", "standardisation": "training", "text_length": 554, "activation": "relu",
    },
}  # fmt: skip
OWN["table5/iemocap/cnn-dense"] = {**OWN["table5/iemocap/dense-cnn"], "keep": "highest", "patience": 20}
OWN["table5/iemocap/cnn-lstm"] = {**OWN["table5/iemocap/dense-cnn"], "weighting": "two", "batch_size": 256}
OWN["table6/iemocap/two"] = {**OWN["table6/iemocap/three"], "small_acoustic": True}


def test_every_row_of_the_tables_has_one_as_published_code():
    rows = {
        experiment.id.removeprefix("dimensional_mtl/")
        for experiment in PAPER.experiments
        if experiment.table in "3456" and experiment.config.choose == "none"
    }
    plain = {row for row in rows if not row.endswith(("-code", "-standardised", "-highest", "-small"))}
    assert set(CODE) == {row for row in plain if "single" not in row} and len(CODE) == 25
    for row, changes in OWN.items():
        paper = PAPER.experiment(f"dimensional_mtl/{row}")
        assert CODE[row].config == dataclasses.replace(paper.config, seed=1234, **changes), row
        assert (CODE[row].protocol, CODE[row].repeats) == (paper.protocol, paper.repeats)


def whole(train, width=34, frames=24, dtype=np.float32):
    """Padded descriptors of all utterances as the scripts keep them, by Keras' rules for padding and cutting."""
    array = np.zeros((len(train.table), frames, width), dtype)
    for row, utterance in zip(array, train.table["utterance"], strict=True):
        kept = train.features["acoustic"][utterance][-frames:]
        row[frames - len(kept) :] = kept.astype(dtype)
    return array


def lld(**changes):
    return reduced(DimensionalConfig(modality="acoustic", level="lld", acoustic_network="cnn", **changes))


def batch(config, train):
    return Batches(Preprocessor.fitted(config, train), train, len(train))[0][0]["acoustic"]


def test_integers_are_cut_off_as_by_an_array_of_integers():
    train = part(6)
    found = batch(lld(integers=True), train)
    np.testing.assert_array_equal(found, whole(train, dtype=np.int32))
    assert (found < 0).any() and (found == 0).mean() > 0.5


def test_frames_and_descriptors_are_scrambled_as_by_reshape():
    train = part(6)
    found, expected = batch(lld(scrambled=True), train), whole(train)
    np.testing.assert_array_equal(found, expected.reshape(6, 34, 24))
    assert not np.array_equal(found, expected.transpose(0, 2, 1))
    lstm = dataclasses.replace(lld(scrambled=True), acoustic_network="lstm")
    np.testing.assert_array_equal(batch(lstm, train), expected)


def test_padding_is_standardised_with_the_frames():
    train = part(6)
    found = batch(lld(standardisation="padded"), train)
    expected = StandardScaler().fit_transform(whole(train).reshape(-1, 34)).reshape(6, 24, 34)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.abs(found[:, 0]).max() > 0.1, "padding is no longer zero"


def test_a_scrambled_network_has_the_parameters_of_the_published_one():
    config = CODE["table3/iemocap/cnn-paa-lld"].config
    model = build_model(config, (34, 3411))
    # Normalisation of 3411 channels, three convolutions, 34 - 3 - 7 - 11 = 13 steps to three outputs.
    convolutions = 256 * (3411 * 4 + 1) + 256 * (256 * 8 + 1) + 256 * (256 * 12 + 1)
    assert model.count_params() == 4 * 3411 + convolutions + 3 * (13 * 256 + 1) == 4_827_983


def test_the_two_gemaps_sets_differ_in_ten_columns():
    time = np.arange(16000) / 16000
    generator = np.random.default_rng(0)
    voice = sum(np.sin(2 * np.pi * 140 * k * time + k) / k for k in range(1, 20)) * (1 + 0.3 * np.sin(9 * time))
    signal = (0.05 * voice + 0.003 * generator.normal(0, 1, 16000)).astype(np.float32)
    first, second = (GemapsLLD(feature_set=name)(signal) for name in ("eGeMAPSv01b", "eGeMAPSv01a"))
    assert first.shape == second.shape
    differ = [name for name, a, b in zip(LLD_COLUMNS, first.T, second.T, strict=True) if not np.allclose(a, b, 1e-3)]
    assert len(differ) == 10, differ
    config = CODE["table3/iemocap/lstm-gemaps-lld"].config
    assert data.features(config) == {"acoustic": GemapsLLD(feature_set="eGeMAPSv01a")}
    assert data.features(dataclasses.replace(config, gemaps_set="eGeMAPSv01b")) == {"acoustic": GemapsLLD()}


def test_the_share_of_silent_frames_by_hand():
    signal = np.full(16000, 0.5, np.float32)
    signal[4000:8000] = 0.001
    # 98 frames; those that start at 4000, 4160, ... and end by 8000 are silent.
    silent = sum(start >= 4000 and start + 400 <= 8000 for start in range(0, 16000 - 399, 160))
    almost = sum(  # those with so few loud samples that their RMS is below 0.3 * 0.5
        np.sqrt(np.mean(signal[start : start + 400].astype(float) ** 2)) < 0.15 for start in range(0, 15601, 160)
    )
    (found,) = SilentShare()(signal)
    assert found == pytest.approx(almost / 98) and silent <= almost <= silent + 2
    assert SilentShare()(signal[:399]).tolist() == [0]


def test_silence_is_the_last_functional():
    config = reduced(DimensionalConfig(modality="acoustic", acoustic="gemaps", silence=True))
    train = part(6, acoustic="gemaps")
    preprocessor = Preprocessor.fitted(config, train)
    assert preprocessor.acoustic_shape == (1, 47)
    np.testing.assert_allclose(preprocessor.functionals(train)[:, 0, 46], [0, 0.1, 0.2, 0.3, 0.4, 0], atol=1e-6)
    assert set(data.features(config)) == {"acoustic", "silence"}
    assert set(data.features(dataclasses.replace(config, level="lld"))) == {"acoustic"}


def test_with_a_fixed_seed_all_repeats_are_one_run(eager):
    config = reduced(DimensionalConfig(modality="acoustic", acoustic_network="dense", seed=1234))
    train, test = part(8), part(3, 1)
    first, second = (fit(config, train, test, Context(seed=seed)).outputs(test) for seed in (1, 2))
    np.testing.assert_allclose(first, second, atol=1e-6)
    other = fit(dataclasses.replace(config, seed=0), train, test, Context(seed=2)).outputs(test)
    assert np.abs(other - first).max() > 1e-4
    with pytest.raises(UserError, match="seed"):
        DimensionalConfig(seed=-1)


def test_vectors_with_subwords_are_never_replaced_by_those_without(tmp_path):
    config = CODE["table4/iemocap/lstm-fasttext"].config
    (missing,) = pretrained(config)
    assert missing.missing and missing.source == "fasttext-crawl-subword" and missing.fallback == {"words": "we"}
    with pytest.raises(UserError, match="`ser fetch fasttext-crawl-subword`"):
        fit(reduced(config, words="fasttext-subword"), part(4), part(2), Context())
    file = tmp_path / "crawl-300d-2M-subword.vec"
    file.write_text("1 300\na " + " ".join(["0.1"] * 300) + "\n")
    (here,) = pretrained(dataclasses.replace(config, vectors=str(file)))
    assert here.path == file
