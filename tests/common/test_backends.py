"""Losses and layers are equal on TensorFlow and JAX, and JAX does not import TensorFlow."""

import sys

import keras
import numpy as np

from common import losses
from common.layers.cosine import CosineDense
from common.training import jit_compile


def gradient(function, at):
    if keras.backend.backend() == "jax":
        import jax

        return jax.grad(function)(at)
    import tensorflow as tf

    at = tf.constant(at)
    with tf.GradientTape() as tape:
        tape.watch(at)
        value = function(at)
    return tape.gradient(value, at)


def numbers():
    """Values and gradients of the layer and of each loss."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(8, 6)).astype("float32")
    kernel = generator.normal(size=(6, 4)).astype("float32")
    outputs = generator.uniform(-1, 1, (8, 4)).astype("float32")
    edge = np.array([[1, 0, -1, 0], [1, -1, 0, 1]], "float32")
    labels = np.arange(8) % 4
    layer = CosineDense(4)
    layer.build((None, 6))
    layer.kernel.assign(kernel)
    family = {
        "softmax": losses.softmax(),
        "focal": losses.focal(2.0),
        "arcface": losses.arcface(0.3),
        "apfl": losses.apfl(0.5, 0.5),
        "am_softmax": losses.am_softmax(),
    }
    finite = {}
    result = {"cosines": layer(features), "cosines of nothing": layer(np.zeros((1, 6), "float32"))}
    for name, loss in family.items():

        def of_outputs(x, loss=loss):
            return loss(labels, x)

        def of_edge(x, loss=loss):
            return loss(labels[:2], x)

        def of_features(x, loss=loss):
            return loss(labels, layer(x))

        result[name] = loss.call(labels, outputs)
        result[name + ", reduced"] = loss(labels, outputs)
        result[name + ", slope"] = gradient(of_outputs, outputs)
        # At exactly +-1 the backends choose different subgradients, so only the losses are compared.
        result[name + ", edge"] = loss.call(labels[:2], edge)
        finite[name] = bool(np.isfinite(keras.ops.convert_to_numpy(gradient(of_edge, edge))).all())
        result[name + ", slope through the head"] = gradient(of_features, features)
    values = {
        name: np.asarray(keras.ops.convert_to_numpy(value), float).ravel().tolist() for name, value in result.items()
    }
    return {
        "backend": keras.backend.backend(),
        "tensorflow": "tensorflow" in sys.modules,
        "jit": jit_compile(),
        "finite": finite,
        "values": values,
    }


def test_jax_and_tensorflow_agree(under_jax):
    found = {"jax": under_jax(numbers), "tensorflow": numbers()}
    for backend, one in found.items():
        assert one["backend"] == backend
    assert found["jax"]["tensorflow"] is False
    assert found["tensorflow"]["tensorflow"] is True
    assert (found["jax"]["jit"], found["tensorflow"]["jit"]) == ("auto", False)
    values = [found[backend]["values"] for backend in ("jax", "tensorflow")]
    assert len(values[0]) == 2 + 5 * 5
    assert values[0].keys() == values[1].keys()
    for name in values[0]:
        one, two = np.array(values[0][name]), np.array(values[1][name])
        assert np.isfinite(one).all(), name
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5, err_msg=name)
    assert np.abs(values[0]["apfl, slope through the head"]).max() > 1e-3
    assert [all(found[backend]["finite"].values()) for backend in found] == [True, True]
