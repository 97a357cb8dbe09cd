"""Which network each stage starts from, which frames are clustered, and what is trained.

Training is replaced by adding a number of the stage to all weights of HuBERT, which starts from the same "public"
weights whenever it is built anew. So the sum of the numbers in a HuBERT names the stages that it went through.
"""

import dataclasses

import numpy as np
import pytest

from common.artefacts import Artefacts
from common.contract import Context
from common.costs import Speech
from common.models.speech_encoder import speech_encoder
from papers.gmp_atl import model, stages, waveforms
from papers.gmp_atl.config import GmpConfig
from papers.gmp_atl.cost import work
from papers.gmp_atl.pseudo_labels import read_labels
from papers.gmp_atl.train import fit
from tests.helpers import gmp_atl_data
from tests.helpers.eagerly import eagerly

eager = pytest.fixture(eagerly)

MARKS = {"gmp_atl_stage1": 0.01, "gmp_atl_stage2": 0.1, "gmp_atl_stage3": 1.0}


def config_of(**changes):
    return gmp_atl_data.reduced(**{"pooling": "mean", "kmeans_starts": 1, **changes})


def mark(encoder, public):
    """Which stages a HuBERT went through, as the sum of their numbers."""
    found = {round(float(np.mean(one - other)), 4) for one, other in zip(encoder.get_weights(), public, strict=True)}
    assert len(found) == 1, f"parts of several HuBERTs: {found}"
    return found.pop()


@dataclasses.dataclass
class Seen:
    """What a run without training did."""

    starts: dict
    batches: dict
    frames: list
    network: object
    folder: object


def run(config, monkeypatch, folder, train=None):
    """Fits without training, and records what each stage started from, its batches, and the clustered frames."""
    monkeypatch.setattr(model, "_TRACED", {})
    public = speech_encoder(model.tiny(config.layer), padding=config.padding_is).get_weights()

    def fetched(*arguments, **settings):
        made = speech_encoder(*arguments, **settings)
        made.set_weights(public)
        return made

    monkeypatch.setattr(model, "speech_encoder", fetched)
    seen = Seen({}, {}, [], None, folder)
    write = stages.write_frames

    def mark_only(network, batches, epochs, best):
        encoder = model.encoder_of(network)
        seen.starts[network.name] = mark(encoder, public)
        seen.batches[network.name] = batches(0)
        encoder.set_weights([weight + MARKS[network.name] for weight in encoder.get_weights()])

    def recorded(file, arrays, frames, width):
        seen.frames[:] = [np.array(one) for one in arrays]
        return write(file, seen.frames, frames, width)

    monkeypatch.setattr(stages, "train_epochs", mark_only)
    monkeypatch.setattr(stages, "write_frames", recorded)
    train = train or gmp_atl_data.part(5)
    fitted = fit(config, train, gmp_atl_data.part(3, seed=1), Context(seed=1, artefacts=Artefacts(folder)))
    seen.network = mark(model.encoder_of(fitted.model), public)
    return seen


STARTS = {
    "paper": ({}, {"stage1": 0, "stage2": 0, "stage3": 0.1}),
    "stage-2-from-1": ({"stage2_start": "stage1"}, {"stage1": 0, "stage2": 0.01, "stage3": 0.11}),
    "plain": ({"pseudo_labels": False}, {"stage3": 0}),
    "plain-from-1": ({"pseudo_labels": False, "plain_start": "stage1"}, {"stage1": 0, "stage3": 0.01}),
    "frozen": ({"tune": "none", "stage2_start": "stage1"}, {"stage2": 0, "stage3": 0.1}),
    "frozen-plain": ({"tune": "none", "pseudo_labels": False, "plain_start": "stage1"}, {"stage3": 0}),
}
"""By settings, the number in the HuBERT that each stage starts from; a stage that is not named is not trained."""


@pytest.mark.parametrize(("changes", "expected"), STARTS.values(), ids=list(STARTS))
def test_each_stage_starts_from_the_hubert_it_should(changes, expected, monkeypatch, tmp_path, eager):
    seen = run(config_of(**changes), monkeypatch, tmp_path)
    found = {name.removeprefix("gmp_atl_"): start for name, start in seen.starts.items()}
    assert found == pytest.approx(expected)
    assert seen.network == pytest.approx(expected["stage3"] + 1), "the fitted network is that of stage 3"


def test_costs_count_the_stages_that_are_trained():
    """The parts of a fit: stage 1, k-means (two kinds of step), stages 2 and 3."""
    for name, parts in {"paper": 5, "plain": 1, "plain-from-1": 2, "frozen": 4, "frozen-plain": 1}.items():
        assert len(work(GmpConfig(**STARTS[name][0]), Speech(10, 30.0))) == parts, name


@pytest.mark.parametrize(("changes", "added"), [({}, 0.01), ({"layer": -1}, 0.01), ({"tune": "none"}, 0.0)])
def test_frames_of_stage_1_s_hubert_at_the_chosen_layer_are_clustered(changes, added, monkeypatch, tmp_path, eager):
    """And only those of the training part, each utterance with its own labels."""
    config, train = config_of(**changes), gmp_atl_data.part(5)
    seen = run(config, monkeypatch, tmp_path, train)
    encoder = model.build_hubert(config)
    encoder.set_weights([weight + added for weight in encoder.get_weights()])
    (file,) = tmp_path.rglob("labels.npz")
    stored = read_labels(file)
    assert sorted(stored) == sorted(train.table["utterance"]) and len(seen.frames) == 5
    for utterance, frames in zip(stored, seen.frames, strict=True):  # both in the order of computation
        samples = train.features["waveform"][utterance]
        inputs = {"waveform": samples[None], "lengths": np.array([len(samples)], "i4")}
        states = encoder.predict_on_batch(inputs)["hidden_states"]
        np.testing.assert_allclose(frames, states[config.layer][0], atol=1e-3)
        assert np.abs(frames - states[config.layer - 1][0]).max() > 0.1, "the layers cannot be told apart"
        for column, clusters in enumerate(config.cluster_counts):
            centres = np.load(file.with_name(f"codebook-{clusters}.npy"))
            nearest = np.square(frames[:, None].astype(np.float16) - centres).sum(-1).argmin(1)
            np.testing.assert_array_equal(stored[utterance][:, column], nearest)
    batches = seen.batches["gmp_atl_stage2"]
    for utterance, labels in zip(batches.part.table["utterance"], batches.labels.frames, strict=True):
        np.testing.assert_array_equal(labels, stored[utterance])


def test_stages_train_on_the_training_part_with_its_own_labels(monkeypatch, tmp_path, eager):
    train = gmp_atl_data.part(5)
    seen = run(config_of(gender_in_stage3=True), monkeypatch, tmp_path, train)
    assert set(seen.batches) == set(MARKS)
    for batches in seen.batches.values():
        assert batches.part.table["utterance"].tolist() == train.table["utterance"].tolist()
    genders = [("female", "male").index(gender) for gender in train.table["gender"]]
    for name in ("gmp_atl_stage1", "gmp_atl_stage3"):
        labels = seen.batches[name].labels
        assert labels.frames is None
        np.testing.assert_array_equal(labels.utterances["emotion"], train.labels)
        assert labels.utterances["gender"].tolist() in (genders, [1 - gender for gender in genders])
    assert not seen.batches["gmp_atl_stage2"].labels.utterances


@pytest.mark.parametrize("tune", ["all", "transformer", "none"])
def test_what_of_hubert_each_stage_trains(tune):
    config = gmp_atl_data.reduced(tune=tune)
    for stage in (0, 1, 2, 3):
        encoder = model.build_hubert(config, stage=stage)
        trained = {weight.path.split("/")[0] for weight in encoder.trainable_weights}
        whole = {
            weight.path.split("/")[0] for weight in speech_encoder(model.tiny(-3), masking=stage == 2).trainable_weights
        }
        convolutions = {name for name in whole if name.startswith("convolution_")}
        if stage == 0 or (tune == "none" and stage != 2):
            assert trained == set()
        else:  # stage 2 retrains HuBERT, so a frozen transformer is trained there
            assert trained == (whole if tune == "all" else whole - convolutions) and convolutions
        assert ("masked" in encoder.input) is (stage == 2), "nothing is augmented in this config"


@pytest.mark.parametrize(("stage", "tune"), [("stage1", "transformer"), ("stage3", "none"), ("stage2", "none")])
def test_frozen_parts_do_not_move_and_all_others_do(stage, tune, eager):
    config = gmp_atl_data.reduced(tune=tune, projection=64, label_projection=64)
    utterances = gmp_atl_data.part(4)
    encoder = model.build_hubert(config, stage=int(stage[-1]))
    network = getattr(model, f"build_{stage}")(config, encoder, *(() if stage == "stage2" else (3,)))
    lengths = waveforms.sample_counts(utterances)
    names = {"emotion": utterances.labels, "gender": np.array([0, 1, 1, 0])}
    labels = waveforms.StageLabels({name: names[name] for name in network.output if name in names})
    if stage == "stage2":
        labels = waveforms.StageLabels({}, [np.ones((waveforms.frame_count(int(n)), 3), np.uint16) for n in lengths])
    before = {weight.path: np.array(weight.value) for weight in network.weights}
    network.train_on_batch(*waveforms.Batches(config, utterances, lengths, labels, 1, 0)[0])
    moved = {weight.path for weight in network.weights if not np.array_equal(weight.value, before[weight.path])}
    frozen = {path for path in before if path.startswith("convolution_") or (tune != "transformer" and stage != "stage2"
              and path in {weight.path for weight in encoder.weights})}  # fmt: skip
    frozen |= {path for path in before if path.startswith("masked_frames") and stage != "stage2"}
    # A bias of the keys shifts all scores of a query equally, which softmax ignores.
    ignored = {path for path in before if "key/bias" in path}
    assert not moved & frozen and frozen
    assert moved | ignored | frozen == set(before)
