"""Training Keras models: seeds, choice of the best epoch, several devices, and fast prediction of batches."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from common.contract import Context


def seed_everything(seed: int, *, deterministic: bool = False) -> None:
    """Seeds Python, NumPy and Keras.

    Args:
        seed: any int >= 0.
        deterministic: also forbid operations whose result depends on timing, for the rest of the process: the same
            seed then gives the same bytes, but training is slower. JAX is always deterministic on a CPU; on a GPU, the
            process must be started with XLA_FLAGS=--xla_gpu_deterministic_ops=true.
    """
    keras.utils.set_random_seed(seed)
    if deterministic and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    elif deterministic and keras.backend.backend() == "torch":
        import torch

        torch.use_deterministic_algorithms(True)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def clear_models() -> None:
    """Frees the memory of earlier models, except what TensorFlow keeps of their training steps.

    Call it only between trials, because it also resets the precision and the devices of `data_parallel`.
    """
    keras.utils.clear_session(free_memory=True)


class BestEpoch(keras.callbacks.Callback):
    """Restores the weights of the epoch with the best score, and stops training early.

    The score should be computed from predictions of the whole validation part, not averaged over batches.

    Args:
        score: function that is called after each epoch; larger is better. None: keep the last epoch.
        patience: number of epochs without a better score after which training stops.
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

    def on_train_begin(self, logs=None):
        """Creates the optimizer's variables; TensorFlow would do so in the first step, and then trace it twice."""
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is not None and not optimizer.built:
            optimizer.build(self.model.trainable_variables)

    def on_epoch_end(self, epoch, logs=None):
        """Scores the epoch, keeps its weights if it is the best one, and reports it."""
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
        """Restores the weights of the best epoch."""
        if self.weights is not None:
            self.model.set_weights(self.weights)


def train_epochs(
    model: keras.Model, batches: Callable[[int], keras.utils.PyDataset], epochs: int, best: BestEpoch
) -> None:
    """Trains on other batches in each epoch, whose number may change.

    `Model.fit` alone would count the batches of the first epoch and use that number in all epochs.

    Args:
        model: compiled model.
        batches: function from the number of an epoch, from 0, to its batches.
        epochs: number of epochs, unless `best` stops training earlier.
        best: chooses the epoch and reports progress.
    """
    best.set_model(model)
    best.set_params({"epochs": epochs})
    model.stop_training = False
    best.on_train_begin()
    for epoch in range(epochs):
        history = model.fit(batches(epoch), epochs=epoch + 1, initial_epoch=epoch, shuffle=False, verbose=0)
        best.on_epoch_end(epoch, {name: values[-1] for name, values in history.history.items()})
        if model.stop_training:
            break
    best.on_train_end()


def predict_batch(model: keras.Model, inputs: Mapping[str, np.ndarray]) -> Any:
    """Predicts one batch, as `Model.predict_on_batch`, without repeated tracing for batches of different shapes.

    Under TensorFlow, `predict_on_batch` traces the model again for new shapes; this function traces it once.

    Args:
        model: model with a dict of inputs.
        inputs: arrays by the names of the inputs.

    Returns:
        The outputs as NumPy arrays, in the model's structure.
    """
    if keras.backend.backend() != "tensorflow":
        return model.predict_on_batch(dict(inputs))
    import tensorflow as tf

    if not hasattr(model, "predict_any_shape"):
        signature = {name: tf.TensorSpec(one.shape, one.dtype) for name, one in model.input.items()}
        model.predict_any_shape = tf.function(lambda batch: model(batch, training=False), input_signature=[signature])
    outputs = model.predict_any_shape({name: tf.convert_to_tensor(inputs[name]) for name in model.input})
    return keras.tree.map_structure(np.asarray, outputs)


@contextlib.contextmanager
def data_parallel(devices: Sequence[str] | None = None) -> Iterator[int]:
    """Context manager: models that are built and trained inside share each batch among several devices.

    TensorFlow uses `tf.distribute.MirroredStrategy`, JAX uses `keras.distribution.DataParallel`. With one device, and
    under PyTorch, nothing changes. The size of a batch should be a multiple of the number of devices: TensorFlow gives
    unequal shares equal weight, and JAX refuses them.

    Args:
        devices: names of the devices in the backend ("gpu:0", "cpu:1"); None: all GPUs (under JAX: all devices of its
            default platform).

    Yields:
        The number of devices.
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
    """Returns the argument of that name for `Model.compile`.

    Under TensorFlow it is False, since XLA cannot compile cuDNN's recurrent layers and needs minutes for deep networks
    on a CPU.
    """
    return False if keras.backend.backend() == "tensorflow" else "auto"
