"""Starting Keras' backend without the notes that it prints."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile


def start_backend() -> None:
    """Imports Keras and its backend and looks for devices, without their messages.

    TensorFlow writes start-up notes (and, on a machine without a GPU, an error line about it) straight to file
    descriptor 2 before any log level takes effect. They are shown only if the start fails, or if TF_CPP_MIN_LOG_LEVEL
    asks for them.
    """
    if "keras" in sys.modules:
        _hide_retracing_warnings()
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
        _hide_retracing_warnings()


def _hide_retracing_warnings() -> None:
    """Hides TensorFlow's warnings about retracing, which are expected: each trial has its own model to trace."""
    logging.getLogger("tensorflow").addFilter(_is_not_about_retracing)


def _is_not_about_retracing(record: logging.LogRecord) -> bool:
    return "retracing" not in record.getMessage()
