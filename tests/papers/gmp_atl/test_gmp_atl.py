"""GMP-ATL: experiments, reported cells, batches, masks, networks and losses are those of the paper."""

import dataclasses
import math
import os
from collections import Counter

import keras
import numpy as np
import pytest

import data_prep
from common.artefacts import Artefacts
from common.contract import Context, Part
from common.corpus import gender_numbers
from common.errors import UserError
from papers.gmp_atl import model, waveforms
from papers.gmp_atl.config import CHECKPOINT, GmpConfig
from papers.gmp_atl.experiments import LAYERS, PAPER, ROWS
from papers.gmp_atl.stages import SETTINGS, predict_outputs
from papers.gmp_atl.train import fit, load
from ser.results.reported import read_cells
from tests.helpers.eagerly import eagerly
from tests.helpers.gmp_atl_data import CLASSES, part, reduced
from tests.helpers.resolved import resolve

CELLS = read_cells(PAPER.reported)


def batches_of(config, utterances, labels, *, seed=1, epoch=0, devices=1):
    return waveforms.Batches(config, utterances, waveforms.sample_counts(utterances), labels, seed, epoch, devices)


def frame_labels(utterances, draw):
    """Pseudo-labels of three label sets, shape (frames, 3), for each utterance."""
    return waveforms.StageLabels(
        {}, [draw((waveforms.frame_count(n), 3)).astype(np.uint16) for n in waveforms.sample_counts(utterances)]
    )


eager = pytest.fixture(scope="module")(eagerly)


# --- experiments and cells


def test_every_row_of_tables_2_to_4_also_has_a_validation_session():
    assert Counter(e.table for e in PAPER.experiments) == {"2": 1, "3": 7, "4": 14, "public": 1}
    validated = [e for e in PAPER.experiments if e.id.endswith("-validated")]
    assert len(validated) == 11
    for other in validated:
        name = other.id.removesuffix("-validated").replace("table3/iemocap/gmp-ams", "table2/iemocap/gmp-atl")
        own = PAPER.experiment(name)
        assert (own.protocol.validation, other.protocol.validation) == (
            "none",
            "session",
        ) and own.config == other.config
        assert own.protocol.count(data_prep.corpus("iemocap")) == 5
    layers = {e.config.layer for e in PAPER.experiments if e.table == "4"} | {GmpConfig().layer}
    assert layers == set(LAYERS) == set(range(-8, 0))


def test_settings_are_those_of_the_paper():
    """Typed from Sec. 3 and 4.1 a second time."""
    config = PAPER.experiment("gmp_atl/table2/iemocap/gmp-atl").config
    assert (config.emotion_weight, config.margin, config.scale, config.layer) == (0.9, 0.2, 30, -3)
    assert config.cluster_counts == (64, 512, 4096) and config.hubert == CHECKPOINT
    assert (config.learning_rate, config.batch_size) == (1e-4, 64)
    assert sum(data_prep.corpus("iemocap").subset("4class-excited").counts.values()) == 5531
    combinations = {(e.config.pseudo_labels, e.config.loss) for e in PAPER.experiments if e.table in "23"}
    assert combinations == {(a, b) for a in (True, False) for b in ("ce", "am_softmax")} and len(ROWS) == 3


def test_experiments_use_the_checkpoint_if_it_was_fetched_and_random_weights_otherwise(monkeypatch, tmp_path):
    monkeypatch.setenv("SER_MODELS", str(tmp_path))
    missing = "HuBERT (model.safetensors, 378 MB; `ser fetch hubert-base-ls960`)"
    for experiment in PAPER.experiments:
        resolved = resolve(PAPER, experiment.config)
        config = resolved.config
        assert config == dataclasses.replace(experiment.config, hubert="random-base"), experiment.id
        assert resolved.flags == (f"random weights, because these are not here: {missing}",), experiment.id
        resolved = resolve(PAPER, experiment.config, scaled=True)
        scaled = resolved.config
        assert scaled.hubert == "random-tiny" and resolved.flags[0].startswith("random weights"), experiment.id
        for name in ("layer", "loss", "pseudo_labels"):
            assert getattr(scaled, name) == getattr(config, name), (experiment.id, name)
    (tmp_path / "hubert-base-ls960").mkdir()
    (tmp_path / "hubert-base-ls960" / "model.safetensors").touch()
    for experiment in PAPER.experiments:
        resolved = resolve(PAPER, experiment.config, allow=False)
        assert (resolved.config, resolved.flags) == (experiment.config, ()), experiment.id


def test_a_missing_checkpoint_folder_is_named_in_the_error(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.*random-tiny"):
        resolve(PAPER, GmpConfig(hubert=str(tmp_path / "nowhere")))


def test_impossible_settings_are_refused():
    for changes in (
        {"layer": 3}, {"clusters": "64,many,4096"}, {"clusters": "64,512"}, {"clusters": "1,512,4096"},
        {"clusters": "64,64,4096"}, {"label_weights": "1"}, {"epochs2": 0}, {"accumulation": 65},
        {"emotion_weight": 1.1}, {"augment_probability": -0.1}, {"augment_length": 0}, {"learning_rate": 0.0},
        {"head_learning_rate": -1.0}, {"warmup_steps": -1}, {"layerdrop": 1.0}, {"longest_s": 0.02},
    ):  # fmt: skip
        try:
            GmpConfig(**changes)
        except UserError:
            continue
        pytest.fail(f"{changes} were accepted")


def test_every_field_is_part_of_a_stage_s_key():
    """Otherwise a change of the field would use artefacts that were made with another value."""
    names = {item.name for item in dataclasses.fields(GmpConfig)}
    assert set().union(*SETTINGS.values()) == names


def test_every_printed_cell_is_reported():
    assert Counter(cell.table for cell in CELLS) == {"2": 27, "3": 16, "4": 32, "public": 2}
    for cell in CELLS:
        assert {"UAR": "ua", "WAR": "wa"}[cell.column] == cell.function
        printed = not cell.cell.split("/")[1].endswith("-validated") and cell.table != "public"
        assert math.isnan(cell.value) != printed


def test_columns_have_the_sums_of_the_printed_tables():
    """The sums were computed by hand from the paper, so they detect a digit that was mistyped."""
    sums = {
        ("2", "UAR"): 993.5, ("2", "WAR"): 905.3, ("3", "UAR"): 320.0, ("3", "WAR"): 311.8, ("4", "UAR"): 647.5,
        ("4", "WAR"): 633.9,
    }  # fmt: skip
    for (table, column), total in sums.items():
        values = [c.value for c in CELLS if (c.table, c.column) == (table, column) and not math.isnan(c.value)]
        assert sum(values) == pytest.approx(total, abs=1e-6), (table, column)


def test_the_full_method_has_the_same_numbers_in_all_three_tables():
    value = {cell.cell: (cell.value, cell.experiment) for cell in CELLS}
    for function in ("ua", "wa"):
        same = {value[f"{where}/{function}"] for where in ("table2/gmp-atl", "table3/gmp-ams", "table4/layer-3")}
        assert len(same) == 1
        # Sec. 4.3.1: without pseudo-labels the numbers fall by at least 2 points, which identifies the rows.
        for loss in ("ce", "ams"):
            assert value[f"table3/gmp-{loss}/{function}"][0] - value[f"table3/{loss}/{function}"][0] > 2 - 1e-9


# --- batches


def test_batches_contain_every_utterance_once(eager):
    utterances = part(41, shortest=1500, longest=9000)
    config = reduced(batch_size=8, accumulation=2, longest_s=0.25)
    lengths = waveforms.sample_counts(utterances)
    batches = batches_of(config, utterances, waveforms.StageLabels({"emotion": utterances.labels}))
    assert len(batches) == 2 * 6, "41 utterances need six batches of at most eight, of two parts each"
    rows_seen = []
    for k in range(len(batches)):
        inputs, targets, weights = batches[k]
        rows = batches.plan[k][0]
        rows_seen += rows.tolist()
        assert len(rows) in (3, 4)
        np.testing.assert_allclose(weights["emotion"], len(rows) * 12 / 41, rtol=1e-6)
        assert inputs["waveform"].shape[1] >= inputs["lengths"].max() and inputs["lengths"].max() <= 4000
        np.testing.assert_array_equal(inputs["lengths"], np.minimum(lengths[rows], 0.25 * 16000 // 320 * 320))
        np.testing.assert_array_equal(targets["emotion"], utterances.labels[rows])
        assert set(inputs) == {"waveform", "lengths"}
    assert sorted(rows_seen) == list(range(41))
    again = batches_of(config, utterances, batches.labels)
    other = batches_of(config, utterances, batches.labels, epoch=1)
    np.testing.assert_array_equal(again[1][0]["waveform"], batches[1][0]["waveform"])
    assert {tuple(sorted(rows)) for rows, _ in other.plan} != {tuple(sorted(rows)) for rows, _ in batches.plan}
    # Keras infers from two batches which dimensions vary.
    assert batches[0][0]["waveform"].shape[1] != batches[1][0]["waveform"].shape[1]


def test_a_crop_keeps_the_labels_of_its_frames():
    """Each sample's value is its position, each frame's label its number; a frame starts every 320 samples."""
    table = part(3).table
    whole = np.arange(32_000, dtype=np.float32)
    utterances = Part(table, {"waveform": dict.fromkeys(table["utterance"], whole)}, CLASSES)
    count = waveforms.frame_count(len(whole))
    frames = [np.stack([np.arange(count)] * 3, axis=1).astype(np.uint16)] * 3
    config = reduced(longest_s=0.5)
    batches = batches_of(config, utterances, waveforms.StageLabels({}, frames), seed=7)
    starts = set()
    for k in range(len(batches)):
        inputs, targets, weights = batches[k]
        for row in range(len(inputs["waveform"])):
            start = int(inputs["waveform"][row, 0])
            starts.add(start)
            kept = waveforms.frame_count(8000)
            assert start % 320 == 0 and inputs["lengths"][row] == 8000
            np.testing.assert_array_equal(targets["clusters_5"][row, :kept], start // 320 + np.arange(kept))
            assert weights["clusters_5"][row, kept:].sum() == 0 and not inputs["masked"][row, kept:].any()
    assert len(starts) > 1


def test_masks_follow_hubert_s_rule_and_weights_follow_the_masks():
    generator = np.random.default_rng(0)
    shares = [waveforms.masked_frames(GmpConfig(), 500, generator).mean() for _ in range(50)]
    # 40 spans of 10 that may overlap: 1 - (1 - 0.08)^10 = 0.57 in the middle, less at the ends.
    assert 0.52 < np.mean(shares) < 0.58
    assert waveforms.masked_frames(GmpConfig(), 1, generator).shape == (1,)
    assert waveforms.masked_frames(GmpConfig(), 5, generator).sum() in (2, 3, 4)
    utterances = part(4)
    labels = frame_labels(utterances, np.zeros)
    for masked_only in (True, False):
        batches = batches_of(reduced(masked_only=masked_only), utterances, labels)
        inputs, _, weights = batches[0]
        valid = np.arange(inputs["masked"].shape[1]) < waveforms.frame_count(inputs["lengths"])[:, None]
        assert not inputs["masked"][~valid].any() and inputs["masked"].any(axis=1).all()
        counted = inputs["masked"] if masked_only else valid
        # Keras' mean over all frames is then the mean over those that count.
        np.testing.assert_allclose(weights["clusters_3"], counted * valid.size / counted.sum(), rtol=1e-6)


def test_stages_1_and_3_mask_frames_as_hugging_face_s_training_does():
    """mask_time_prob 0.05, mask_time_length 10, mask_time_min_masks 2; other frames in each epoch; none in prediction.

    A span of 10 is not cut, and 0.05 * 499 / 10 = 2.5 spans become 2 or 3; they may overlap.
    """
    utterances = part(6, shortest=160_000, longest=160_001)  # 10 s, 499 frames
    labels = waveforms.StageLabels({"emotion": utterances.labels})
    config = reduced(GmpConfig(), augment_probability=GmpConfig().augment_probability, longest_s=15.0)
    masks = [batches_of(config, utterances, labels, epoch=epoch).masks for epoch in range(8)]
    spans = Counter()
    for mask in np.concatenate(masks):
        padded = np.concatenate([[0], mask.astype(int), [0]])
        runs = np.flatnonzero(np.diff(padded) == -1) - np.flatnonzero(np.diff(padded) == 1)
        assert runs.min() >= 10 and len(mask) == 499
        if (runs == 10).all():
            spans[len(runs)] += 1
    assert set(spans) == {2, 3} and min(spans.values()) > 5
    assert not np.array_equal(masks[0], masks[1])
    inputs, _, _ = batches_of(config, utterances, labels)[0]
    assert inputs["masked"].any() and not inputs["masked"][:, 499:].any()
    for _, batch in waveforms.inference_batches(utterances, 4):
        assert not batch["masked"].any() and batch["masked"].shape[1] == waveforms.frame_count(
            batch["waveform"].shape[1]
        )
    assert batches_of(dataclasses.replace(config, augment_probability=0.0), utterances, labels).masks is None


def test_masked_frames_reach_hubert_in_stages_1_and_3(eager):
    config = reduced(augment_probability=0.05)
    utterances = part(2, shortest=4000, longest=4001)
    for stage, build in ((1, model.build_stage1), (3, model.build_stage3)):
        network = build(config, model.build_hubert(config, stage=stage), 3)
        ((_, inputs),) = waveforms.inference_batches(utterances, 2)
        plain = network.predict_on_batch({name: inputs[name] for name in network.input})["emotion"]
        inputs["masked"][1, 3:] = 1
        masked = network.predict_on_batch(inputs)["emotion"]
        assert np.abs(masked - plain)[1].max() > 1e-4 and np.abs(masked - plain)[0].max() < 1e-6


def test_batches_for_several_devices_are_multiples_of_them():
    utterances = part(7)
    batches = batches_of(reduced(), utterances, waveforms.StageLabels({"emotion": utterances.labels}), devices=2)
    assert {len(rows) % 2 for rows, _ in batches.plan} == {0}
    counts = Counter()
    for k, (rows, _) in enumerate(batches.plan):
        for row, weight in zip(rows, batches[k][2]["emotion"], strict=True):
            counts[row] += float(weight) / len(rows)
    assert sorted(counts) == list(range(7))
    np.testing.assert_allclose(list(counts.values()), len(batches) / 7, rtol=1e-6)


def test_stage_1_without_genders_names_the_remedy(tmp_path):
    without_genders = part(3)
    without_genders.table["gender"] = None
    with pytest.raises(UserError, match="--set emotion_weight=1"):
        fit(reduced(), without_genders, without_genders.take(()), Context(artefacts=Artefacts(tmp_path)))


# --- networks

NETWORKS = {
    "stage1": ({}, "stage1"),
    "stage1-emotion": ({"emotion_weight": 1.0}, "stage1"),
    "stage2": ({}, "stage2"),
    "stage2-shared": ({"heads": "shared", "masked_only": False}, "stage2"),
    "stage3-ams": ({}, "stage3"),
    "stage3-ce-mean": ({"loss": "ce", "pooling": "mean"}, "stage3"),
    "stage3-projected-gender": ({"cosines_of": "projected", "gender_in_stage3": True}, "stage3"),
    "stage3-masked-frames": ({"augment_probability": 0.05, "augment_length": 2}, "stage3"),
    "stage3-padding-as-silence": ({"padding_is": "none", "tune": "all"}, "stage3"),
}


@pytest.mark.parametrize(("changes", "stage"), NETWORKS.values(), ids=list(NETWORKS))
def test_one_step_changes_every_weight_of_every_network(changes, stage, eager):
    keras.utils.set_random_seed(1)
    # Layers of 6 units, as elsewhere here, would have none above 0 for some seeds, and then no gradient.
    config = reduced(projection=64, label_projection=64, **changes)
    utterances = part(4)
    encoder = model.build_hubert(config, stage=int(stage[-1]))
    if stage == "stage2":
        network = model.build_stage2(config, encoder)
        stage_labels = frame_labels(utterances, np.ones)
    else:
        build = model.build_stage1 if stage == "stage1" else model.build_stage3
        network = build(config, encoder, 3)
        labels = {"emotion": utterances.labels, "gender": gender_numbers(utterances.table, "")}
        stage_labels = waveforms.StageLabels({name: labels[name] for name in network.output})
    frozen = [w for layer in encoder.layers if layer.name.startswith("convolution_") for w in layer.weights]
    assert all(w.trainable is (config.tune == "all") for w in frozen) and frozen
    before = [w.numpy().copy() for w in network.trainable_weights]
    loss = network.train_on_batch(*batches_of(config, utterances, stage_labels)[0])
    # A bias of the keys shifts all scores of a query equally, which softmax ignores.
    still = [
        w.path for w, old in zip(network.trainable_weights, before, strict=True)
        if np.array_equal(w.numpy(), old) and "key/bias" not in w.path
    ]  # fmt: skip
    assert still == [] and np.isfinite(loss).all()


def test_losses_of_stages_1_and_3_are_equations_1_and_2(eager):
    """Both are computed by NumPy from the networks' outputs; there is no dropout."""
    utterances = part(4)
    config = reduced()
    for stage, build in ((1, model.build_stage1), (3, model.build_stage3)):
        network = build(config, model.build_hubert(config, stage=stage), 3)
        labels = {"emotion": utterances.labels, "gender": gender_numbers(utterances.table, "")}
        batches = batches_of(config, utterances, waveforms.StageLabels({name: labels[name] for name in network.output}))
        inputs, targets, _ = batches[0]
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


def test_loss_of_stage_2_is_the_mean_over_masked_frames(eager):
    config = reduced(label_weights="1,0,2")
    utterances = part(4)
    network = model.build_stage2(config, model.build_hubert(config, stage=2))
    generator = np.random.default_rng(0)
    labels = frame_labels(utterances, lambda shape: generator.integers(0, 3, shape))
    inputs, targets, weights = batches_of(config, utterances, labels)[0]
    found = network.predict_on_batch(inputs)
    expected = 0.0
    for name, weight in (("clusters_3", 1), ("clusters_6", 2)):
        logits = np.asarray(found[name], np.float64)
        logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        mask = inputs["masked"].astype(bool)
        expected -= weight * np.take_along_axis(logs, targets[name][..., None], -1)[..., 0][mask].mean()
    measured = network.evaluate(inputs, targets, sample_weight=weights, verbose=0, return_dict=True)["loss"]
    assert measured == pytest.approx(expected, rel=1e-4)


def test_predictions_do_not_depend_on_padding_or_other_utterances_of_a_batch(eager):
    config = reduced()
    network = model.build_stage3(config, model.build_hubert(config, stage=3), 3)
    utterances = part(5, seed=3)
    together = predict_outputs(network, utterances, config)
    for row in range(5):
        one = predict_outputs(network, utterances.take((utterances.table["utterance"][row],)), config)[0]
        np.testing.assert_allclose(together[row], one, atol=1e-5)
    # Without any padding.
    samples = waveforms.waveform(utterances, 2)[None]
    bare = network.predict_on_batch({"waveform": samples, "lengths": np.array([samples.shape[1]], np.int32)})
    np.testing.assert_allclose(together[2], bare["emotion"][0], atol=1e-5)


def test_two_accumulated_half_batches_equal_one_whole_batch(eager):
    """With equal lengths and no dropout, accumulated gradients are those of the batch, and so is Adam's step."""
    utterances = part(4, shortest=3000, longest=3001)
    weights = {}
    for accumulation in (1, 2):
        keras.utils.set_random_seed(3)
        config = reduced(accumulation=accumulation, clip_norm=0.0, loss="ce", pooling="mean")
        network = model.build_stage3(config, model.build_hubert(config, stage=3), 3)
        batches = batches_of(config, utterances, waveforms.StageLabels({"emotion": utterances.labels}))
        assert len(batches) == accumulation
        for k in range(accumulation):
            network.train_on_batch(*batches[k])
        weights[accumulation] = network.get_weights()
    for one, two in zip(weights[1], weights[2], strict=True):
        np.testing.assert_allclose(two, one, atol=2e-4)  # Adam's first step is +-1e-3 wherever there is a gradient


# --- all stages


@pytest.mark.parametrize("name", ["table2/iemocap/gmp-atl", "table3/iemocap/ce"])
def test_a_row_is_trained_predicts_and_is_saved(name, tmp_path, eager):
    config = reduced(PAPER.experiment(f"gmp_atl/{name}").config, batch_size=6)
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
