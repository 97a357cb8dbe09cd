"""Strict loading of published checkpoints: each tensor must have its place in the network, or an error names it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError


@dataclass(frozen=True)
class StoredWeight:
    """A weight of a network, and the tensor of a checkpoint that holds its values.

    Attributes:
        weight: the Keras variable.
        shape: shape of the tensor.
        transposed: the tensor has the axes of the weight in reverse order.
    """

    weight: Any
    shape: tuple[int, ...]
    transposed: bool = False

    @classmethod
    def like(cls, weight: Any, *, transposed: bool = False) -> StoredWeight:
        """A weight whose tensor has its shape, or the reverse of it."""
        shape = tuple(weight.shape)
        return cls(weight, shape[::-1] if transposed else shape, transposed)

    def assign(self, values: np.ndarray) -> None:
        """Sets the weight to the values of the tensor."""
        values = np.asarray(values, np.float32)
        self.weight.assign((values.T if self.transposed else values).reshape(self.weight.shape))


def assign_weights(
    wanted: Mapping[str, StoredWeight],
    tensors: Mapping[str, np.ndarray],
    message: str,
    optional: Collection[str] = (),
) -> None:
    """Sets the weights of a network to a checkpoint's tensors, which must be exactly those of the network.

    Args:
        wanted: all weights of the network, by the names of their tensors.
        tensors: all tensors of the checkpoint, by name.
        message: beginning of the error message; what is wrong follows.
        optional: names of tensors that the checkpoint may lack.

    Raises:
        UserError: A tensor is missing, unknown or of another shape; names the first three.
    """
    problems = [f"{name} is missing" for name in wanted if name not in tensors and name not in optional]
    problems += [f"{name} is not known" for name in tensors if name not in wanted]
    problems += [
        f"{name} has the shape {tuple(tensors[name].shape)} instead of {one.shape}"
        for name, one in wanted.items()
        if name in tensors and tuple(tensors[name].shape) != one.shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise UserError(f"{message}: {'; '.join(problems[:3])}{more}.")
    for name, values in tensors.items():
        wanted[name].assign(values)


def require_files(folder: Path, names: Iterable[str], title: str, source: str) -> None:
    """Checks that a checkpoint's folder holds its files.

    Args:
        folder: the folder.
        names: paths of the files in the folder.
        title: what the folder should be, for the error message ("a BERT checkpoint").
        source: name by which the checkpoint can be fetched, for the error message.

    Raises:
        UserError: A file is missing.
    """
    for name in names:
        if not (folder / name).is_file():
            raise UserError(f"{folder} is not {title}: it holds no {name}. `ser fetch {source}` puts one in place.")


def copy_weights(source, target, *, leave_out: Collection[str] = ()) -> None:
    """Copies weights between layers of the same names.

    Args:
        source: Keras model with the weights.
        target: Keras model that receives them.
        leave_out: names of the target's layers that keep their weights (for example the last layer, if the number of
            classes differs).

    Raises:
        UserError: The source lacks a layer of the target, a layer has other shapes, or there is nothing to copy.
    """
    have = {layer.name: layer for layer in source.layers if layer.weights}
    want = {layer.name: layer for layer in target.layers if layer.weights and layer.name not in leave_out}
    missing = [name for name in want if name not in have]
    if not want or missing:
        names = ", ".join(missing[:5]) or "any layer"
        raise UserError(
            f"The weights of {names} are not in {source.name}; it has {', '.join(list(have)[:5]) or 'none'}."
        )
    for name, layer in want.items():
        shapes = [[tuple(weight.shape) for weight in one.weights] for one in (have[name], layer)]
        if shapes[0] != shapes[1]:
            raise UserError(f"Layer {name} has weights of shape {shapes[0]} in {source.name}; {shapes[1]} is needed.")
    for name, layer in want.items():
        layer.set_weights(have[name].get_weights())


def load_until(path: Path, name: str):
    """Loads a model that Keras saved up to one of its layers; neither later layers nor their weights are built.

    Args:
        path: a .keras file of a functional model in which each layer comes after those that it needs.
        name: name of the layer whose output is that of the result.

    Raises:
        UserError: The model has no such layer.
    """
    import json
    import tempfile
    import zipfile

    import keras

    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
        described = json.loads(archive.read("config.json"))
        layers = described["config"]["layers"]
        names = [layer["config"]["name"] for layer in layers]
        if name not in names:
            raise UserError(f"{path} has no layer {name}; it has {', '.join(names[:5])} ...")
        described["config"] |= {"layers": layers[: names.index(name) + 1], "output_layers": [name, 0, 0]}
        described.pop("compile_config", None)
        model = keras.saving.deserialize_keras_object(described, safe_mode=True)
        if model.weights:
            model.load_weights(archive.extract("model.weights.h5", folder))
    return model
