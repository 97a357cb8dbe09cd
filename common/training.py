"""Training: seeds, and epochs chosen on whole-vector validation metrics."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from common.contract import Context


def seed_everything(seed: int, *, deterministic: bool = False) -> None:
    """Seeds Python, NumPy and Keras; with `deterministic`, also forbids operations whose result depends on timing.

    Args:
        seed: any int >= 0.
        deterministic: same seed, same bytes, at some cost in speed. It lasts as long as the process. JAX is
            deterministic on a CPU as it is; on a GPU it needs XLA_FLAGS=--xla_gpu_deterministic_ops=true from the
        start.
    """
    keras.utils.set_random_seed(seed)
    if deterministic and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    elif deterministic and keras.backend.backend() == "torch":
        import torch

        torch.use_deterministic_algorithms(True)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def forget_models() -> None:
    """Frees what Keras keeps of earlier models; what TensorFlow keeps of their training steps it cannot free.

    Between trials only: the precision that was set, and the devices of `data_parallel`, are forgotten with them.
    """
    keras.utils.clear_session(free_memory=True)


class BestEpoch(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the best score and stops when none has been better for a while.

    The score is computed from predictions of the whole validation set, so nothing is averaged over batches.

    Args:
        score: called after each epoch; larger is better. None: nothing is chosen, the last epoch stays.
        patience: epochs without a better score before training stops.
        context: receives history and progress.
    """

    def __init__(self, score: Callable[[], float] | None, patience: int, context: Context):
        super().__init__()
        self.score = score
        self.patience = patience
        self.context = context
        self.best = -np.inf
        self.best_epoch = 0
        self.weights = None

    def on_epoch_end(self, epoch, logs=None):
        """Scores the epoch."""
        logs = dict(logs or {})
        if self.score is not None:
            logs["validation"] = self.score()
            if logs["validation"] > self.best:
                self.best, self.best_epoch = logs["validation"], epoch
                self.weights = self.model.get_weights()
            elif epoch - self.best_epoch >= self.patience:
                self.model.stop_training = True
        for name, value in logs.items():
            self.context.history.setdefault(name, []).append(float(value))
        if self.context.on_epoch is not None:
            self.context.on_epoch(epoch + 1, self.params["epochs"], logs)

    def on_train_end(self, logs=None):
        """Restores the best epoch."""
        if self.weights is not None:
            self.model.set_weights(self.weights)


def fit_epochs(
    model: keras.Model, batches: Callable[[int], keras.utils.PyDataset], epochs: int, best: BestEpoch
) -> None:
    """Trains on batches that are cut anew for each epoch, also if their number changes.

    `Model.fit` alone counts the batches of the first epoch and stops there in all others.

    Args:
        model: compiled.
        batches: gives the batches of an epoch, counted from 0.
        epochs: at most so many.
        best: chooses and reports.
    """
    best.set_model(model)
    best.set_params({"epochs": epochs})
    model.stop_training = False
    for epoch in range(epochs):
        history = model.fit(batches(epoch), epochs=epoch + 1, initial_epoch=epoch, shuffle=False, verbose=0)
        best.on_epoch_end(epoch, {name: values[-1] for name, values in history.history.items()})
        if model.stop_training:
            break
    best.on_train_end()


def answer(model: keras.Model, inputs: Mapping[str, np.ndarray]) -> Any:
    """What a network answers to a batch, as `Model.predict_on_batch` does, in NumPy arrays.

    TensorFlow traces that one anew until it has met every side that varies; here once, for batches of any shape.

    Args:
        model: with a dict of inputs.
        inputs: by name.
    """
    if keras.backend.backend() != "tensorflow":
        return model.predict_on_batch(dict(inputs))
    import tensorflow as tf

    if not hasattr(model, "any_shape"):
        signature = {name: tf.TensorSpec(one.shape, one.dtype) for name, one in model.input.items()}
        model.any_shape = tf.function(lambda batch: model(batch, training=False), input_signature=[signature])
    found = model.any_shape({name: tf.convert_to_tensor(inputs[name]) for name in model.input})
    return keras.tree.map_structure(np.asarray, found)


@contextlib.contextmanager
def data_parallel(devices: Sequence[str] | None = None) -> Iterator[int]:
    """Models made and trained inside share each batch among devices; gives their number.

    TensorFlow does it by `tf.distribute.MirroredStrategy`, JAX by `keras.distribution.DataParallel`. On one device, and
    under Torch, nothing changes. A batch should have as many rows as a multiple of the devices: TensorFlow weighs
    unequal shares as equal ones, JAX refuses them.

    Args:
        devices: as the backend names them ("gpu:0", "cpu:1"); None: all GPUs (under JAX: all devices of its platform).
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        names = list(devices or (f"gpu:{number}" for number in range(len(tf.config.list_logical_devices("GPU")))))
        if len(names) > 1:
            with tf.distribute.MirroredStrategy([f"/{name}" for name in names]).scope():
                yield len(names)
            return
    elif backend == "jax":
        names = list(devices or keras.distribution.list_devices())
        if len(names) > 1:
            before = keras.distribution.distribution()
            keras.distribution.set_distribution(keras.distribution.DataParallel(devices=names))
            try:
                yield len(names)
            finally:
                keras.distribution.set_distribution(before)
            return
    yield 1


def jit_compile() -> bool | str:
    """What `Model.compile` should get: XLA costs minutes of compilation for deep networks on TensorFlow's CPU path."""
    return False if keras.backend.backend() == "tensorflow" else "auto"
