"""Gradients in the middle of a step, on the backend of the tests and on JAX in another process."""

import keras
import numpy as np
import pytest
from keras import ops

from common.errors import UserError
from common.steps import Steps


def described():
    """The numbers to check, computed on the current backend."""
    a = keras.Variable(np.array([1.0, 2.0], "float32"))
    b = keras.Variable(np.array([3.0, -1.0], "float32"))
    count = keras.Variable(np.array(0.0, "float32"), trainable=False)
    steps = Steps([a, b, count])

    def loss():
        count.assign_add(1.0)
        return ops.sum(a * a * b), count + 0.0

    def step(batch):
        value, seen, gradients = steps.gradients(loss, [a])
        a.assign_sub(0.1 * gradients[0])
        # The second loss must use the updated variable.
        output, _, pull = steps.pullback(lambda x: (a * x, ()), [a], (batch["x"],))
        of_a, of_x = pull(ops.convert_to_tensor(np.array([1.0, 10.0], "float32")))
        return {
            "value": value,
            "seen": seen,
            "first": gradients[0],
            "output": output,
            "of a": of_a[0],
            "of x": of_x[0],
        }

    run = steps.compile(step)
    found = []
    for _ in range(2):
        logs = run({"x": np.array([5.0, 7.0], "float32")})
        found.append({name: np.asarray(value).tolist() for name, value in logs.items()})
    return {
        "logs": found,
        "a": np.asarray(a.value).tolist(),
        "b": np.asarray(b.value).tolist(),
        "count": float(count.value),
    }


def check(found):
    # By hand: loss = sum(a^2 b) = 3 - 4 = -1, its gradient 2ab = [6, -4]; a becomes [0.4, 2.4].
    first, second = found["logs"]
    assert first["value"] == pytest.approx(-1) and first["first"] == pytest.approx([6, -4])
    assert first["output"] == pytest.approx([2.0, 16.8])  # [0.4 * 5, 2.4 * 7]
    assert first["of a"] == pytest.approx([5, 70]) and first["of x"] == pytest.approx([0.4, 24])
    # Again: 3 * 0.16 - 5.76 = -5.28; gradient [2.4, -4.8]; a becomes [0.16, 2.88].
    assert second["value"] == pytest.approx(-5.28) and second["first"] == pytest.approx([2.4, -4.8])
    assert found["a"] == pytest.approx([0.16, 2.88]) and found["b"] == [3, -1]
    # A change of a variable inside the loss is kept, once per step.
    assert [logs["seen"] for logs in found["logs"]] == [1, 2] and found["count"] == 2


def test_gradients_and_updates_on_this_backend():
    check(described())


def test_gradients_and_updates_under_jax(under_jax):
    check(under_jax(described))


def test_an_unsupported_backend_is_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(UserError, match="needs the backend tensorflow or jax"):
        Steps([])


def test_a_variable_given_twice_is_refused():
    variable = keras.Variable(1.0)
    with pytest.raises(ValueError, match="twice"):
        Steps([variable, variable])
