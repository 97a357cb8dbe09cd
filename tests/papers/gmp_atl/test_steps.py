"""Steps of the three stages: traced once for all folds, in half precision, with accumulated gradients."""

import dataclasses

import keras
import numpy as np
import pytest

from common.contract import Context
from common.training import predict_batch
from papers.gmp_atl import model, stages, waveforms
from papers.gmp_atl.train import fit
from tests.helpers import gmp_atl_data
from tests.helpers.eagerly import eagerly


def reduced(**changes):
    """With dropout and skipped layers, which the other tests switch off."""
    return gmp_atl_data.reduced(**{"layerdrop": 0.05, "hubert_dropout": 0.1, **changes})


def part(count, seed):
    return gmp_atl_data.part(count, seed, 800, 2400)


eager = pytest.fixture(eagerly)


@pytest.fixture
def policy():
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_a_fold_does_not_depend_on_earlier_folds(precision, eager, monkeypatch, policy):
    """Dropout, skipped layers, accumulated gradients, loss scale: everything that a reused network could carry over."""
    monkeypatch.setattr(model, "_TRACED", {})
    config = reduced(accumulation=2, pseudo_labels=False, loss="ce", precision=precision)
    train, none, test = part(4, 0), part(0, 1), part(3, 2).without_labels()

    def predicted(seed, train=train):
        fitted = fit(config, train, none, Context(seed=seed))
        return fitted, fitted.predict(test)["p_angry"]

    first, alone = predicted(1)
    kept = model._TRACED["gmp_atl_stage3"][1]
    assert kept is not first.model
    _, other = predicted(2, part(5, 5))
    _, again = predicted(1)
    np.testing.assert_array_equal(again, alone)
    assert np.abs(other - alone).max() > 1e-4
    np.testing.assert_array_equal(first.predict(test)["p_angry"], alone)  # later folds do not change it
    assert model._TRACED["gmp_atl_stage3"][1] is kept


def test_another_config_or_number_of_classes_needs_another_network(monkeypatch):
    monkeypatch.setattr(model, "_TRACED", {})
    taken = []
    for config, classes in ((reduced(), 2), (reduced(), 3), (reduced(margin=0.3), 3), (reduced(margin=0.3), 3)):
        taken.append(
            model.traced_network(config, model.build_stage3(config, model.build_hubert(config, stage=3), classes))
        )
    assert len({id(network) for network in taken[:3]}) == 3 and taken[3] is taken[2]
    monkeypatch.setattr(model, "MAX_KEPT_WEIGHTS", 0)  # three networks of base size would fill a GPU
    config = reduced(margin=0.4)
    network = model.build_stage3(config, model.build_hubert(config, stage=3), 3)
    assert model.traced_network(config, network) is network
    assert model._TRACED["gmp_atl_stage3"][1] is taken[2]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow traces steps twice")
def test_a_step_is_traced_once():
    calls = []

    def loss(truth, found):
        calls.append(1)
        return keras.ops.mean(keras.ops.square(found[:, :1] - keras.ops.cast(truth[:, None], "float32")))

    def network(name):
        entry = keras.Input((3,), name="x")
        outputs = {one: keras.layers.Dense(2, name=one)(entry) for one in ("emotion", "gender")}
        made = keras.Model({"x": entry}, outputs, name=name)
        made.compile("adam", loss=dict.fromkeys(outputs, loss), jit_compile=False)
        return made

    batch = {"x": np.ones((4, 3), np.float32)}, {"emotion": np.zeros(4, np.int32), "gender": np.ones(4, np.int32)}
    network("plain").train_on_batch(*batch)
    assert len(calls) == 4  # two outputs, each traced twice: this is what must not happen
    prepared = network("prepared")
    model._create_variables(prepared)
    calls.clear()
    prepared.train_on_batch(*batch)
    assert len(calls) == 2


def test_batches_of_any_shape_are_predicted_with_a_single_trace():
    entry = {"waveform": keras.Input((None, 2), name="waveform"), "lengths": keras.Input((), name="lengths")}
    seen = []

    class Counting(keras.layers.Layer):
        def call(self, inputs):
            seen.append(1)
            return keras.ops.sum(inputs, axis=(1, 2))

    network = keras.Model(entry, {"sum": Counting()(entry["waveform"]) + entry["lengths"]})
    seen.clear()
    for rows, length in ((1, 5), (1, 9), (3, 7), (2, 5)):
        batch = {"waveform": np.full((rows, length, 2), 0.5, "f4"), "lengths": np.arange(rows, dtype="f4")}
        found = predict_batch(
            network, {**batch, "unused": np.zeros(1)} if keras.backend.backend() == "tensorflow" else batch
        )
        np.testing.assert_allclose(found["sum"], length + np.arange(rows))
    assert len(seen) == 1 or keras.backend.backend() != "tensorflow"


# --- half precision and accumulation


def batch(stage, rows):
    """Four utterances of equal length and with equally many masked frames, so the mean of the halves is that of all."""
    generator = np.random.default_rng(7)
    inputs = {"waveform": generator.normal(size=(4, 2400)).astype("f4"), "lengths": np.full(4, 2400, "i4")}
    labels = {"emotion": np.array([0, 1, 1, 0]), "gender": np.array([1, 1, 0, 0])}
    frames, weights = waveforms.frame_count(2400), None
    if stage == "stage2":
        names = [waveforms.output_name(clusters) for clusters in (3, 5, 6)]
        inputs["masked"] = np.tile(np.arange(frames) % 3 < 2, (4, 1)).astype("i4")
        labels = {name: generator.integers(0, 3, (4, frames)) for name in names}
        weights = dict.fromkeys(names, inputs["masked"][rows].astype("f4"))
    elif stage == "stage3":
        labels.pop("gender")
    return {n: v[rows] for n, v in inputs.items()}, {n: v[rows] for n, v in labels.items()}, weights


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3"])
def test_two_accumulated_halves_make_the_step_of_the_whole_batch(stage, precision, eager, policy):
    """Adam's first moment is a tenth of the clipped gradient of all four utterances in both cases."""
    policy(precision)
    config = reduced(hubert_dropout=0.0, layerdrop=0.0, clip_norm=0.05, precision=precision)
    moments = {}
    for parts in (1, 2):
        keras.utils.set_random_seed(3)
        own = dataclasses.replace(config, accumulation=parts)
        encoder = model.build_hubert(own, stage=int(stage[-1]))
        network = getattr(model, f"build_{stage}")(own, encoder, *(() if stage == "stage2" else (2,)))
        assert model.encoder_of(network).get_layer("layer_1").compute_dtype == precision.removeprefix("mixed_")
        before = network.get_weights()
        for k in range(parts):
            assert all(map(np.array_equal, network.get_weights(), before))  # no step before the last part
            loss = network.train_on_batch(*batch(stage, slice(4 * k // parts, 4 * (k + 1) // parts)))
        assert np.isfinite(loss).all()
        assert not all(map(np.array_equal, network.get_weights(), before))
        first = [np.asarray(one).ravel() for one in network.optimizer._momentums]
        moments[parts] = np.concatenate(first)
    assert np.linalg.norm(moments[1]) == pytest.approx(0.1 * 0.05, rel=0.01)  # clipped once, after accumulation
    apart = np.linalg.norm(moments[2] - moments[1]) / np.linalg.norm(moments[1])
    # bfloat16 rounds with an error of 2^-9.
    assert apart < (1e-3 if precision == "float32" else 0.05)


def test_half_precision_trains_every_stage_of_every_fold(eager, monkeypatch, policy):
    """Loss scale 0, which a reused optimiser once had, makes gradients that are not finite, and no steps."""
    monkeypatch.setattr(model, "_TRACED", {})
    config = reduced(precision="mixed_float16", batch_size=1, pooling="mean", loss="ce")
    steps = []
    train = stages.train_epochs

    def counted(network, *arguments):
        before = network.get_weights()
        train(network, *arguments)
        scale = float(network.optimizer.dynamic_scale.value)
        moved = not all(map(np.array_equal, network.get_weights(), before))
        steps.append((network.name[-1], int(network.optimizer.iterations), scale, moved))

    monkeypatch.setattr(stages, "train_epochs", counted)
    for fold in range(2):
        fit(config, part(4, fold), part(0, 9), Context(seed=fold))
    assert [stage for stage, *_ in steps] == ["1", "2", "3"] * 2
    # A step is skipped, and the scale halved, while it is too large for a gradient.
    for _, count, scale, moved in steps:
        assert moved and 1 <= count <= 4 and scale == 2.0 ** (15 - (4 - count)), steps


def test_all_stages_train_in_the_chosen_precision(eager, policy):
    fitted = fit(reduced(precision="mixed_bfloat16", accumulation=2), part(4, 0), part(0, 1), Context(seed=1))
    for name in ("gmp_atl_stage1", "gmp_atl_stage2", "gmp_atl_stage3"):
        network = model._TRACED[name][1]
        assert network.get_layer("hubert").get_layer("layer_2").compute_dtype == "bfloat16"
        assert all(weight.dtype == "float32" for weight in network.trainable_weights)
    assert fitted.model.get_layer("hubert").get_layer("layer_2").compute_dtype == "bfloat16"
    columns = fitted.predict(part(3, 2).without_labels())
    np.testing.assert_allclose(sum(columns.values()), 1.0, atol=1e-6)


# --- learning rates


def test_rates_rise_in_the_warm_up_and_heads_have_their_own():
    """With equal gradients in all steps, each step of Adam is as long as its learning rate."""
    config = reduced(warmup_steps=4, accumulation=2, learning_rate=1e-3, head_learning_rate=5e-3, clip_norm=0.0)
    network = model.build_stage3(config, model.build_hubert(config, stage=3), 3)
    weights = network.trainable_weights
    within = {id(weight) for weight in model.encoder_of(network).trainable_weights}
    ones = [np.ones(weight.shape, "f4") for weight in weights]
    for share in (0.25, 0.5, 0.75, 1.0, 1.0):
        before = [np.array(weight.value) for weight in weights]
        for _ in range(2):
            network.optimizer.apply([keras.ops.convert_to_tensor(one) for one in ones], weights)
        for weight, old in zip(weights, before, strict=True):
            rate = share * (1e-3 if id(weight) in within else 5e-3)
            np.testing.assert_allclose(old - np.array(weight.value), rate, rtol=2e-3, atol=1e-6, err_msg=weight.path)
    assert 0 < len(within) < len(weights)


# --- every utterance counts the same


def step_of(network, start, batches):
    """The accumulated gradient of some batches, as the step of gradient descent with rate 1."""
    network.set_weights(start)
    parts = len(batches)
    network.optimizer = keras.optimizers.SGD(1.0, gradient_accumulation_steps=parts if parts > 1 else None)
    for one in batches:
        network.train_on_batch(*one)
    moved = zip(start, network.get_weights(), strict=True)
    return np.concatenate([(old - new).ravel() for old, new in moved if old.dtype.kind == "f"])


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_the_accumulated_gradient_is_the_mean_over_utterances_or_frames(stage, eager):
    """Parts of three and two utterances of other lengths; the mean of the parts' means would be another one.

    By hand: each utterance alone, without padding; with pseudo-labels, weighted by its number of masked frames.
    """
    keras.utils.set_random_seed(1)
    config = gmp_atl_data.reduced(batch_size=5, accumulation=2, pooling="mean")
    utterances = gmp_atl_data.part(5, 0, 2000, 6000)
    lengths = waveforms.sample_counts(utterances)
    generator = np.random.default_rng(0)
    if stage == "stage1":
        labels = waveforms.StageLabels({"emotion": utterances.labels, "gender": np.array([0, 1, 1, 0, 1])})
    else:
        drawn = [generator.integers(0, 3, (waveforms.frame_count(int(n)), 3)).astype(np.uint16) for n in lengths]
        labels = waveforms.StageLabels({}, drawn)
    network = getattr(model, f"build_{stage}")(
        config, model.build_hubert(config, stage=int(stage[-1])), *((3,) if stage == "stage1" else ())
    )
    start = network.get_weights()
    batches = waveforms.Batches(config, utterances, lengths, labels, 1, 0)
    parts = [batches[number] for number in range(len(batches))]
    assert sorted(len(rows) for rows, _ in batches.plan) == [2, 3]
    accumulated = step_of(network, start, parts)
    alone, shares = [], []
    for inputs, truth, _ in parts:
        for row, samples in enumerate(inputs["lengths"]):
            one = {"waveform": inputs["waveform"][row : row + 1, :samples], "lengths": inputs["lengths"][row : row + 1]}
            frames, weights, share = waveforms.frame_count(int(samples)), None, 1
            if stage == "stage2":
                one["masked"] = inputs["masked"][row : row + 1, :frames]
                share = int(one["masked"].sum())
                weights = dict.fromkeys(truth, one["masked"].astype("f4") * frames / share)
            cut = {name: values[row : row + 1, :frames] if stage == "stage2" else values[row : row + 1]
                   for name, values in truth.items()}  # fmt: skip
            alone.append(step_of(network, start, [(one, cut, weights)]))
            shares.append(share)
    expected = np.average(alone, axis=0, weights=shares)
    scale = np.linalg.norm(expected)
    assert np.linalg.norm(accumulated - expected) < 2e-3 * scale
    wrong = [np.average(alone[first:last], axis=0, weights=shares[first:last])
             for first, last in ((0, len(parts[0][0]["lengths"])), (len(parts[0][0]["lengths"]), 5))]  # fmt: skip
    assert np.linalg.norm(np.mean(wrong, axis=0) - expected) > 0.02 * scale
