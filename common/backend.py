"""Keras' backend: which one it is, its settings, and starting it without the notes that it prints."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import tempfile
from pathlib import Path

FLOATX = "float32"
IMAGE_DATA_FORMAT = "channels_last"
"""The papers' networks are defined for these two settings, whatever ~/.keras/keras.json says."""


def backend_name() -> str:
    """The backend that Keras uses or will use, without importing it."""
    if "keras" in sys.modules:
        return sys.modules["keras"].backend.backend()
    if name := os.environ.get("KERAS_BACKEND"):
        return name
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    try:
        return json.loads((home / "keras.json").read_bytes())["backend"]
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow"


def start_backend() -> None:
    """Imports Keras and its backend, looks for devices, without their messages, and sets what results depend on.

    TensorFlow writes start-up notes (and, on a machine without a GPU, an error line about it) straight to file
    descriptor 2 before any log level takes effect. They are shown only if the start fails, or if TF_CPP_MIN_LOG_LEVEL
    asks for them.
    """
    if "keras" in sys.modules:
        _configure()
        return
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2") < "2":
        _start()
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    with tempfile.TemporaryFile() as held, contextlib.ExitStack() as stack:
        sys.stderr.flush()
        original = os.dup(2)
        os.dup2(held.fileno(), 2)
        stack.callback(os.close, original)
        stack.callback(os.dup2, original, 2)
        try:
            _start()
        except BaseException:
            held.seek(0)
            os.write(original, held.read())
            raise


def _start() -> None:
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.list_physical_devices("GPU")
    _configure()


def _configure() -> None:
    """Replaces settings of keras.json and of the environment that change results."""
    import keras

    keras.config.set_floatx(FLOATX)
    keras.config.set_image_data_format(IMAGE_DATA_FORMAT)
    keras.config.set_epsilon(1e-7)
    for limit in ("set_max_epochs", "set_max_steps_per_epoch"):  # not in older versions of Keras 3
        getattr(keras.config, limit, lambda value: None)(None)
    _hide_retracing_warnings()


def _hide_retracing_warnings() -> None:
    """Hides TensorFlow's warnings about retracing, which are expected: each trial has its own model to trace."""
    logging.getLogger("tensorflow").addFilter(_is_not_about_retracing)


def _is_not_about_retracing(record: logging.LogRecord) -> bool:
    return "retracing" not in record.getMessage()
