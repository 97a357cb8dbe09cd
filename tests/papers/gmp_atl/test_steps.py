"""Steps of the three stages: traced once for all folds, in half precision, with accumulated gradients."""

import dataclasses

import keras
import numpy as np
import pytest

from common.contract import Context
from common.training import predict_batch
from papers.gmp_atl import data, model
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


def test_a_fold_does_not_depend_on_earlier_folds(eager, monkeypatch):
    """Dropout, skipped layers and accumulated gradients are on: everything that a reused network could carry over."""
    monkeypatch.setattr(model, "_TRACED", {})
    config = reduced(accumulation=2, pseudo_labels=False, loss="ce")
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
        taken.append(model.traced_network(config, model.build_stage3(config, model.build_hubert(config, stage=3), classes)))
    assert len({id(network) for network in taken[:3]}) == 3 and taken[3] is taken[2]
    monkeypatch.setattr(model, "MAX_KEPT_WEIGHTS", 0)  # three networks of base size would fill a GPU
    config = reduced(margin=0.4)
    assert (
        model.traced_network(config, model.build_stage3(config, model.build_hubert(config, stage=3), 3)).name == "gmp_atl_stage3"
    )
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
    frames, weights = data.frame_count(2400), None
    if stage == "stage2":
        names = [data.output_name(clusters) for clusters in (3, 5, 6)]
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


def test_all_stages_train_in_the_chosen_precision(eager, policy):
    fitted = fit(reduced(precision="mixed_bfloat16", accumulation=2), part(4, 0), part(0, 1), Context(seed=1))
    for name in ("gmp_atl_stage1", "gmp_atl_stage2", "gmp_atl_stage3"):
        network = model._TRACED[name][1]
        assert network.get_layer("hubert").get_layer("layer_2").compute_dtype == "bfloat16"
        assert all(weight.dtype == "float32" for weight in network.trainable_weights)
    assert fitted.model.get_layer("hubert").get_layer("layer_2").compute_dtype == "bfloat16"
    columns = fitted.predict(part(3, 2).without_labels())
    np.testing.assert_allclose(sum(columns.values()), 1.0, atol=1e-6)
