"""Weights from elsewhere: loaded whole, or an error that says what did not match. Nothing is passed over in silence."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from pathlib import Path

import keras
import numpy as np

from common.errors import UserError


def load_weights(model: keras.Model, path: Path) -> None:
    """Reads all weights of a model from a Keras file.

    Args:
        model: of the same layers and sizes as the one that was saved.
        path: *.weights.h5 or *.keras.

    Raises:
        UserError: there is no such file, it cannot be read, or it does not hold exactly this model's weights.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no checkpoint {path}.")
    before = [np.array(keras.ops.convert_to_numpy(weight)) for weight in model.weights]
    try:
        if path.suffix == ".keras":
            copy_weights(keras.saving.load_model(path, compile=False, safe_mode=True), model, whole=True)
        else:
            _load_h5(model, path)
    except Exception as error:
        model.set_weights(before)  # a half-loaded model is no model
        if isinstance(error, UserError):
            raise UserError(f"{path} does not fit {model.name}: {error}") from None
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path} does not hold the weights of {model.name} ({reason}). Choose its own checkpoint."
        ) from None


def _load_h5(model: keras.Model, path: Path) -> None:
    # Keras passes over layers that a file lacks, with a warning at most; a weight that stays NaN was passed over.
    model.set_weights([np.full(weight.shape, np.nan, weight.dtype) for weight in model.weights])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.load_weights(path)
    for weight in model.weights:
        if np.isnan(keras.ops.convert_to_numpy(weight)).any():
            raise UserError(f"it holds no {weight.path}, or NaN there. Choose the checkpoint of the same network.")
    import h5py

    found = []

    def visit(name, item):
        if isinstance(item, h5py.Dataset) and not name.startswith("optimizer") and "seed_generator" not in name:
            found.append(name)

    with h5py.File(path) as file:
        file.visititems(visit)
    if len(found) != len(model.weights):
        raise UserError(f"it holds {len(found)} weights; the network has {len(model.weights)}.")


def copy_weights(
    source: keras.Model, target: keras.Model, *, leave_out: Collection[str] = (), whole: bool = False
) -> tuple[str, ...]:
    """Copies weights between layers of the same name, as dual anti-transfer starts its second training.

    Args:
        source: model with the weights.
        target: model that receives them.
        leave_out: layers of the target that keep their own (for example "logits", of another number of classes).
        whole: both models must have the same layers with weights.

    Returns:
        The names of the layers that received weights.

    Raises:
        UserError: no layer, or not every layer with weights that was not left out, has its like in the source.
    """
    have = {layer.name: layer for layer in source.layers if layer.weights}
    want = {layer.name: layer for layer in target.layers if layer.weights and layer.name not in leave_out}
    missing = [name for name in want if name not in have]
    if not want or missing:
        names = ", ".join(missing[:5]) or "any layer"
        raise UserError(
            f"The weights of {names} are not in {source.name}; it has {', '.join(list(have)[:5]) or 'none'}."
        )
    if whole and len(have) != len(want):
        extra = [name for name in have if name not in want]
        raise UserError(f"{source.name} also has the layers {', '.join(extra[:5])}, which {target.name} lacks.")
    for name, layer in want.items():
        shapes = [[tuple(weight.shape) for weight in one.weights] for one in (have[name], layer)]
        if shapes[0] != shapes[1]:
            raise UserError(f"Layer {name} has weights of shape {shapes[0]} in {source.name}; {shapes[1]} is needed.")
    for name, layer in want.items():
        layer.set_weights(have[name].get_weights())
    return tuple(want)
