import math
import os
import random
import subprocess
import sys

import keras
import numpy as np
import pytest

from common.contract import Context
from common.training import BestEpoch, jit_compile, seed_everything

DATA = np.zeros((4, 1), np.float32), np.ones((4, 1), np.float32)


def counting_model():
    """A model whose bias grows by 1 in each epoch, since its loss is minus its output."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(
        optimizer=keras.optimizers.SGD(1.0),
        loss=lambda truth, prediction: -keras.ops.mean(prediction, axis=-1),
        jit_compile=jit_compile(),
    )
    return model


def bias(model):
    return float(keras.ops.convert_to_numpy(model.layers[-1].bias)[0])


def train(scores, patience=10, epochs=None, context=None):
    """Fits with scripted scores; after epoch number e (from 0) the bias is e + 1."""
    model, context = counting_model(), context or Context()
    script = iter(scores or [])
    callback = BestEpoch(None if scores is None else lambda: next(script), patience, context)
    epochs = epochs or len(scores)
    model.fit(*DATA, batch_size=4, epochs=epochs, callbacks=[callback], verbose=0)
    return model, context, callback


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([0.1, 0.5, 0.3], 2),
        ([0.9, 0.5, 0.3], 1),
        ([0.1, 0.2, 0.3], 3),
        ([0.5, 0.5, 0.5], 1),  # a tie is not better
        ([-3.0, -1.0, -2.0], 2),
        ([math.nan, 0.2, 0.1], 2),
        ([0.2, math.nan, 0.1], 1),
    ],
)
def test_weights_of_the_best_epoch_are_restored(scores, best):
    model, context, callback = train(scores)
    assert bias(model) == best
    assert callback.best_epoch == best - 1
    np.testing.assert_array_equal(context.history["validation"], scores)


@pytest.mark.parametrize(
    ("scores", "patience", "epochs", "best"),
    [
        ([0.5, 0.4, 0.4, 0.6, 0.7], 2, 3, 1),  # two epochs without a better score end it
        ([0.5, 0.4, 0.6, 0.5, 0.5, 0.9], 2, 5, 3),  # a better score starts the count again
        ([0.5, 0.4, 0.9], 1, 2, 1),
        ([0.1, 0.2, 0.3, 0.4], 1, 4, 4),
        ([math.nan] * 6, 3, 4, 4),  # never a score: the last epoch stays
    ],
)
def test_training_stops_after_patience(scores, patience, epochs, best):
    model, context, _ = train(scores, patience)
    assert len(context.history["validation"]) == epochs
    assert bias(model) == best


def test_without_a_score_the_last_epoch_is_kept():
    model, context, _ = train(None, patience=1, epochs=5)
    assert bias(model) == 5
    assert list(context.history) == ["loss"]
    assert len(context.history["loss"]) == 5


def test_batch_norm_statistics_are_restored_too():
    model = keras.Sequential([keras.Input((2,)), keras.layers.BatchNormalization(), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse", jit_compile=jit_compile())
    seen = []

    def score():
        seen.append([weight.copy() for weight in model.get_weights()])
        return [0.1, 0.9, 0.2, 0.3][len(seen) - 1]

    data = np.random.default_rng(0).normal(3, 2, (16, 2)), np.ones((16, 1))
    model.fit(*data, epochs=4, callbacks=[BestEpoch(score, 10, Context())], verbose=0)
    for found, best, last in zip(model.get_weights(), seen[1], seen[3], strict=True):
        np.testing.assert_array_equal(found, best)
        assert not np.array_equal(best, last)


def test_history_and_progress():
    reports = []
    context = Context(on_epoch=lambda *at: reports.append(at))
    train([0.25, 0.5], context=context)
    # The loss is minus the bias, before its step.
    assert context.history == {"loss": [0.0, -1.0], "validation": [0.25, 0.5]}
    assert all(type(value) is float for values in context.history.values() for value in values)
    assert [at[:2] for at in reports] == [(1, 2), (2, 2)]
    assert reports[1][2]["validation"] == 0.5


def test_a_new_callback_starts_from_the_beginning():
    context = Context()
    first, *_ = train([0.9, 0.1], context=context)
    second, *_ = train([0.1, 0.2], context=context)
    assert (bias(first), bias(second)) == (1, 2)
    assert context.history["validation"] == [0.9, 0.1, 0.1, 0.2]


def test_python_numpy_and_keras_are_seeded():
    def draw():
        return random.random(), np.random.rand(), float(keras.random.normal(()))

    seed_everything(3)
    first = draw()
    seed_everything(4)
    other = draw()
    seed_everything(3)
    assert draw() == first
    assert all(a != b for a, b in zip(first, other, strict=True))


SAME_BYTES = """
import hashlib, sys
import keras, numpy as np
from common.layers.cosine import CosineDense
from common.losses import apfl
from common.training import jit_compile, seed_everything

def fit(seed):
    seed_everything(seed, deterministic=True)
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((24, 16, 1)), layers.Conv2D(8, 3, strides=2), layers.BatchNormalization(), layers.ReLU(),
         layers.Flatten(), layers.Dropout(0.3), CosineDense(3)]
    )
    model.compile(optimizer="adam", loss=apfl(2.0, 0.3), jit_compile=jit_compile())
    generator = np.random.default_rng(0)
    images = generator.normal(size=(24, 24, 16, 1)).astype("float32")
    model.fit(images, generator.integers(0, 3, 24), batch_size=8, epochs=2, verbose=0)
    return hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest()

print(*[fit(int(seed)) for seed in sys.argv[1:]])
"""


def test_deterministic_runs_give_the_same_bytes():
    # In other processes, since op determinism cannot be switched off; they differ in hash seed and order.
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SAME_BYTES, *seeds],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": seeds[0]},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for seeds in (("1", "2"), ("2", "1"))
    ]
    outputs = [process.communicate(timeout=180)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    (first, second), (second_again, first_again) = outputs
    assert (first, second) == (first_again, second_again)
    assert first != second
