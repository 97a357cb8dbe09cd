"""The same three phases under TensorFlow and JAX: same weights, batch and draws, same losses and weights after."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers import ROOT

PROGRAM = """
import json, sys
import keras, numpy as np
from tests.helpers import aae
from common.contract import Context
from papers.mtl_aae.model import build_model
from papers.mtl_aae.phases import Phases
from papers.mtl_aae.train import fit

results = {}
for name, changes in {
    "aae": {}, "ae": {"model": "ae", "tasks": "emotion", "distance": "absolute"},
}.items():
    config = aae.small(dropout=0.0, **changes)
    tasks = ("emotion", *config.secondary)
    model = build_model(config, {task: aae.TASKS[task] for task in tasks})
    generator = np.random.default_rng(0)
    model.set_weights([
        w if "seed" in v.path else np.abs(generator.normal(1, 0.1, w.shape)) if "norm" in v.path
        else generator.normal(0, 0.3, w.shape)
        for v, w in zip(model.weights, model.get_weights())
    ])
    trained = Phases(config, model, tasks)
    drawn = np.abs(generator.normal(size=(6, *config.latent_shape))).astype("float32")
    trained.draw_prior = lambda shape, dtype: keras.ops.convert_to_tensor(drawn)
    logs = [{k: float(v) for k, v in trained.step(aae.batch(config, seed=s)).items()} for s in range(2)]
    after = [float(np.abs(w).sum()) for v, w in zip(model.weights, model.get_weights()) if "seed" not in v.path]
    results[name] = [logs, after]
imported = "tensorflow" in sys.modules
total = 3
if keras.backend.backend() == "jax":  # on TensorFlow other tests fit
    config = aae.small(epochs=2, model="ae", tasks="emotion")
    fitted = fit(config, aae.part(8), aae.part(4, seed=1), Context(auxiliary=aae.auxiliary()))
    total = float(sum(fitted.predict(aae.part(3).without_labels()).values()).sum())
print(json.dumps({"results": results, "total": total, "tensorflow imported": imported}))
"""


def run(backend):
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_two_steps_are_the_same_under_tensorflow_and_jax():
    pytest.importorskip("jax")
    tensorflow, jax = run("tensorflow"), run("jax")
    assert tensorflow["tensorflow imported"] and not jax["tensorflow imported"]
    assert jax["total"] == pytest.approx(3)  # probabilities of three utterances
    for name, (logs, after) in tensorflow["results"].items():
        for expected, found in zip(logs, jax["results"][name][0], strict=True):
            assert expected.keys() == found.keys()
            for key, value in expected.items():
                assert found[key] == pytest.approx(value, rel=1e-4), (name, key)
        assert logs[0] != logs[1]
        np.testing.assert_allclose(jax["results"][name][1], after, rtol=1e-4, atol=1e-4, err_msg=name)
