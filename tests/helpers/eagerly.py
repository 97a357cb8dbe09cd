"""Steps without tracing them first, which takes longer than a few steps of a small network."""

import keras


def eagerly():
    """What a fixture of any scope does: TensorFlow runs functions eagerly meanwhile."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.run_functions_eagerly(True)
        yield
        tf.config.run_functions_eagerly(False)
    else:
        yield
