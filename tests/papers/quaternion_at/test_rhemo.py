"""Quaternion anti-transfer: the RH-Emo of a fold is trained on the fold's training part and nothing else."""

import dataclasses
import json
from pathlib import Path

import keras
import numpy as np
import pytest

from common.artefacts import Artefacts
from common.contract import Context
from common.errors import UserError
from common.models.rhemo import encoder as rhemo_encoder
from common.models.rhemo import rhemo as build_rhemo
from papers.quaternion_at import model, rhemo
from papers.quaternion_at.config import QuaternionAtConfig
from papers.quaternion_at.data import Chunks, fitted_scale, prepare_chunks, raw_chunks
from papers.quaternion_at.experiments import PAPER
from papers.quaternion_at.train import fit, load, state_of_embedding
from ser import cli
from tests.helpers import quaternion_at_data
from tests.helpers.eagerly import eagerly

eager = pytest.fixture(scope="module", autouse=True)(eagerly)


def part(count=12, seed=0, rated=True):
    """The first utterance and every fourth after it give two chunks."""
    one = quaternion_at_data.part(count, seed, frames=(300, 301))
    for utterance in one.table["utterance"][::4]:
        one.features["stft"][utterance] = np.tile(one.features["stft"][utterance], (4, 1))[:1002]
    ratings = {"valence": 1.0 + np.arange(count) % 5, "arousal": 2.5, "dominance": 2.6} if rated else {}
    return dataclasses.replace(one, table=one.table.assign(**ratings))


def small(**changes):
    return quaternion_at_data.small(
        "quat", **{"rhemo": "fold", "rhemo_epochs": 2, "rhemo_training": "frozen", **changes}
    )


def test_the_rhemo_of_a_fold_is_trained_on_the_training_part_alone(monkeypatch, tmp_path):
    seen = []
    train_both_stages = rhemo._train_both_stages

    def recording(config, cut, targets, parts, *others):
        seen.append((cut, targets, parts))
        return train_both_stages(config, cut, targets, parts, *others)

    monkeypatch.setattr(rhemo, "_train_both_stages", recording)
    started_at = []
    monkeypatch.setattr(rhemo, "start_at_mean", lambda network, mean: started_at.append(mean))
    train, config = part(), small()
    context = Context(seed=4, artefacts=Artefacts(tmp_path))
    fitted = fit(config, train, part(6, seed=1), context)
    ((cut, targets, (learnt, held_out)),) = seen
    raw = raw_chunks(train, config)
    expected = prepare_chunks(raw, fitted_scale(raw, config), config).images
    assert len(expected) == 15 and np.array_equal(cut.images, expected)
    assert sorted([*learnt, *held_out]) == list(range(12)) and len(held_out) == 2  # a share of the training part
    assert started_at == [pytest.approx(expected[np.isin(cut.utterance, learnt)].mean())]
    assert targets["emotion"].tolist() == train.labels.tolist()
    high = {name: targets[name].ravel().tolist() for name in ("valence", "arousal", "dominance")}
    assert high == {"valence": [0, 0, 1, 1, 1] * 2 + [0, 0], "arousal": [0] * 12, "dominance": [1] * 12}
    assert "RH-Emo of the fold's training part alone" in context.flags
    assert len(context.history["rhemo_zeros"]) == len(context.history["rhemo_deviation"]) == 4
    assert len(context.history["rhemo_loss"]) == 4 and "rhemo_valence_loss" in context.history
    # The frozen RH-Emo of the fitted network is the artefact's.
    (made,) = (tmp_path / "quaternion_at" / "rhemo-fold").glob("[!.]*")
    kept = keras.saving.load_model(made / "encoder.keras", compile=False)
    assert all(np.array_equal(*pair) for pair in zip(fitted.encoder.get_weights(), kept.get_weights(), strict=True))
    drawn = model.build_encoder(small(rhemo="random"), Context())
    assert not np.array_equal(kept.get_weights()[0], drawn.get_weights()[0])
    fitted.save(tmp_path)
    again = load(tmp_path).predict(part(4, seed=2).without_labels())
    np.testing.assert_array_equal(again["p_sad"], fitted.predict(part(4, seed=2).without_labels())["p_sad"])


def test_a_rhemo_is_kept_for_each_fold_and_seed(monkeypatch, tmp_path):
    made = []

    def train(config, cut, targets, parts, classes, folder, context):
        made.append(context.seed)
        model.build_encoder(small(rhemo="random"), Context()).save(folder / "encoder.keras")
        return {}

    monkeypatch.setattr(rhemo, "_train_both_stages", train)
    artefacts, cut = Artefacts(tmp_path), None
    fold = part()
    for seed in (0, 0, 1):
        rhemo.train_fold_encoder(small(), fold, cut, Context(seed=seed, artefacts=artefacts))
    assert made == [0, 1]
    again = small(width=0.01, dropout=0.1, epochs=9)  # settings that do not concern RH-Emo
    rhemo.train_fold_encoder(again, fold, cut, Context(artefacts=artefacts))
    assert made == [0, 1]
    for config, train in ((small(), part(seed=1)), (small(rhemo_epochs=3), fold), (small(), part(rated=False))):
        before = len(made)
        rhemo.train_fold_encoder(config, train, cut, Context(artefacts=artefacts))
        assert len(made) == before + 1
    # rhemo=newest never finds the RH-Emo of a fold, whose training part may contain test speakers.
    assert artefacts.newest("quaternion_at/rhemo", {}) is None


def test_the_rhemo_of_a_fold_without_ratings_learns_emotion_and_sets_a_flag():
    context = Context()
    fit(small(), part(rated=False), part(0), context)  # also without a folder for artefacts
    flag = "RH-Emo of the fold's training part alone without valence, arousal and dominance, which this corpus lacks"
    assert flag in context.flags
    assert "rhemo_emotion_loss" in context.history and "rhemo_valence_loss" not in context.history


def test_the_rhemo_of_a_fold_is_refused_without_a_fold():
    with pytest.raises(UserError, match="trained on one RH-Emo's embeddings, but rhemo=fold makes one per fold"):
        QuaternionAtConfig(network="quaternion", rhemo="fold", anti_transfer="S", speakers="newest")
    with pytest.raises(UserError, match="needs normalisation auto or unit"):
        small(normalisation="standard")
    with pytest.raises(UserError, match="rhemo=fold needs the training part of a fold"):
        model.build_encoder(small(), Context())


def test_the_decoder_starts_at_the_mean_magnitude():
    network = build_rhemo(5, frames=16, bins=4, units=2)
    rhemo.start_at_mean(network, 0.004)
    decoded = network.get_layer("rhemo_decoder").predict(np.zeros((1, 2, 2, 4)), verbose=0)
    np.testing.assert_allclose(decoded[:, 4:-4], 0.004, rtol=1e-5)


def quiet_voices(count=24, frames=64, bins=16):
    """Magnitudes as of speech in 0..1: two bands that move, on a floor of almost nothing; their mean is .01."""
    generator = np.random.default_rng(0)
    images = generator.uniform(0, 0.002, (count, frames, bins, 1)).astype(np.float32)
    for image, rows, bands in zip(
        images, generator.integers(0, frames - 30, (count, 3)), generator.integers(0, bins - 4, (count, 3)), strict=True
    ):
        for row, band in zip(rows, bands, strict=True):
            image[row : row + 30, band : band + 3] += generator.uniform(0.05, 0.3)
    return Chunks(images, np.arange(count), count)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["mean", "zero"])
def test_rhemo_learns_if_it_starts_at_the_mean_magnitude(start, tmp_path):
    """From zero, the embedding is switched off first; the record and a flag say that nothing was learnt."""
    keras.utils.set_random_seed(1)
    config = small(
        shrink=8, rhemo_start=start, rhemo_steps=60, rhemo_batch_size=8, rhemo_learning_rate=1e-2, rhemo_epochs=1
    )
    labels = {"emotion": np.arange(24) % 4}
    parts = np.arange(18), np.arange(18, 24)
    record = rhemo._train_both_stages(config, quiet_voices(), labels, parts, 4, tmp_path, Context())
    errors = record["errors"]
    assert errors["mean image"] < 1.2 * errors["mean"]
    assert (errors["autoencoder"] < 0.95 * errors["mean image"]) == (start == "mean"), errors
    assert bool(rhemo._reconstruction_flags(record)) == (start == "zero")


def test_a_dead_embedding_is_stated():
    network = rhemo_encoder(16, 4)
    context = Context()
    state_of_embedding(network, np.random.default_rng(0).uniform(0, 1, (3, 16, 4, 1)), context)
    alive = list(context.history["rhemo_deviation"])
    last = network.get_layer("encode3")
    kernel, bias = last.get_weights()
    last.set_weights([kernel * [0, 1, 0, 1], bias])
    context = Context()
    state_of_embedding(network, np.random.default_rng(0).uniform(0, 1, (3, 16, 4, 1)), context)
    assert np.asarray(context.history["rhemo_zeros"])[[0, 2]].tolist() == [1.0, 1.0]
    assert context.history["rhemo_deviation"][1::2] == pytest.approx(alive[1::2])
    (flag,) = [flag for flag in context.flags if "dead" in flag]
    assert flag.startswith("RH-Emo is dead in emotion") and "arousal" in flag


def test_each_quaternion_row_of_speakers_in_turn_has_its_controls():
    for corpus in ("iemocap", "ravdess", "tess"):
        twin = PAPER.experiment(f"quaternion_at/table1/{corpus}/quat/turn")
        for name, network, chosen in (("quat-random", "quaternion", "random"), ("real-rhemo", "real", "newest")):
            control = PAPER.experiment(f"quaternion_at/table1/{corpus}/{name}/turn")
            assert (control.config.network, control.config.rhemo) == (network, chosen)
            assert control.protocol == twin.protocol
            assert dataclasses.replace(control.config, network="quaternion", rhemo="newest") == twin.config


def test_each_corpus_has_one_experiment_with_the_rhemo_of_the_fold():
    rows = [experiment for experiment in PAPER.experiments if experiment.config.rhemo == "fold"]
    assert [experiment.id for experiment in rows] == [
        f"quaternion_at/table1/{corpus}/quat-fold/turn" for corpus in ("iemocap", "ravdess", "tess")
    ]
    for experiment in rows:
        twin = PAPER.experiment(experiment.id.replace("quat-fold", "quat"))
        assert experiment.protocol == twin.protocol
        assert dataclasses.replace(experiment.config, rhemo="newest") == twin.config


def test_a_run_states_that_its_rhemo_is_of_the_fold(tmp_path):
    folders = ["--results", str(tmp_path / "r"), "--cache", str(tmp_path / "c"), "--corpus", "demo", "--scaled"]
    tiny = ["--set", "width=0.001", "--set", "epochs=1", "--set", "rhemo_epochs=1", "--set", "rhemo_units=8"]
    tiny += ["--set", "rhemo_steps=0"]
    row = "quaternion_at/table1/iemocap/quat-fold/turn"
    assert cli.main(["run", row, *folders, *tiny, "--folds", "1", "--no-yardstick"]) == 0
    (trial,) = (json.loads(file.read_bytes()) for file in Path(tmp_path / "r").rglob("trial.json"))
    assert "RH-Emo of the fold's training part alone" in trial["flags"]
    assert not [flag for flag in trial["flags"] if "test speakers" in flag or "random weights" in flag]
    assert len(list((tmp_path / "c/artefacts/quaternion_at/rhemo-fold").glob("[!.]*/artefact.json"))) == 1
