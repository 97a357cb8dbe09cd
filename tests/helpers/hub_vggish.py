"""A SavedModel like TF-Hub's VGGish, in TensorFlow's own operations, with which ours is compared."""

from __future__ import annotations

from common.features.vggish import mel_matrix
from common.models.vggish import variable_names


def save_like_hub(network, folder, rename=None, leave_out=(), extra=None):
    """Writes a SavedModel with the signature and variable names of google/vggish/1 and the weights of a network.

    Args:
        network: Keras VGGish of any width.
        folder: where to write it.
        rename: other names for some variables.
        leave_out: names of variables to leave out.
        extra: more variables, or other values.

    Returns:
        The folder.
    """
    import tensorflow as tf

    rename = rename or {}
    values = {}
    for key, name in variable_names().items():
        layer, kind = key.split("/")
        values[name] = network.get_layer(layer).get_weights()[0 if kind == "kernel" else 1]
    values |= extra or {}
    mel = tf.constant(mel_matrix(), tf.float32)

    class Module(tf.Module):
        def __init__(self):
            super().__init__()
            self._variables = [
                tf.Variable(value, name=rename.get(name, name))
                for name, value in values.items()
                if name not in leave_out
            ]

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
        def __call__(self, waveform):
            have = {variable.name.removesuffix(":0"): variable for variable in self._variables}
            magnitude = tf.abs(tf.signal.stft(waveform, 400, 160, 512))
            spectrogram = tf.math.log(magnitude @ mel + 0.01)
            x = tf.signal.frame(spectrogram, 96, 96, axis=0)[..., None]
            for name, pooled in (
                ("conv1", 1), ("conv2", 1), ("conv3/conv3_1", 0), ("conv3/conv3_2", 1),
                ("conv4/conv4_1", 0), ("conv4/conv4_2", 1),
            ):  # fmt: skip
                x = tf.nn.conv2d(x, have[f"vggish/{name}/weights"], 1, "SAME") + have[f"vggish/{name}/biases"]
                x = tf.nn.relu(x)
                x = tf.nn.max_pool2d(x, 2, 2, "SAME") if pooled else x
            x = tf.reshape(x, [tf.shape(x)[0], -1])
            for name in ("fc1/fc1_1", "fc1/fc1_2"):
                x = tf.nn.relu(x @ have[f"vggish/{name}/weights"] + have[f"vggish/{name}/biases"])
            return x @ have["vggish/fc2/weights"] + have["vggish/fc2/biases"]

    module = Module()
    if rename or leave_out:  # the function would not find its variables, and only the checkpoint is needed
        plain = tf.Module()
        plain._variables = module._variables
        module = plain
    tf.saved_model.save(module, str(folder))
    return folder


def embed_by_hub(folder):
    """A function that runs the SavedModel by `tensorflow_hub`: from samples, at least 0.975 s, to (examples, 128)."""
    import numpy as np
    import tensorflow_hub

    loaded = tensorflow_hub.load(str(folder))
    return lambda signal: loaded(np.asarray(signal, np.float32)).numpy()
