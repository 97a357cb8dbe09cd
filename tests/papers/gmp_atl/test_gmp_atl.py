"""GMP-ATL: every config resolves, every network is stepped; batches, masks, losses and cells are the paper's."""

import dataclasses
import math
import os
from collections import Counter

import keras
import numpy as np
import pandas as pd
import pytest

import data_prep
from common.artefacts import Artefacts
from common.contract import Context, Part, override
from common.corpus import COLUMNS, gender_numbers
from common.errors import UserError
from papers.gmp_atl import data, model
from papers.gmp_atl.config import CHECKPOINT, GmpConfig
from papers.gmp_atl.experiments import LAYERS, PAPER, ROWS, resolve
from papers.gmp_atl.stages import SETTINGS, outputs
from papers.gmp_atl.train import fit, load
from ser.results.reported import read_cells
from tests.helpers.eagerly import eagerly

CELLS = read_cells(PAPER.reported)
CLASSES = ("angry", "neutral", "sad")
SMALL = {"clusters": "3,5,6", "batch_size": 4, "lstm_units": 4, "projection": 6, "label_projection": 6, "epochs1": 1,
         "epochs3": 1, "layerdrop": 0.0, "hubert_dropout": 0.0, "longest_s": 0.5}  # fmt: skip


def part(count=9, seed=0, shortest=2000, longest=6000):
    """Utterances whose class is the pitch of a tone in noise."""
    generator = np.random.default_rng(seed)
    table = pd.DataFrame({"utterance": [f"u{seed}-{k}" for k in range(count)]}).reindex(columns=list(COLUMNS))
    table["emotion"] = [CLASSES[k % 3] for k in range(count)]
    table["gender"] = ["female" if k % 2 else "male" for k in range(count)]
    table["path"] = "nowhere.wav"
    waveforms = {}
    for k, utterance in enumerate(table["utterance"]):
        time = np.arange(generator.integers(shortest, longest))
        waveforms[utterance] = (np.sin(time * (0.1 + 0.3 * (k % 3))) + generator.normal(0, 0.3, len(time))).astype("f4")
    return Part(table, {"waveform": waveforms}, CLASSES)


def reduced(config=None, **changes):
    return override(config or GmpConfig(), {**PAPER.scaled, **SMALL, **changes})


eager = pytest.fixture(scope="module")(eagerly)


# --- experiments and cells


def test_rows_of_tables_3_and_4_and_their_honest_twins():
    assert Counter(e.table for e in PAPER.experiments) == {"2": 1, "3": 7, "4": 14, "public": 1}
    twins = [e for e in PAPER.experiments if e.id.endswith("-validated")]
    assert len(twins) == 11
    for twin in twins:
        name = twin.id.removesuffix("-validated").replace("table3/iemocap/gmp-ams", "table2/iemocap/gmp-atl")
        own = PAPER.experiment(name)
        assert (own.protocol.validation, twin.protocol.validation) == ("none", "session") and own.config == twin.config
        assert own.protocol.count(data_prep.corpus("iemocap")) == 5
    layers = {e.config.layer for e in PAPER.experiments if e.table == "4"} | {GmpConfig().layer}
    assert layers == set(LAYERS) == set(range(-8, 0))


def test_the_paper_s_settings():
    """Sec. 3 and 4.1, typed here a second time."""
    config = PAPER.experiment("gmp_atl/table2/iemocap/gmp-atl").config
    assert (config.emotion_weight, config.margin, config.scale, config.layer) == (0.9, 0.2, 30, -3)
    assert config.cluster_counts == (64, 512, 4096) and config.hubert == CHECKPOINT
    assert (config.learning_rate, config.batch_size) == (1e-4, 64)
    assert sum(data_prep.corpus("iemocap").subset("4class-excited").counts.values()) == 5531
    combinations = {(e.config.pseudo_labels, e.config.loss) for e in PAPER.experiments if e.table in "23"}
    assert combinations == {(a, b) for a in (True, False) for b in ("ce", "am_softmax")} and len(ROWS) == 3


@pytest.mark.parametrize("experiment", PAPER.experiments, ids=lambda e: e.id)
def test_every_experiment_resolves_as_declared_and_scaled(experiment, monkeypatch, tmp_path):
    monkeypatch.setenv("SER_MODELS", str(tmp_path))
    assert experiment.subset in [subset.name for subset in data_prep.corpus(experiment.corpus).subsets]
    config, flags = resolve(experiment.config)
    assert config == dataclasses.replace(experiment.config, hubert="random-base")
    assert flags == [f"random weights: {CHECKPOINT} is not here (`ser fetch hubert-base-ls960` brings it)"]
    scaled, flags = resolve(override(experiment.config, PAPER.scaled))
    assert scaled.hubert == "random-tiny" and flags[0].startswith("random weights")
    assert (scaled.layer, scaled.loss, scaled.pseudo_labels) == (config.layer, config.loss, config.pseudo_labels)
    # A checkpoint that was fetched is used, and nothing is flagged.
    (tmp_path / "hubert-base-ls960").mkdir()
    (tmp_path / "hubert-base-ls960" / "model.safetensors").touch()
    assert resolve(experiment.config) == (experiment.config, [])


def test_a_checkpoint_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.*random-tiny"):
        resolve(GmpConfig(hubert=str(tmp_path / "nowhere")))


@pytest.mark.parametrize(
    "changes",
    [
        {"layer": 3}, {"clusters": "64,many,4096"}, {"clusters": "64,512"}, {"clusters": "1,512,4096"},
        {"clusters": "64,64,4096"}, {"label_weights": "1"}, {"epochs2": 0}, {"accumulation": 65},
        {"emotion_weight": 1.1}, {"padding": 1.0}, {"learning_rate": 0.0}, {"layerdrop": 1.0}, {"longest_s": 0.02},
    ],
)  # fmt: skip
def test_impossible_settings_are_named(changes):
    with pytest.raises(UserError):
        GmpConfig(**changes)


def test_every_field_names_its_source_and_belongs_to_a_stage():
    """A field that no stage's key holds could be changed without anything being made anew."""
    for item in dataclasses.fields(GmpConfig):
        assert item.metadata["source"].startswith(("Sec.", "Eq.", "Table", "not given")), item.name
    names = {item.name for item in dataclasses.fields(GmpConfig)}
    assert set().union(*SETTINGS.values()) == names


def test_reported_cells_are_whole():
    assert Counter(cell.table for cell in CELLS) == {"2": 27, "3": 16, "4": 32, "public": 2}
    assert {cell.experiment for cell in CELLS if cell.experiment} == {e.id for e in PAPER.experiments}
    for cell in CELLS:
        assert {"UAR": "ua", "WAR": "wa"}[cell.column] == cell.function
        printed = not cell.cell.split("/")[1].endswith("-validated") and cell.table != "public"
        assert math.isnan(cell.value) != printed


@pytest.mark.parametrize(
    ("table", "column", "total"),
    # Columns added up by hand from the printed tables: a digit that was typed wrong moves them.
    [("2", "UAR", 993.5), ("2", "WAR", 905.3), ("3", "UAR", 320.0), ("3", "WAR", 311.8), ("4", "UAR", 647.5),
     ("4", "WAR", 633.9)],
)  # fmt: skip
def test_column_sums(table, column, total):
    values = [c.value for c in CELLS if (c.table, c.column) == (table, column) and not math.isnan(c.value)]
    assert sum(values) == pytest.approx(total, abs=1e-6)


def test_the_full_method_has_the_same_numbers_in_all_three_tables():
    value = {cell.cell: (cell.value, cell.experiment) for cell in CELLS}
    for function in ("ua", "wa"):
        same = {value[f"{where}/{function}"] for where in ("table2/gmp-atl", "table3/gmp-ams", "table4/layer-3")}
        assert len(same) == 1
        # Sec. 4.3.1: without pseudo-labels the numbers fall by at least 2 points, which tells the rows apart.
        for loss in ("ce", "ams"):
            assert value[f"table3/gmp-{loss}/{function}"][0] - value[f"table3/{loss}/{function}"][0] > 2 - 1e-9


# --- batches


def test_batches_hold_every_utterance_and_pad_little():
    learnt = part(40, shortest=1500, longest=9000)
    config = reduced(batch_size=8, longest_s=0.25, padding=0.2)
    lengths = data.samples(learnt)
    batches = data.Batches(config, learnt, lengths, data.Lesson({"emotion": learnt.labels}), 1, 0)
    seen = []
    for k in range(len(batches)):
        inputs, targets = batches[k]
        rows = batches.plan[k]
        seen += rows.tolist()
        assert inputs["waveform"].shape[1] >= inputs["lengths"].max() and inputs["lengths"].max() <= 4000
        assert inputs["lengths"].min() > (1 - 0.2 - 0.06) * inputs["waveform"].shape[1]
        np.testing.assert_array_equal(inputs["lengths"], np.minimum(lengths[rows], 0.25 * 16000 // 320 * 320))
        np.testing.assert_array_equal(targets["emotion"], learnt.labels[rows])
    assert sorted(seen) == list(range(40))
    # Another epoch, other batches; the same epoch, the same.
    again = data.Batches(config, learnt, lengths, batches.lesson, 1, 0)
    other = data.Batches(config, learnt, lengths, batches.lesson, 1, 1)
    np.testing.assert_array_equal(again[1][0]["waveform"], batches[1][0]["waveform"])
    assert {tuple(sorted(rows)) for rows in other.plan} != {tuple(sorted(rows)) for rows in batches.plan}
    # Keras looks at two batches to see what varies.
    assert batches[0][0]["waveform"].shape[1] != batches[1][0]["waveform"].shape[1]


def test_a_crop_keeps_the_labels_of_its_frames():
    """Samples tell their own number, labels their frame's: 320 samples a frame, whatever the crop."""
    table = part(3).table
    whole = np.arange(32_000, dtype=np.float32)
    learnt = Part(table, {"waveform": dict.fromkeys(table["utterance"], whole)}, CLASSES)
    count = data.frame_count(len(whole))
    frames = [np.stack([np.arange(count)] * 3, axis=1).astype(np.uint16)] * 3
    config = reduced(longest_s=0.5)
    batches = data.Batches(config, learnt, data.samples(learnt), data.Lesson({}, frames), 7, 0)
    starts = set()
    for k in range(len(batches)):
        inputs, targets, weights = batches[k]
        for row in range(len(inputs["waveform"])):
            start = int(inputs["waveform"][row, 0])
            starts.add(start)
            kept = data.frame_count(8000)
            assert start % 320 == 0 and inputs["lengths"][row] == 8000
            np.testing.assert_array_equal(targets["clusters_5"][row, :kept], start // 320 + np.arange(kept))
            assert weights["clusters_5"][row, kept:].sum() == 0 and not inputs["masked"][row, kept:].any()
    assert len(starts) > 1


def test_masks_are_hubert_s_and_say_what_counts():
    generator = np.random.default_rng(0)
    shares = [data.masked_frames(GmpConfig(), 500, generator).mean() for _ in range(50)]
    # 40 spans of 10 that may overlap: 1 - (1 - 0.08)^10 = 0.57 in the middle, less at the ends.
    assert 0.52 < np.mean(shares) < 0.58
    assert data.masked_frames(GmpConfig(), 1, generator).shape == (1,)
    assert data.masked_frames(GmpConfig(), 5, generator).sum() in (2, 3, 4)
    learnt = part(4)
    frames = [np.zeros((data.frame_count(n), 3), np.uint16) for n in data.samples(learnt)]
    for masked_only in (True, False):
        batches = data.Batches(
            reduced(masked_only=masked_only), learnt, data.samples(learnt), data.Lesson({}, frames), 1, 0
        )
        inputs, _, weights = batches[0]
        valid = np.arange(inputs["masked"].shape[1]) < data.frame_count(inputs["lengths"])[:, None]
        assert not inputs["masked"][~valid].any() and inputs["masked"].any(axis=1).all()
        np.testing.assert_array_equal(weights["clusters_3"], inputs["masked"] if masked_only else valid)


def test_batches_for_several_devices_are_multiples_of_them():
    learnt = part(7)
    batches = data.Batches(
        reduced(padding=0.9), learnt, data.samples(learnt), data.Lesson({"emotion": learnt.labels}), 1, 0, devices=2
    )
    assert {len(rows) % 2 for rows in batches.plan} == {0}
    assert set(np.concatenate(batches.plan)) == set(range(7))


def test_without_genders_stage_1_says_what_to_do(tmp_path):
    nobody = part(3)
    nobody.table["gender"] = None
    with pytest.raises(UserError, match="--set emotion_weight=1"):
        fit(reduced(), nobody, nobody.take(()), Context(artefacts=Artefacts(tmp_path)))


# --- networks

NETWORKS = {
    "stage1": ({}, "stage1"),
    "stage1-emotion": ({"emotion_weight": 1.0}, "stage1"),
    "stage2": ({}, "stage2"),
    "stage2-shared": ({"heads": "shared", "masked_only": False}, "stage2"),
    "stage3-ams": ({}, "stage3"),
    "stage3-ce-mean": ({"loss": "ce", "pooling": "mean"}, "stage3"),
    "stage3-projected-gender": ({"cosines_of": "projected", "gender_in_stage3": True}, "stage3"),
    "stage3-heard-padding": ({"padding_is": "none", "freeze_encoder": False}, "stage3"),
}


@pytest.mark.parametrize(("changes", "stage"), NETWORKS.values(), ids=list(NETWORKS))
def test_a_step_moves_every_weight_of_every_network(changes, stage, eager):
    config = reduced(**changes)
    learnt = part(4)
    encoder = model.build_hubert(config, masking=stage == "stage2")
    if stage == "stage2":
        network = model.build_stage2(config, encoder)
        frames = [np.full((data.frame_count(n), 3), 1, np.uint16) for n in data.samples(learnt)]
        lesson = data.Lesson({}, frames)
    else:
        build = model.build_stage1 if stage == "stage1" else model.build_stage3
        network = build(config, encoder, 3)
        labels = {"emotion": learnt.labels, "gender": gender_numbers(learnt.table, "")}
        lesson = data.Lesson({name: labels[name] for name in network.output})
    frozen = [w for layer in encoder.layers if layer.name.startswith("convolution_") for w in layer.weights]
    assert all(w.trainable is not config.freeze_encoder for w in frozen) and frozen
    before = [w.numpy().copy() for w in network.trainable_weights]
    loss = network.train_on_batch(*data.Batches(config, learnt, data.samples(learnt), lesson, 1, 0)[0])
    # A bias of keys moves all scores of a query alike, so softmax does not feel it.
    still = [
        w.path for w, old in zip(network.trainable_weights, before, strict=True)
        if np.array_equal(w.numpy(), old) and "key/bias" not in w.path
    ]  # fmt: skip
    assert still == [] and np.isfinite(loss).all()


def test_the_loss_of_stage_1_is_equation_1_and_that_of_stage_3_equation_2(eager):
    """Both from the networks' outputs, by NumPy; no dropout is on."""
    learnt = part(4)
    for build, config in ((model.build_stage1, reduced()), (model.build_stage3, reduced())):
        network = build(config, model.build_hubert(config), 3)
        labels = {"emotion": learnt.labels, "gender": gender_numbers(learnt.table, "")}
        batches = data.Batches(
            config, learnt, data.samples(learnt), data.Lesson({name: labels[name] for name in network.output}), 1, 0
        )
        inputs, targets = batches[0]
        found = {name: np.asarray(value, np.float64) for name, value in network.predict_on_batch(inputs).items()}
        measured = network.evaluate(inputs, targets, verbose=0, return_dict=True)["loss"]
        if build is model.build_stage3:
            cosines = found["emotion"]
            assert np.abs(cosines).max() <= 1 + 1e-6
            found["emotion"] = 30 * (cosines - 0.2 * np.eye(3)[targets["emotion"]])
        losses = {}
        for name, logits in found.items():
            p = np.exp(logits - logits.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            losses[name] = -np.log(p[np.arange(len(p)), targets[name]]).mean()
        expected = losses["emotion"] if len(losses) == 1 else 0.9 * losses["emotion"] + 0.1 * losses["gender"]
        assert measured == pytest.approx(expected, rel=1e-4)


def test_the_loss_of_stage_2_counts_masked_frames_alone(eager):
    config = reduced(label_weights="1,0,2")
    learnt = part(4)
    network = model.build_stage2(config, model.build_hubert(config, masking=True))
    generator = np.random.default_rng(0)
    frames = [generator.integers(0, 3, (data.frame_count(n), 3)).astype(np.uint16) for n in data.samples(learnt)]
    inputs, targets, weights = data.Batches(config, learnt, data.samples(learnt), data.Lesson({}, frames), 1, 0)[0]
    found = network.predict_on_batch(inputs)
    expected = 0.0
    for name, weight in (("clusters_3", 1), ("clusters_6", 2)):
        logits = np.asarray(found[name], np.float64)
        logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        mask = inputs["masked"].astype(bool)
        expected -= weight * np.take_along_axis(logs, targets[name][..., None], -1)[..., 0][mask].mean()
    measured = network.evaluate(inputs, targets, sample_weight=weights, verbose=0, return_dict=True)["loss"]
    assert measured == pytest.approx(expected, rel=1e-4)


def test_company_and_padding_change_no_answer(eager):
    config = reduced()
    network = model.build_stage3(config, model.build_hubert(config), 3)
    heard = part(5, seed=3)
    together = outputs(network, heard, config)
    for row in range(5):
        one = outputs(network, heard.take((heard.table["utterance"][row],)), config)[0]
        np.testing.assert_allclose(together[row], one, atol=1e-5)
    # By hand, without any padding.
    samples = data.waveform(heard, 2)[None]
    bare = network.predict_on_batch({"waveform": samples, "lengths": np.array([samples.shape[1]], np.int32)})
    np.testing.assert_allclose(together[2], bare["emotion"][0], atol=1e-5)


def test_two_half_batches_make_one_step_of_the_whole(eager):
    """Equal lengths, no dropout: accumulated gradients are the batch's, so Adam's step is the same."""
    learnt = part(4, shortest=3000, longest=3001)
    weights = {}
    for accumulation in (1, 2):
        keras.utils.set_random_seed(3)
        config = reduced(accumulation=accumulation, clip_norm=0.0, loss="ce", pooling="mean")
        network = model.build_stage3(config, model.build_hubert(config), 3)
        batches = data.Batches(config, learnt, data.samples(learnt), data.Lesson({"emotion": learnt.labels}), 1, 0)
        assert len(batches) == accumulation
        for k in range(accumulation):
            network.train_on_batch(*batches[k])
        weights[accumulation] = network.get_weights()
    for one, two in zip(weights[1], weights[2], strict=True):
        np.testing.assert_allclose(two, one, atol=2e-4)  # Adam's first step is +-1e-3 wherever there is a gradient


# --- all stages


@pytest.mark.parametrize("name", ["table2/iemocap/gmp-atl", "table3/iemocap/ce"])
def test_a_row_is_fitted_predicts_and_is_kept(name, tmp_path, eager):
    config = reduced(PAPER.experiment(f"gmp_atl/{name}").config)
    context = Context(seed=1)
    epochs = []
    context.on_epoch = lambda epoch, of, logs: epochs.append((epoch, of))
    fitted = fit(config, part(6), part(3, seed=1), context)
    stages = {"stage1", "stage2", "stage3"} if name.startswith("table2") else {"stage3"}
    assert {quantity.split("/")[0] for quantity in context.history} == stages
    assert epochs == [(k + 1, len(stages)) for k in range(len(stages))]
    assert 0 <= context.history["stage3/validation"][0] <= 1
    test = part(4, seed=2)
    columns = fitted.predict(test.without_labels())
    assert list(columns) == [f"p_{emotion}" for emotion in CLASSES]
    np.testing.assert_allclose(sum(columns.values()), 1.0, atol=1e-6)
    fitted.save(tmp_path)
    for column, values in load(tmp_path).predict(test.without_labels()).items():
        np.testing.assert_allclose(values, columns[column], atol=1e-6)
    os.unlink(tmp_path / "config.json")
    with pytest.raises(UserError, match="not a kept gmp_atl model"):
        load(tmp_path)
