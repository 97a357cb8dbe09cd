"""The same epochs under TensorFlow and under JAX: same weights, same batches, same losses, same weights after them."""

import sys

import keras
import numpy as np

from common.training import jit_compile
from papers.dimensional_mtl.batches import Batches
from papers.dimensional_mtl.data import Preprocessor, labels
from papers.dimensional_mtl.experiments import PAPER
from papers.dimensional_mtl.model import build_loss, build_model
from tests.helpers.dimensional import part, reduced


def drawn_weight(weight, generator):
    if "normalisation" in weight.path:
        return np.abs(generator.normal(1, 0.1, weight.shape))
    return generator.normal(0, 0.3, weight.shape)


def two_epochs():
    results = {}
    for row in ("table3/iemocap/cnn-paa-lld", "table4/iemocap/lstm-we"):
        without_dropout = dict.fromkeys(("acoustic_dropout", "text_dropout", "fusion_dropout"), 0.0)
        config = reduced(PAPER.experiment("dimensional_mtl/" + row).config, **without_dropout)
        learnt = part(8)
        preprocessor = Preprocessor.fitted(config, learnt)
        shape = preprocessor.acoustic_shape if config.uses_audio else ()
        model = build_model(config, shape, len(preprocessor.vocabulary) if config.uses_words else 0)
        generator = np.random.default_rng(0)
        model.set_weights([drawn_weight(weight, generator) for weight in model.weights])
        model.compile(keras.optimizers.SGD(0.05), build_loss(config), jit_compile=jit_compile())
        batches = Batches(preprocessor, learnt, 4, labels(learnt, config))
        history = model.fit(batches, epochs=2, shuffle=False, verbose=0).history["loss"]
        results[row] = history + [float(np.abs(w).sum()) for w in model.get_weights()]
    return {"results": results, "tensorflow imported": "tensorflow" in sys.modules}


def test_two_epochs_are_the_same_under_tensorflow_and_jax(under_jax):
    tensorflow, jax = two_epochs(), under_jax(two_epochs)
    assert tensorflow["tensorflow imported"] and not jax["tensorflow imported"]
    assert len(tensorflow["results"]) == 2
    for row, expected in tensorflow["results"].items():
        assert expected[0] != expected[1]
        np.testing.assert_allclose(jax["results"][row], expected, rtol=1e-3, err_msg=row)
