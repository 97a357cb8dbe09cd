"""VGGish (Hershey et al. 2017) as a Keras model, with weights from TF-Hub's SavedModel by name.

The SavedModel (google/vggish/1) takes a waveform and holds 18 variables named as in AudioSet's code:
`vggish/conv1/weights`, `vggish/conv3/conv3_1/biases` and so on. They are read from its checkpoint without running its
graph; each must be there, no other may be, and each must have the shape the network needs. The last layer has no
activation: some ports put a ReLU there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common import files, safetensors
from common.errors import UserError

PARAMETERS = 72_141_184
"""Of the whole network."""

HANDLE = "https://tfhub.dev/google/vggish/1"
"""The published SavedModel, for `tensorflow_hub`."""

CONVOLUTIONS = (("conv1", 64), ("conv2", 128), ("conv3_1", 256), ("conv3_2", 256), ("conv4_1", 512), ("conv4_2", 512))
POOLED = ("conv1", "conv2", "conv3_2", "conv4_2")
"""Convolutions with a pooling after them."""

DENSE = (("fc1_1", 4096), ("fc1_2", 4096), ("fc2", 128))


def vggish(width: float = 1.0):
    """The network.

    Args:
        width: multiplies the channels of all layers but the last, for tests and scaled runs.

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
    """The network with weights of a fixed seed, drawn so that every layer keeps its input's variance (He et al. 2015).

    AudioSet's own initialiser (deviation 0.01) would let the signal fade to nothing before the last layer.
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
    """The SavedModel's variable of each weight, by "layer/kernel" and "layer/bias"."""
    names = {}
    for layer, _ in (*CONVOLUTIONS, *DENSE):
        scope = f"vggish/{layer.split('_')[0]}/{layer}" if "_" in layer else f"vggish/{layer}"
        names[f"{layer}/kernel"] = f"{scope}/weights"
        names[f"{layer}/bias"] = f"{scope}/biases"
    return names


def load_vggish(source: str | Path):
    """The network with the weights of a SavedModel.

    Args:
        source: its folder, or a handle that `tensorflow_hub` knows (https://...), which is downloaded once.

    Raises:
        UserError: it is no VGGish SavedModel: a tensor is missing, too many or has another shape; or it cannot be had.
    """
    folder = resolve(source)
    found = saved_variables(folder)
    network = vggish()
    wanted = {}
    for key, name in variable_names().items():
        layer, kind = key.split("/")
        wanted[name] = network.get_layer(layer).weights[0 if kind == "kernel" else 1]
    shapes = {name: tuple(weight.shape) for name, weight in wanted.items()}
    if problems := safetensors.difference(found, shapes):
        raise UserError(f"{folder} is not the VGGish checkpoint: {problems}. Fetch it with `ser fetch vggish`.")
    for name, weight in wanted.items():
        weight.assign(found[name])
    return network


def resolve(source: str | Path) -> Path:
    """The folder of a SavedModel.

    Raises:
        UserError: there is no SavedModel, or the handle cannot be downloaded.
    """
    if str(source).startswith(("https://", "http://")):
        import tensorflow_hub

        try:
            return Path(tensorflow_hub.resolve(str(source)))
        except Exception as error:  # urllib's, TensorFlow's and tarfile's errors share no base
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"{source} cannot be downloaded ({reason}); `ser fetch vggish` puts it in place."
            ) from error
    folder = Path(source).expanduser()
    for file in ("saved_model.pb", "variables/variables.index"):
        if not (folder / file).is_file():
            raise UserError(f"{folder} is not a SavedModel: it holds no {file}. `ser fetch vggish` puts one in place.")
    return folder


def saved_variables(folder: Path) -> dict[str, np.ndarray]:
    """All variables of a SavedModel by name, read from its checkpoint; its graph is not run.

    Raises:
        UserError: the folder's files are damaged.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2, trackable_object_graph_pb2

    try:
        model = saved_model_pb2.SavedModel()
        model.ParseFromString((folder / "saved_model.pb").read_bytes())
        reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
        checkpoint = trackable_object_graph_pb2.TrackableObjectGraph()
        checkpoint.ParseFromString(reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
        # A variable has one number in both graphs: the first knows its name, the second where its values are.
        return {
            node.variable.name: reader.get_tensor(checkpoint.nodes[number].attributes[0].checkpoint_key)
            for number, node in enumerate(model.meta_graphs[0].object_graph_def.nodes)
            if node.HasField("variable")
        }
    except (DecodeError, IndexError, OSError, ValueError, tf.errors.OpError) as error:
        raise UserError(f"{folder} is a damaged SavedModel ({str(error).splitlines()[0]}). Fetch it again.") from error


def reference(source: str | Path):
    """The SavedModel through `tensorflow_hub`: a function from a waveform (samples,) to embeddings (examples, 128).

    It needs at least 0.975 s: for less there is no example that it could embed.
    """
    import tensorflow_hub

    loaded = tensorflow_hub.load(str(resolve(source)))
    return lambda signal: loaded(np.asarray(signal, np.float32)).numpy()


def digest(source: str | Path) -> str:
    """Hash of a SavedModel's files, 16 hexadecimal digits: which weights these are, wherever they lie."""
    folder = resolve(source)
    return files.digest(sorted([folder / "saved_model.pb", *(folder / "variables").iterdir()]))
