"""The same first steps under TensorFlow and under JAX: same weights, same batch, same losses and same weights.

RH-Emo's own step is compared in double precision: TensorFlow's fused batch normalisation rounds so that in single
precision its gradients may differ by parts in a thousand, and much more where they are small. With anti-transfer, which
is computed in single precision, RH-Emo is fixed here.
"""

import sys

import keras
import numpy as np
import pytest

from common.contract import Context
from common.training import jit_compile
from papers.quaternion_at import model
from tests.helpers.eagerly import eagerly
from tests.helpers.quaternion_at_data import small

eager = pytest.fixture(eagerly)

ROWS = (
    ("real", "none", "paper"),
    ("real", "S", "paper"),
    ("quat", "none", "paper"),
    ("quat", "W", "paper"),
    ("quat", "S", "authors"),
)
"""Network, anti-transfer and its variant."""


@pytest.fixture
def _single_precision_afterwards():
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def fill(network, generator):
    weights = [
        np.abs(generator.normal(1, 0.1, w.shape)) if "norm" in w.path else generator.normal(0, 0.3, w.shape)
        for w in network.weights
    ]
    network.set_weights(weights)


def two_steps():
    results = {}
    generator = np.random.default_rng(0)
    for network, method, variant in ROWS:
        precision = "float64" if network == "quat" and method == "none" else "float32"
        keras.config.set_floatx(precision)
        keras.config.set_dtype_policy(precision)
        changes = {"width": 0.001, "shrink": 2, "dropout": 0.0, "at_variant": variant, "rhemo_training": "trainable"}
        config = small(network, method, **changes)
        vgg, encoder = model.build_vgg(config, 3), model.build_encoder(config, Context())
        fill(vgg, generator)
        if encoder is not None:
            encoder.trainable = method == "none"
        training = model.chained(encoder, vgg)
        if method != "none":
            whole = model.build_vgg(config, 10)
            fill(whole, generator)
            signature = model.signature_of(keras.Model(whole.input, whole.get_layer("relu3").output), config)
            training = model.with_anti_transfer(vgg, 3, config, signature, encoder=encoder)
        images = np.abs(generator.normal(size=(4, 256, 64, 1))).astype("float32")
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        training.compile(keras.optimizers.SGD(0.002), loss, jit_compile=jit_compile())
        labels = np.array([0, 1, 2, 0])
        first = float(training.train_on_batch(images, labels))
        after = [float(np.abs(w).sum()) for w in vgg.get_weights()]
        after += [] if encoder is None else [float(np.abs(w).sum()) for w in encoder.get_weights()]
        training.reset_metrics()
        second = float(training.train_on_batch(images, labels))
        results[f"{network} {method} {variant}"] = {"first": first, "second": second, "after": after}
    return {"results": results, "tensorflow imported": "tensorflow" in sys.modules}


def test_one_step_is_the_same_under_tensorflow_and_jax(_single_precision_afterwards, under_jax, eager):
    tensorflow, jax = two_steps(), under_jax(two_steps_in_64_bits)
    assert tensorflow["tensorflow imported"] and not jax["tensorflow imported"]
    assert set(tensorflow["results"]) == {
        "real none paper", "real S paper", "quat none paper", "quat W paper", "quat S authors",
    }  # fmt: skip
    for row, expected in tensorflow["results"].items():
        found = jax["results"][row]
        assert abs(expected["first"] - expected["second"]) > 5e-3
        np.testing.assert_allclose(found["first"], expected["first"], rtol=1e-5, err_msg=row)
        np.testing.assert_allclose(found["after"], expected["after"], rtol=1e-4, atol=1e-6, err_msg=row)
        np.testing.assert_allclose(found["second"], expected["second"], rtol=1e-4, err_msg=row)


def two_steps_in_64_bits():
    """JAX computes in double precision only where it is told so."""
    import jax

    jax.config.update("jax_enable_x64", True)
    return two_steps()
