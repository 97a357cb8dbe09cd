"""The same three phases under TensorFlow and JAX: same weights, batch and draws, same losses and weights after."""

import sys

import keras
import numpy as np
import pytest

from common.contract import Context
from papers.mtl_aae.model import build_model
from papers.mtl_aae.phases import Phases
from papers.mtl_aae.train import fit
from tests.helpers import aae
from tests.helpers.eagerly import eagerly

eager = pytest.fixture(eagerly)


def drawn_weight(weight, generator):
    if "seed" in weight.path:
        return weight.numpy()
    if "norm" in weight.path:
        return np.abs(generator.normal(1, 0.1, weight.shape))
    return generator.normal(0, 0.3, weight.shape)


def two_steps():
    results = {}
    for name, changes in {
        "aae": {},
        "ae": {"model": "ae", "tasks": "emotion", "distance": "absolute", "optimiser": "sgd"},
    }.items():
        config = aae.small(dropout=0.0, **changes)
        tasks = ("emotion", *config.secondary)
        model = build_model(config, {task: aae.TASKS[task] for task in tasks})
        generator = np.random.default_rng(0)
        model.set_weights([drawn_weight(weight, generator) for weight in model.weights])
        trained = Phases(config, model, tasks)
        drawn = np.abs(generator.normal(size=(6, *config.latent_shape))).astype("float32")
        trained.draw_prior = lambda shape, dtype, drawn=drawn: keras.ops.convert_to_tensor(drawn)
        logs = [{k: float(v) for k, v in trained.step(aae.batch(config, seed=s)).items()} for s in range(2)]
        after = [float(np.abs(w.numpy()).sum()) for w in model.weights if "seed" not in w.path]
        results[name] = [logs, after]
    imported = "tensorflow" in sys.modules
    total = 3.0
    if keras.backend.backend() == "jax":  # on TensorFlow other tests fit
        config = aae.small(epochs=2, model="ae", tasks="emotion", optimiser="sgd")
        fitted = fit(config, aae.part(8), aae.part(4, seed=1), Context(auxiliary=aae.auxiliary()))
        total = float(sum(fitted.predict(aae.part(3).without_labels()).values()).sum())
    return {"results": results, "total": total, "tensorflow imported": imported}


def test_two_steps_are_the_same_under_tensorflow_and_jax(eager, under_jax):
    tensorflow, jax = two_steps(), under_jax(two_steps)
    assert tensorflow["tensorflow imported"] and not jax["tensorflow imported"]
    assert jax["total"] == pytest.approx(3)  # probabilities of three utterances
    for name, (logs, after) in tensorflow["results"].items():
        for expected, found in zip(logs, jax["results"][name][0], strict=True):
            assert expected.keys() == found.keys()
            for key, value in expected.items():
                assert found[key] == pytest.approx(value, rel=1e-4), (name, key)
        assert logs[0] != logs[1]
        np.testing.assert_allclose(jax["results"][name][1], after, rtol=1e-4, atol=1e-4, err_msg=name)
