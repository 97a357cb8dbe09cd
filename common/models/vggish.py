"""VGGish (Hershey et al. 2017) as a Keras model, with the weights of the SavedModel google/vggish/1 of TF-Hub.

The SavedModel holds 18 variables with the names of AudioSet's code (`vggish/conv1/weights`,
`vggish/conv3/conv3_1/biases`, ...). They are read from its checkpoint, without running its graph, and loaded strictly.
The last layer has no activation, unlike in some other ports, which have a ReLU there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common import files
from common.errors import UserError
from common.models.checkpoint import StoredWeight, assign_weights, require_files

CONVOLUTIONS = (("conv1", 64), ("conv2", 128), ("conv3_1", 256), ("conv3_2", 256), ("conv4_1", 512), ("conv4_2", 512))
POOLED = ("conv1", "conv2", "conv3_2", "conv4_2")
"""Convolutions that are followed by a pooling."""

DENSE = (("fc1_1", 4096), ("fc1_2", 4096), ("fc2", 128))


def vggish(width: float = 1.0):
    """Builds the network; at width 1 it has 72,141,184 parameters.

    Args:
        width: factor on the channels of all layers but the last, for tests and scaled runs.

    Returns:
        Keras model from examples (batch, 96, 64, 1) to embeddings (batch, 128).
    """
    import keras
    from keras import layers

    x = inputs = keras.Input((96, 64, 1), name="examples")
    for name, channels in CONVOLUTIONS:
        x = layers.Conv2D(round(channels * width), 3, padding="same", activation="relu", name=name)(x)
        if name in POOLED:
            x = layers.MaxPooling2D(2, padding="same", name=f"pool{name[4]}")(x)
    x = layers.Flatten(name="flatten")(x)
    for name, units in DENSE[:-1]:
        x = layers.Dense(round(units * width), activation="relu", name=name)(x)
    outputs = layers.Dense(DENSE[-1][1], name=DENSE[-1][0])(x)
    return keras.Model(inputs, outputs, name="vggish")


def random_vggish(width: float = 1.0, seed: int = 0):
    """Builds the network with random weights that keep the variance from layer to layer (He et al. 2015).

    With AudioSet's own initialisation (standard deviation 0.01), the signal would vanish before the last layer.
    """
    network = vggish(width)
    generator = np.random.default_rng(seed)
    for layer in network.layers:
        if layer.weights:
            kernel, bias = (tuple(weight.shape) for weight in layer.weights)
            deviation = np.sqrt(2 / np.prod(kernel[:-1]))
            values = generator.standard_normal(kernel, np.float32) * np.float32(deviation)
            layer.set_weights([values, np.zeros(bias, np.float32)])
    return network


def variable_names() -> dict[str, str]:
    """Names of the SavedModel's variables, by "layer/kernel" and "layer/bias"."""
    names = {}
    for layer, _ in (*CONVOLUTIONS, *DENSE):
        scope = f"vggish/{layer.split('_')[0]}/{layer}" if "_" in layer else f"vggish/{layer}"
        names[f"{layer}/kernel"] = f"{scope}/weights"
        names[f"{layer}/bias"] = f"{scope}/biases"
    return names


def load_vggish(source: str | Path):
    """Builds the network with the weights of a SavedModel.

    Args:
        source: folder of the SavedModel, or its address for `tensorflow_hub` (https://...), which downloads it once.

    Raises:
        UserError: It is not the SavedModel of VGGish, it is damaged, or it cannot be downloaded.
    """
    folder = saved_model_folder(source)
    variables = _read_variables(folder)
    network = vggish()
    wanted = {}
    for key, name in variable_names().items():
        layer, kind = key.split("/")
        weight = network.get_layer(layer).weights[0 if kind == "kernel" else 1]
        wanted[name] = StoredWeight(weight, tuple(weight.shape))
    assign_weights(wanted, variables, f"{folder} is not the VGGish checkpoint that `ser fetch vggish` downloads")
    return network


def saved_model_folder(source: str | Path) -> Path:
    """Returns the folder of a SavedModel, which is downloaded if `source` is an address.

    Raises:
        UserError: There is no SavedModel, or it cannot be downloaded.
    """
    if str(source).startswith(("https://", "http://")):
        import tensorflow_hub

        try:
            return Path(tensorflow_hub.resolve(str(source)))
        except Exception as error:  # urllib's, TensorFlow's and tarfile's errors have no common base class
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"{source} cannot be downloaded ({reason}); `ser fetch vggish` puts it in place."
            ) from error
    folder = Path(source).expanduser()
    require_files(folder, ("saved_model.pb", "variables/variables.index"), "a SavedModel", "vggish")
    return folder


def _read_variables(folder: Path) -> dict[str, np.ndarray]:
    """Reads all variables of a SavedModel from its checkpoint, without running its graph."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2, trackable_object_graph_pb2

    try:
        model = saved_model_pb2.SavedModel()
        model.ParseFromString((folder / "saved_model.pb").read_bytes())
        reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
        checkpoint = trackable_object_graph_pb2.TrackableObjectGraph()
        checkpoint.ParseFromString(reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
        # A variable has the same number in both graphs; the first has its name, the second the key of its values.
        return {
            node.variable.name: reader.get_tensor(checkpoint.nodes[number].attributes[0].checkpoint_key)
            for number, node in enumerate(model.meta_graphs[0].object_graph_def.nodes)
            if node.HasField("variable")
        }
    except (DecodeError, IndexError, OSError, ValueError, tf.errors.OpError) as error:
        raise UserError(f"{folder} is a damaged SavedModel ({str(error).splitlines()[0]}). Fetch it again.") from error


def digest(source: str | Path) -> str:
    """Identifies a checkpoint by a hash of its files, 16 hexadecimal digits, wherever the folder is."""
    folder = saved_model_folder(source)
    return files.digest(sorted([folder / "saved_model.pb", *(folder / "variables").iterdir()]))
