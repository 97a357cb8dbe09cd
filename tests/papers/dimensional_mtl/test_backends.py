"""The same epochs under TensorFlow and under JAX: same weights, same batches, same losses, same weights after them."""

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
from common.training import jit_compile
from tests.helpers.dimensional import part, reduced
from papers.dimensional_mtl.batches import Batches
from papers.dimensional_mtl.data import Preprocessor, labels
from papers.dimensional_mtl.experiments import PAPER
from papers.dimensional_mtl.model import build_loss, build_model

results = {}
for row in ("table3/iemocap/cnn-paa-lld", "table4/iemocap/lstm-we"):
    config = reduced(PAPER.experiment("dimensional_mtl/" + row).config,
                     acoustic_dropout=0.0, text_dropout=0.0, fusion_dropout=0.0)
    learnt = part(8)
    preprocessor = Preprocessor.fitted(config, learnt)
    shape = preprocessor.acoustic_shape if config.uses_audio else ()
    model = build_model(config, shape, len(preprocessor.vocabulary) if config.uses_words else 0)
    generator = np.random.default_rng(0)
    model.set_weights([
        np.abs(generator.normal(1, 0.1, w.shape)) if "normalisation" in v.path else generator.normal(0, 0.3, w.shape)
        for v, w in zip(model.weights, model.get_weights())
    ])
    model.compile(keras.optimizers.SGD(0.05), build_loss(config), jit_compile=jit_compile())
    history = model.fit(Batches(preprocessor, learnt, 4, labels(learnt, config)), epochs=2, shuffle=False,
                        verbose=0).history["loss"]
    results[row] = history + [float(np.abs(w).sum()) for w in model.get_weights()]
print(json.dumps({"results": results, "tensorflow imported": "tensorflow" in sys.modules}))
"""


def step(backend):
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, timeout=300, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_two_epochs_are_the_same_under_tensorflow_and_jax():
    pytest.importorskip("jax")
    tensorflow, jax = step("tensorflow"), step("jax")
    assert tensorflow["tensorflow imported"] and not jax["tensorflow imported"]
    assert len(tensorflow["results"]) == 2
    for row, expected in tensorflow["results"].items():
        assert expected[0] != expected[1]
        np.testing.assert_allclose(jax["results"][row], expected, rtol=1e-3, err_msg=row)
