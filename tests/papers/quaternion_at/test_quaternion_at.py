"""Quaternion anti-transfer: experiments, chunks, networks, losses, the choice of the layer, pretrained networks."""

import dataclasses
import json
import math

import keras
import numpy as np
import pandas as pd
import pytest

import data_prep
from common.artefacts import Artefacts
from common.contract import Context, override
from common.corpus import build_table
from common.errors import UserError
from common.models.vgg16 import vgg16
from papers.quaternion_at import data, model, train
from papers.quaternion_at.config import QuaternionAtConfig
from papers.quaternion_at.experiments import PAPER, config_of
from papers.quaternion_at.train import fit, load
from ser.results import health
from tests.helpers.declared import parameters
from tests.helpers.eagerly import eagerly
from tests.helpers.quaternion_at_data import CLASSES, part, small
from tests.helpers.resolved import resolve

eager = pytest.fixture(eagerly)


# --- experiments -----------------------------------------------------------------------------------------------------


def test_every_row_of_table_1_and_every_point_of_figure_2_exists():
    tables = pd.Series([experiment.table for experiment in PAPER.experiments]).value_counts()
    assert tables.to_dict() == {
        "fig2": 3 * 2 * 2 * 2 * 13, "1": 30 * 3 + 3 * 3, "transfer": 8, "cost": 8, "resources": 4,
    }  # fmt: skip


def test_experiments_have_the_paper_s_settings_and_scaled_ones_keep_their_row():
    for experiment in PAPER.experiments:
        config = experiment.config
        asks = [name for name in ("rhemo", "speakers", "words", "transfer") if getattr(config, name) == "newest"]
        assert len(resolve(PAPER, config, allow=False).missing) == len(asks), experiment.id
        resolved = resolve(PAPER, config)
        assert resolved.config == dataclasses.replace(config, **dict.fromkeys(asks, "random")), experiment.id
        assert len(resolved.changes) == len(asks), experiment.id
        assert len(resolved.flags) == len(asks) + (config.rhemo == "random"), experiment.id
        scaled = override(config, PAPER.scaled)
        assert (scaled.network, scaled.anti_transfer, scaled.rhemo) == (
            config.network, config.anti_transfer, config.rhemo,
        )  # fmt: skip
        fixed = {"learning_rate": 1e-5, "batch_size": 20, "patience": 20, "shrink": 1, "width": 1.0}  # Sec. 3.1
        assert {name: getattr(config, name) for name in fixed} == fixed
        assert (config.rhemo != "none") == (config.scaling == "unit")
        if "/fig2/" in experiment.id:
            assert scaled.layers() == config.layers() == (int(experiment.id[-2:]),)
        elif experiment.table == "1":
            assert config.layers() == tuple(range(1, 14)) and scaled.layers() == (1, 13)


def test_rows_ask_for_the_networks_of_their_tasks():
    rows = {method: config_of("quat", method) for method in ("none", "S", "W", "SW", "WS")}
    assert {method: config.tasks for method, config in rows.items()} == {
        "none": (), "S": ("speakers",), "W": ("words",), "SW": ("speakers", "words"), "WS": ("words", "speakers"),
    }  # fmt: skip
    assert (rows["S"].speakers, rows["S"].words) == ("newest", "none")
    assert rows["SW"].rhemo == "newest" and config_of("real", "SW").rhemo == "none"


def test_protocols_are_those_of_the_paper():
    """IEMOCAP sessions 1-3/4/5, RAVDESS 17/5/2 actors; TESS' test part is 700 = half of one actress (facts of 3.2)."""
    rows = [
        {
            "utterance": f"{speaker}{k:04d}", "path": f"/nowhere/{speaker}{k}.wav", "speaker": speaker,
            "emotion": "sad", "duration": 1.0,
        }
        for speaker in ("OAF", "YAF")
        for k in range(1400)
    ]  # fmt: skip
    table = build_table(rows, "tess")
    (fold,) = PAPER.experiment("quaternion_at/table1/tess/real/act").protocol(table)
    speakers = table.set_index("utterance")["speaker"]
    assert {name: speakers[list(getattr(fold, name))].value_counts().to_dict() for name in ("train", "validation")} == {
        "train": {"OAF": 1400}, "validation": {"YAF": 700},
    }  # fmt: skip
    assert set(speakers[list(fold.test)]) == {"YAF"} and len(fold.test) == 700
    assert not set(fold.test) & set(fold.validation)
    counts = {
        experiment.id.split("/", 2)[2]: experiment.protocol.count(data_prep.corpus(experiment.corpus))
        for experiment in PAPER.experiments
        if experiment.id.startswith("quaternion_at/table1") and "/real/" in experiment.id
    }
    assert counts == {
        "iemocap/real/rnd": 1, "iemocap/real/act": 1, "iemocap/real/turn": 5,
        "ravdess/real/rnd": 1, "ravdess/real/act": 1, "ravdess/real/turn": 12,
        "tess/real/rnd": 1, "tess/real/act": 1, "tess/real/turn": 2,
    }  # fmt: skip


def test_impossible_settings_are_refused():
    for changes, said in (
        ({"network": "quaternion"}, "multiple of four channels"),
        ({"anti_transfer": "SW", "speakers": "newest"}, "words=newest"),
        ({"at_layers": "14"}, "1 to 13"),
        ({"at_layers": "two"}, "write 2, or 2,5, or 1-13"),
        ({"at_layers": "5-3"}, "1 to 13"),
        ({"batch_size": 0}, "at least 1"),
        ({"width": 0.0}, "must be positive"),
        ({"at_beta": -1.0}, "must not be negative"),
    ):
        with pytest.raises(UserError, match=said):
            QuaternionAtConfig(**changes)


def test_layers_to_choose_from():
    for text, tries, layers in (
        ("1-13", 13, tuple(range(1, 14))), ("2", 13, (2,)), ("5-7, 2", 13, (2, 5, 6, 7)), ("1-13", 3, (1, 7, 13)),
        ("1-13", 1, (1,)), ("4", 3, (4,)),
    ):  # fmt: skip
        assert QuaternionAtConfig(at_layers=text, at_tries=tries).layers() == layers


def test_shrink_must_divide():
    with pytest.raises(UserError, match="shrink cannot be 3"):
        data.size(QuaternionAtConfig(shrink=3))


# --- data ------------------------------------------------------------------------------------------------------------


def test_chunks_are_cut_as_by_the_authors():
    """Time is reversed; a remainder counts only beyond 1002 frames, as the last 501 rows (facts of Sec. 3.1)."""
    for frames, starts in (
        (300, [0]), (501, [0]), (502, [0]), (1001, [0]), (1002, [0, 501]), (1003, [0, 501, 502]),
        (1503, [0, 501, 1002]), (1504, [0, 501, 1002, 1003]),
    ):  # fmt: skip
        magnitudes = np.repeat(np.arange(1, frames + 1, dtype=np.float32)[:, None], 2, axis=1)
        backwards = np.pad(magnitudes, ((0, max(0, 501 - frames)), (0, 0)))[::-1]
        found = data.cut_chunks(magnitudes, "code")
        assert [len(chunk) for chunk in found] == [501] * len(starts), frames
        for chunk, start in zip(found, starts, strict=True):
            np.testing.assert_array_equal(chunk, backwards[start : start + 501])
        if 501 < frames < 1002:  # only the last 4 s
            assert found[0].min() == frames - 500 and found[0].max() == frames


def test_chunks_of_policy_all_contain_the_whole_utterance():
    magnitudes = np.arange(1, 1201, dtype=np.float32)[:, None]
    found = data.cut_chunks(magnitudes, "all")
    assert len(found) == 3 and not found[2][198:].any()
    np.testing.assert_array_equal(np.concatenate(found)[:1200], magnitudes)


def test_scaling_and_padding_of_chunks():
    chunks = [np.full((501, 129), 2.0, np.float32), np.full((501, 129), 6.0, np.float32)]
    chunks[1][0, 128] = 8.0  # the Nyquist bin counts for the scale and is then dropped
    unit = data.Scale.fitted(chunks, "unit")
    assert (unit.shift, unit.factor) == (0.0, 8.0)
    image = unit(chunks[1])
    assert image.shape == (512, 128) and image.max() == 0.75 and not image[501:].any()
    standard = data.Scale.fitted(iter([chunks[0], np.full((501, 129), 6.0, np.float32)]), "standard")
    assert (standard.shift, standard.factor) == (4.0, 2.0)  # mean and deviation of as many twos as sixes
    assert standard(chunks[0])[0, 0] == -1 and standard(chunks[0])[511, 0] == 0
    with pytest.raises(UserError, match="silent"):
        data.Scale.fitted([np.zeros((501, 129), np.float32)], "unit")


def test_cells_are_averaged():
    image = np.arange(16, dtype=np.float32).reshape(4, 4)
    np.testing.assert_array_equal(data.average_cells(image, 2), [[2.5, 4.5], [10.5, 12.5]])
    assert data.average_cells(image, 1) is image


def test_values_are_averaged_over_the_chunks_of_an_utterance():
    cut = data.Chunks(np.zeros((3, 1, 1, 1)), np.array([0, 1, 1]), 2)
    np.testing.assert_allclose(cut.utterance_means(np.array([[1, 0], [0.2, 0.8], [0.6, 0.4]])), [[1, 0], [0.4, 0.6]])


# --- networks --------------------------------------------------------------------------------------------------------


def test_numbers_of_parameters_are_those_of_table_1():
    """1.6e8 and 1e7 (Table 1) are 165.7 and 10.0 million; each network is counted from its layers' shapes."""
    real, quaternion = config_of("real"), config_of("quat")
    assert model.input_shape(real) == (512, 128, 1) and model.input_shape(quaternion) == (64, 64, 4)
    inputs, convolutions = (1, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512), 0
    outputs = (*inputs[1:], 512)
    convolutions = sum(9 * a * b + b for a, b in zip(inputs, outputs, strict=True))
    whole = convolutions + (512 * 16 * 4 + 1) * 4096 + 4097 * 4096 + 4097 * 4
    assert whole == 165_733_060
    convolutions = sum(9 * a * b // 4 + b for a, b in zip((4, *inputs[1:]), outputs, strict=True))
    whole = convolutions + 2048 * 1024 + 4096 + 4096 * 1024 + 4096 + 4097 * 4
    assert whole == 9_998_020
    assert parameters(lambda: model.build_vgg(quaternion, 4)) == whole
    assert parameters(lambda: model.build_vgg(real, 4)) == 165_733_060
    assert parameters(lambda: model.build_vgg(dataclasses.replace(real, pooling="adaptive"), 4)) == 134_275_780


NETWORKS = {
    "real": ("real", "none", {}),
    "quat": ("quat", "none", {}),
    "quat frozen": ("quat", "none", {"rhemo_training": "frozen"}),
    "real S": ("real", "S", {}),
    "real SW": ("real", "SW", {}),
    "real authors": ("real", "W", {"at_variant": "authors"}),
    "quat W": ("quat", "W", {}),
    "quat WS": ("quat", "WS", {}),
    "quat S frozen": ("quat", "S", {"rhemo_training": "frozen"}),
    "quat S authors": ("quat", "S", {"at_variant": "authors", "at_reading": "input"}),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_one_epoch_changes_exactly_the_trainable_weights(name, eager, monkeypatch):
    network, method, changes = NETWORKS[name]
    config = small(network, method, **changes)
    extractors, before = [], []
    build = train.build_extractor

    def remembered(*arguments):
        extractors.append(build(*arguments))
        before.append(extractors[-1].get_weights())
        return extractors[-1]

    monkeypatch.setattr(train, "build_extractor", remembered)
    context = Context(seed=3)
    fitted = fit(config, part(6), part(0), context)
    keras.utils.set_random_seed(3)
    untrained = model.build_vgg(config, 3)
    if len(config.tasks) < 2:  # else the second network starts from the first
        pairs = zip(fitted.vgg.get_weights(), untrained.get_weights(), fitted.vgg.weights, strict=True)
        assert [w.path for new, old, w in pairs if np.array_equal(new, old)] == []
    assert len(extractors) == len(config.tasks)
    for extractor, weights in zip(extractors, before, strict=True):
        assert all(np.array_equal(*pair) for pair in zip(extractor.get_weights(), weights, strict=True))
    if network == "quat":
        start = model.build_encoder(config, context)
        moved = [not np.array_equal(*p) for p in zip(fitted.encoder.get_weights(), start.get_weights(), strict=True)]
        assert all(moved) if config.rhemo_training == "trainable" else not any(moved)
    columns = fitted.predict(part(4, seed=1, frames=(900, 1300)).without_labels())
    np.testing.assert_allclose(sum(columns[f"p_{emotion}"] for emotion in CLASSES), 1, atol=1e-6)
    assert all(math.isfinite(value) for values in context.history.values() for value in values)
    assert context.flags == ([] if method == "none" else ["anti-transfer layer 2"])
    if len(config.tasks) > 1:
        assert {"stage1_loss", "stage2_loss"} <= context.history.keys()


def test_gram_matrices_are_computed_once_and_give_the_same_losses(monkeypatch):
    config = small("quat", "S", rhemo_training="frozen", epochs=3, dropout=0.0, batch_size=30)
    calls = []
    cached = train.cached_signatures

    def counted(folder, signature, inputs, **settings):
        predict = signature.predict_on_batch

        def predict_on_batch(batch):
            calls.append(len(batch))
            return predict(batch)

        signature.predict_on_batch = predict_on_batch
        return cached(folder, signature, inputs, **settings)

    monkeypatch.setattr(train, "cached_signatures", counted)
    context, utterances = Context(seed=5), part(9)
    fit(config, utterances, part(0), context)
    chunks = sum(len(one) for one in data.raw_chunks(utterances, config))
    assert calls == [chunks] and len(context.history["loss"]) == 3  # each chunk once for three epochs
    # The same steps with an extractor that is run in each of them.
    cut = data.prepare_chunks(pieces := data.raw_chunks(utterances, config), data.fitted_scale(pieces, config), config)
    encoder = model.build_encoder(config, context)
    encoder.trainable = False
    keras.utils.set_random_seed(5)
    vgg = model.build_vgg(config, 3)
    signature = model.signature_of(model.build_extractor(config, "speakers", 2, context), config)
    running = model.with_anti_transfer(vgg, 2, config, signature, encoder=encoder)
    running.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    labels, losses = utterances.labels[cut.utterance], []
    for _ in range(3):
        running.reset_metrics()
        losses.append(float(running.train_on_batch(cut.images, labels)))
    np.testing.assert_allclose(losses, context.history["loss"], rtol=2e-3)


def test_the_loss_is_equation_1(eager):
    """By NumPy: squared cosines of each datapoint's vectorised Gram matrices, averaged over the batch."""
    config = small("real", "S", at_beta=0.7)
    keras.utils.set_random_seed(0)
    vgg, whole = model.build_vgg(config, 3), model.build_vgg(config, 10)
    extractor = keras.Model(whole.input, whole.get_layer("relu2").output)
    images = np.random.default_rng(0).normal(size=(3, *model.input_shape(config))).astype(np.float32)
    maps = [
        keras.Model(one.input, one.get_layer("relu2").output).predict(images, verbose=0).astype(np.float64)
        for one in (vgg, whole)
    ]
    cosines = []
    for trained, fixed in zip(*maps, strict=True):
        grams = [np.einsum("hwc,hwd->cd", one, one).ravel() for one in (trained, fixed)]
        cosines.append((grams[0] @ grams[1] / np.linalg.norm(grams[0]) / np.linalg.norm(grams[1])) ** 2)
    training = model.with_anti_transfer(vgg, 2, config, model.signature_of(extractor, config))
    training(images)
    assert float(training.losses[0]) == pytest.approx(0.7 * np.mean(cosines), rel=1e-4)


def test_the_layer_is_chosen_on_validation_and_a_killed_fit_continues(tmp_path, monkeypatch):
    accuracies = {2: 0.5, 3: 0.75, 5: 0.75}
    tried = []

    def trained(data_, layer, context):
        tried.append(layer)
        if layer == 5 and len(tried) == 3:
            raise KeyboardInterrupt
        keras.utils.set_random_seed(layer)
        return train.TrainedNetwork(model.build_vgg(data_.config, 3), None, accuracies[layer], {"loss": [float(layer)]})

    monkeypatch.setattr(train, "train_at_layer", trained)
    config = small("real", "S", at_layers="2,3,5")
    with pytest.raises(KeyboardInterrupt):
        fit(config, part(6), part(3, seed=1), Context(scratch=tmp_path))
    context = Context(scratch=tmp_path)
    fitted = fit(config, part(6), part(3, seed=1), context)
    assert tried == [2, 3, 5, 5]  # the networks of 2 and 3 are kept; of equal ones, the earlier is chosen
    assert context.history["layer"] == [2, 3, 5] and context.history["layer_accuracy"] == [0.5, 0.75, 0.75]
    assert context.history["loss"] == [3.0] and context.flags == ["anti-transfer layer 3 (chosen on validation)"]
    keras.utils.set_random_seed(3)
    expected = model.build_vgg(config, 3)
    assert all(np.array_equal(*pair) for pair in zip(fitted.vgg.get_weights(), expected.get_weights(), strict=True))
    assert [path.name for path in tmp_path.glob(".gram-*")] == []
    with pytest.raises(UserError, match="needs a validation part"):
        fit(config, part(6), part(0), Context())


def test_the_network_of_each_tried_layer_predicts_what_it_does_if_it_is_trained_alone(eager):
    config = small("quat", "S", at_layers="2,4")
    context = Context(seed=3)
    fitted = fit(config, part(6), part(3, seed=1), context)
    test = part(4, seed=2).without_labels()
    further = {one.name: one for one in fitted.further(test)}
    assert list(further) == ["layer02", "layer04"]
    alone = fit(dataclasses.replace(config, at_layers="4"), part(6), part(3, seed=1), Context(seed=3))
    assert list(alone.further(test)) == []
    for column, values in alone.predict(test).items():
        np.testing.assert_allclose(further["layer04"].columns[column], values, atol=1e-6)
    assert [one.flags for one in further.values()] == [("anti-transfer layer 2",), ("anti-transfer layer 4",)]
    chosen = further[train.layer_name(fitted.tried.best)]
    np.testing.assert_allclose(chosen.columns["p_sad"], fitted.predict(test)["p_sad"], atol=1e-6)
    assert "p_sad" in further["layer02"].columns and not np.array_equal(
        further["layer02"].columns["p_sad"], further["layer04"].columns["p_sad"]
    )


def test_tried_networks_are_on_disk_and_not_in_memory(tmp_path, monkeypatch, eager):
    import weakref

    built = []
    train_at_layer = train.train_at_layer

    def remembered(*arguments):
        trained = train_at_layer(*arguments)
        built.append(weakref.ref(trained.vgg))
        return trained

    monkeypatch.setattr(train, "train_at_layer", remembered)
    config = small("real", "S", at_layers="2,3", shrink=4)
    fitted = fit(config, part(6), part(3, seed=1), Context(scratch=tmp_path))
    assert len(built) == 2 and [one() for one in built] == [None] * 2
    assert len(list(tmp_path.rglob("network.weights.h5"))) == 2
    assert sum(model_.count_params() > 0 for model_ in health.networks(fitted)) == 1  # only the chosen one


def test_dual_anti_transfer_starts_from_the_first_training(monkeypatch, eager):
    seen = []

    def record(data_, vgg, encoder, task, layer, context):
        seen.append((task, vgg.get_weights(), vgg))

    monkeypatch.setattr(train, "_train_once", record)
    config = small("real", "WS")
    fit(config, part(6), part(0), Context(seed=1))
    assert [task for task, _, _ in seen] == ["words", "speakers"]
    names = [weight.path for weight in seen[1][2].weights]
    same = {name for name, *pair in zip(names, seen[0][1], seen[1][1], strict=True) if np.array_equal(*pair)}
    assert set(names) - same == {name for name in names if name.startswith("logits/kernel")}
    seen.clear()
    fit(dataclasses.replace(config, dual_last_layer="kept"), part(6), part(0), Context(seed=1))
    assert all(np.array_equal(*pair) for pair in zip(seen[0][1], seen[1][1], strict=True))


def test_a_simple_problem_is_learnt():
    config = small("real", "S", shrink=4, width=0.02, epochs=14, learning_rate=3e-3)
    fitted = fit(config, part(30), part(9, seed=1), Context(seed=2))
    test = part(12, seed=2)
    columns = fitted.predict(test.without_labels())
    answers = np.stack([columns[f"p_{emotion}"] for emotion in CLASSES], axis=1).argmax(axis=1)
    assert (answers == test.labels).mean() > 0.8


def test_predictions_count_chunks():
    fitted = fit(small(), part(6), part(0), Context())
    test = part(3, seed=4, frames=(1200, 1201))
    columns = fitted.predict(test.without_labels())
    # 1200 frames: two whole chunks and one that overlaps.
    np.testing.assert_array_equal(sum(columns[f"chunks_{emotion}"] for emotion in CLASSES), [3, 3, 3])


@pytest.mark.parametrize("network", ["real", "quat"])
def test_a_saved_model_predicts_the_same(network, tmp_path, eager):
    fitted = fit(small(network), part(6), part(0), Context())
    fitted.save(tmp_path)
    test = part(5, seed=1)
    expected, found = fitted.predict(test), load(tmp_path).predict(test)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="not a kept quaternion_at model"):
        load(tmp_path)


# --- pretrained networks ---------------------------------------------------------------------------------------------


def stored(artefacts, name, network, file="network.keras"):
    return artefacts.get(f"quaternion_at/{name}", {"config": {}}, lambda folder: network.save(folder / file))


def test_pretrained_networks_are_read_or_refused(tmp_path):
    artefacts = Artefacts(tmp_path)
    context, config = Context(artefacts=artefacts), small("real", "S")
    made = stored(artefacts, "speakers", model.build_vgg(config, 7))
    config = dataclasses.replace(config, speakers=made.digest)
    found = model.build_extractor(config, "speakers", 13, context)
    expected = keras.saving.load_model(made.folder / "network.keras", compile=False).get_weights()[:26]
    assert all(np.array_equal(*pair) for pair in zip(found.get_weights(), expected, strict=True))
    with pytest.raises(UserError, match=r"reads \(256, 64, 1\); this one reads \(512, 128, 1\)"):
        model.build_extractor(dataclasses.replace(config, shrink=1), "speakers", 2, context)
    with pytest.raises(UserError, match=r"no speakers 0123 here\. Make one with `ser pretrain quaternion_at speakers`"):
        model.build_extractor(dataclasses.replace(config, speakers="0123"), "speakers", 2, context)
    with pytest.raises(UserError, match="no speakers"):
        model.build_extractor(config, "speakers", 2, Context())
    (made.folder / "network.keras").write_bytes(b"damaged")
    with pytest.raises(UserError, match="no speakers"):
        model.build_extractor(config, "speakers", 2, context)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize(("reading", "layer", "weights"), [("output", 3, 6), ("input", 3, 4), ("input", 1, 0)])
def test_an_extractor_ends_at_its_layer(reading, layer, weights, kept, tmp_path, monkeypatch):
    """Nothing after the layer is built: of the real network's weights, 134 million are in its first dense layer."""
    config, artefacts = small("real", "S", at_reading=reading), Artefacts(tmp_path)
    keras.utils.set_random_seed(1)
    whole = model.build_vgg(config, 10)
    if kept:
        config = dataclasses.replace(config, speakers=stored(artefacts, "speakers", whole).digest)
    monkeypatch.setattr(keras.layers.Dense, "build", None)
    keras.utils.set_random_seed(1)
    extractor = model.build_extractor(config, "speakers", layer, Context(artefacts=artefacts))
    images = np.random.default_rng(0).random((2, *model.input_shape(config)), np.float32)
    place = whole.get_layer(f"relu{layer}").output if reading == "output" else whole.get_layer(f"conv{layer}").input
    expected = keras.Model(whole.input, place).predict(images, verbose=0)
    np.testing.assert_array_equal(extractor.predict(images, verbose=0), expected)
    assert len(extractor.weights) == weights  # kernel and bias of each convolution


def test_the_extractor_is_let_go_when_its_signatures_are_on_disk(tmp_path, monkeypatch):
    import weakref

    built, build = [], train.build_extractor

    def remembered(*arguments):
        extractor = build(*arguments)
        built.append(weakref.ref(extractor))
        return extractor

    monkeypatch.setattr(train, "build_extractor", remembered)
    config = small("real", "S")
    images = np.random.default_rng(0).random((2, *model.input_shape(config)), np.float32)
    signatures = train.signatures_of(config, "speakers", 2, images, tmp_path, Context())
    assert len(signatures) == 2 and built[0]() is None


def test_an_extractor_of_another_width_is_refused(tmp_path):
    artefacts, config = Artefacts(tmp_path), small("real", "S")
    made = stored(artefacts, "speakers", vgg16(model.input_shape(config), 7, width=0.125))
    config = dataclasses.replace(config, speakers=made.digest)
    with pytest.raises(UserError, match="8 channels at the anti-transfer layer and the network 4"):
        fit(config, part(6), part(0), Context(artefacts=artefacts))


def test_rhemo_is_the_pretrained_one_or_has_fixed_random_weights(tmp_path):
    artefacts, config = Artefacts(tmp_path), small("quat")
    context = Context(artefacts=artefacts)
    one, other = model.build_encoder(config, context), model.build_encoder(config, Context(seed=9))
    assert all(np.array_equal(*pair) for pair in zip(one.get_weights(), other.get_weights(), strict=True))
    one.set_weights([weight + 1 for weight in one.get_weights()])
    made = stored(artefacts, "rhemo", one, "encoder.keras")
    config = dataclasses.replace(config, rhemo=made.digest)
    found = model.build_encoder(config, context)
    assert all(np.array_equal(*pair) for pair in zip(found.get_weights(), one.get_weights(), strict=True))
    with pytest.raises(UserError, match="Choose one with the same shrink"):
        model.build_encoder(dataclasses.replace(config, shrink=1), context)
    config = dataclasses.replace(config, rhemo="random")
    assert resolve(PAPER, config).flags == ("random weights: RH-Emo",)


def test_a_config_can_be_stored_as_json():
    config = small("quat", "SW")
    assert override(QuaternionAtConfig(), json.loads(json.dumps(dataclasses.asdict(config)))) == config
