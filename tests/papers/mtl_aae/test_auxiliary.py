"""Auxiliary utterances: which are chosen, how their spectrograms are kept and read, and which are held out."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import soundfile

from common.contract import Context, Part
from common.corpus import COLUMNS
from common.features.shards import ShardedFeatures
from common.features.store import FeatureStore
from papers.mtl_aae.auxiliary import auxiliary_features, choose, hold_out, select_speakers, without_silence
from papers.mtl_aae.batches import prepare_training_data
from papers.mtl_aae.data import SpectrogramImages, features
from papers.mtl_aae.experiments import PAPER
from papers.mtl_aae.train import fit
from ser.options import Options
from ser.session import Session
from tests.helpers import aae
from tests.helpers.eagerly import eagerly

eager = pytest.fixture(eagerly)


def test_silence_is_removed_at_both_ends_but_not_in_pauses():
    magnitudes = np.zeros((7, 2), np.float32) + 1e-4
    magnitudes[2], magnitudes[3], magnitudes[5] = 1.0, 1e-4, [0.02, 0.0]
    # 0.02 in one of two rows is 10 log10(2 / 4e-4) = 37 dB below the loudest frame.
    assert len(without_silence(magnitudes, 40.0, log=False)) == 4
    assert len(without_silence(magnitudes, 36.0, log=False)) == 1
    trimmed = without_silence(np.log(magnitudes + 1e-9), 40.0, log=True)
    np.testing.assert_allclose(np.exp(trimmed), magnitudes[2:6], rtol=1e-3, atol=1e-6)
    flat = np.full((5, 2), -11.5, np.float32)
    assert without_silence(flat, 40.0, log=True).shape == (5, 2)  # all frames are equally silent


def test_a_share_of_the_auxiliary_utterances_is_held_out():
    part = aae.auxiliary(30)
    train, held_out = hold_out(part, 0.1)
    assert len(train) == 27 and len(held_out) == 3
    assert set(train.table["utterance"]) | set(held_out.table["utterance"]) == set(part.table["utterance"])
    assert list(train.table.index) == list(range(27))
    # A speaker with one utterance is trained on, so every speaker has a class.
    alone = dataclasses.replace(part, table=part.table.assign(speaker=[*"abcdefghij" * 3]))
    train, held_out = hold_out(alone, 0.9)
    assert len(held_out) == 20 and set(train.table["speaker"]) == set("abcdefghij")
    for share, one in ((0.0, part), (0.9, dataclasses.replace(part, table=part.table.assign(speaker=range(30))))):
        train, held_out = hold_out(one, share)
        assert len(train) == 30 and held_out is None


def test_auxiliary_speakers_are_women_and_men_in_turn():
    table = pd.DataFrame(
        {"speaker": list("abcdefgh"), "gender": ["female"] * 5 + ["male"] * 3, "utterance": list("12345678")}
    )
    assert select_speakers(table, 4)["speaker"].tolist() == ["a", "b", "f", "g"]
    assert select_speakers(table, 5)["speaker"].tolist() == ["a", "b", "c", "f", "g"]
    assert len(select_speakers(table, 0)) == len(select_speakers(table, 100)) == 8
    unknown = table.assign(gender=None)
    assert select_speakers(unknown, 3)["speaker"].tolist() == ["a", "b", "c"]


def test_drawn_speakers_are_as_many_women_as_men_and_part_of_a_larger_selection():
    speakers = [f"{number:03}" for number in range(40)]
    table = pd.DataFrame({"speaker": speakers, "gender": ["female", "male"] * 20, "utterance": speakers})
    found = {seed: set(select_speakers(table, 10, seed)["speaker"]) for seed in (0, 1, 2)}
    assert found[0] == set(speakers[:10]) and len({frozenset(one) for one in found.values()}) == 3
    for seed, chosen in found.items():
        assert (table[table["speaker"].isin(chosen)]["gender"] == "female").sum() == 5
        assert chosen < set(select_speakers(table, 16, seed)["speaker"])
        assert chosen == set(select_speakers(table, 10, seed)["speaker"])


def test_a_network_without_use_for_auxiliary_utterances_chooses_none():
    table = aae.auxiliary().table
    assert len(choose(aae.small(), table)) == 10  # auxiliary_speakers = 0: all
    assert choose(aae.small(auxiliary_speakers=2), table)["speaker"].nunique() == 2
    for changes in ({"model": "cnn", "tasks": "emotion"}, {"auxiliary_share": 0.0}):
        assert len(choose(aae.small(**changes), table)) == 0


def recordings(folder, speakers=("03", "08", "09"), seconds=2.0):
    """A folder like EMODB's, of noise between silence."""
    (folder / "wav").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for speaker in speakers:
        for code in ("a01Wa", "a01Ta"):
            sound = 0.1 * generator.normal(size=round(16000 * seconds))
            sound[:4000] = sound[-8000:] = 1e-4
            soundfile.write(folder / "wav" / f"{speaker}{code}.wav", sound, 16000, subtype="PCM_16")
    return folder


def session(tmp_path, **settings):
    recordings(tmp_path / "corpora" / "emodb")
    options = Options(
        results=tmp_path / "results", cache=tmp_path / "cache", jobs=1, corpus="demo", scaled=True, partial=True,
        auxiliary="emodb", settings=settings,
    )  # fmt: skip
    return Session(options, Quiet())


class Quiet:
    def note(self, text):
        pass

    def features_extracted(self, *at):
        pass


def test_only_the_chosen_speakers_are_extracted(tmp_path, monkeypatch):
    monkeypatch.setenv("SER_CORPORA", str(tmp_path / "corpora"))
    prepared = session(tmp_path, auxiliary_speakers="2")
    run = prepared.prepare(PAPER, PAPER.experiment("mtl_aae/fig2/emodb/ae-single"))
    part = prepared._data_source_of(run).auxiliary(run, Quiet())
    assert set(part.table["speaker"]) == {"03", "08"} and part.table["emotion"].isna().all()
    assert set(part.features["spectrogram"]) == set(part.table["utterance"]) and len(part) == 4
    (folder,) = [one for one in (tmp_path / "cache").iterdir() if one.name.startswith("bands")]
    assert folder.name.startswith("bands-trimmed-v1-")
    assert sum(len(np.load(file)) for file in folder.glob("*.npy")) == sum(
        map(len, part.features["spectrogram"].values())
    )
    # The run is another one if the auxiliary spectrograms are kept in another way.
    assert run.features.keys() == {"spectrogram", "auxiliary spectrogram"}
    assert len(set(run.features.values())) == 2

    without = prepared.prepare(PAPER, PAPER.experiment("mtl_aae/fig2/emodb/cnn-single"))
    assert prepared._data_source_of(without).auxiliary(without, Quiet()) is None


def extracted(tmp_path, **changes):
    config = aae.small(rows=64, dft_length=512, frames=32, **changes)
    folder = tmp_path / "emodb"
    if not folder.exists():
        recordings(folder)
    files = sorted((folder / "wav").iterdir())
    table = pd.DataFrame({"utterance": [file.stem for file in files], "path": [str(file) for file in files]})
    table = table.reindex(columns=list(COLUMNS)).assign(speaker=[file.stem[:2] for file in files], gender="female")
    stored = FeatureStore(tmp_path / "cache", jobs=1).get(table, auxiliary_features(config)["spectrogram"])
    return config, Part(table, {"spectrogram": stored}, ())


def test_stored_spectrograms_are_trimmed_and_rounded(tmp_path):
    config, half = extracted(tmp_path)
    _, single = extracted(tmp_path, auxiliary_storage="float32")
    (plain,) = features(config).values()
    for name, path in zip(half.table["utterance"], half.table["path"], strict=True):
        whole = plain(soundfile.read(path, dtype="float32")[0])
        trimmed = without_silence(whole, 40.0, log=True)
        assert len(trimmed) < len(whole) - 60  # of 198 frames, 25 + 50 are silent, but for those at the ends
        np.testing.assert_array_equal(single.features["spectrogram"][name], trimmed)
        stored = half.features["spectrogram"][name]
        assert stored.dtype == np.float16 and isinstance(half.features["spectrogram"], ShardedFeatures)
        np.testing.assert_array_less(np.abs(stored.astype(np.float32) - trimmed), 2.0**-11 * np.abs(trimmed) + 1e-7)


def test_rounding_changes_images_and_training_by_no_more_than_rounding(tmp_path, eager):
    images, histories = {}, {}
    for storage in ("float16", "float32"):
        config, part = extracted(tmp_path, auxiliary_storage=storage)
        stored = SpectrogramImages(part, config)
        images[storage] = stored.take(range(len(part)), np.random.default_rng(0))
        assert not stored._in_memory  # what is memory-mapped is not copied
        context = Context(seed=0, auxiliary=part)
        fit(config, aae.part(8, rows=64), aae.part(4, seed=1, rows=64), context)
        histories[storage] = context.history
    deviation = stored.normalisation.deviation[:, None, None]
    assert images["float16"].dtype == np.float32
    differences = np.abs(images["float16"] - images["float32"])
    assert differences.max() > 0
    # Half a step of float16 is 2 ** -8 between 8 and 16, where the smallest logarithms are.
    assert (differences * deviation <= 2.0**-8 + 1e-3).all()
    for name in ("reconstruction", "emotion", "speaker", "discriminator"):
        np.testing.assert_allclose(histories["float16"][name], histories["float32"][name], rtol=5e-3, err_msg=name)


class OnlyCut:
    """A spectrogram of which nothing but a cut can be read."""

    def __init__(self, whole, cuts):
        self.whole, self.cuts = whole, cuts

    def __len__(self):
        return len(self.whole)

    def __getitem__(self, place):
        self.cuts.append(place)
        return self.whole[place]


def test_an_utterance_is_cut_before_it_is_normalised(tmp_path):
    config, part = extracted(tmp_path)
    stored = SpectrogramImages(part, config)
    cuts, read = [], stored._read
    stored._read = lambda index: OnlyCut(read(index), cuts)
    found = stored.take([0], np.random.default_rng(3))
    whole = part.features["spectrogram"][part.table["utterance"][0]]
    first = int(np.random.default_rng(3).integers(len(whole) - 32 + 1))
    assert cuts == [slice(first, first + 32)]
    np.testing.assert_array_equal(found[0, :, :, 0], stored.normalisation(whole)[first : first + 32].T)
    assert stored.frames([0, 1]).tolist() == [32, 32]


def test_fewer_auxiliary_speakers_than_wanted_are_flagged():
    context = Context(auxiliary=aae.auxiliary())
    prepare_training_data(aae.small(auxiliary_speakers=500), aae.part(8), aae.part(0), context)
    assert context.flags == ["3 of 500 auxiliary speakers"] and context.history["auxiliary_speakers"] == [3]
