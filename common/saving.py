"""Saving and loading a fitted model: its config, its networks and what its input needs. Nothing is unpickled."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from common.contract import override
from common.errors import UserError
from common.files import write_json

CONFIG = "config.json"
ARRAYS = "normalisation.npz"


@dataclass(frozen=True)
class Saved:
    """What `load_fitted` reads.

    Attributes:
        folder: where it was saved.
        config: the settings.
        networks: by name.
        arrays: by name; empty if none were saved.
        values: everything else that was saved with the config, for example "classes".
    """

    folder: Path
    config: Any
    networks: dict[str, keras.Model]
    arrays: dict[str, np.ndarray]
    values: dict[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in the order of the outputs."""
        return tuple(self.values["classes"])


def save_fitted(
    folder: Path,
    config: Any,
    networks: Mapping[str, keras.Model],
    arrays: Mapping[str, np.ndarray] | None = None,
    **values: Any,
) -> None:
    """Writes NAME.keras for each network, `normalisation.npz` if there are arrays, and `config.json`.

    Args:
        folder: existing, empty folder.
        config: the paper's config dataclass.
        networks: by name.
        arrays: what the input needs.
        **values: anything else that JSON can hold.
    """
    for name, network in networks.items():
        network.save(folder / f"{name}.keras")
    if arrays:
        np.savez(folder / ARRAYS, **arrays)
    write_json(folder / CONFIG, {"config": dataclasses.asdict(config), **values})


def load_fitted(folder: Path, config: type, build: Callable[[Saved], Any]) -> Any:
    """Reads what `save_fitted` wrote and builds the fitted model from it.

    Args:
        folder: the folder.
        config: the paper's config dataclass.
        build: makes the fitted model.

    Raises:
        UserError: The folder does not hold such a model, or not all of it.
    """
    try:
        values = json.loads((folder / CONFIG).read_bytes())
        settings = override(config(), values.pop("config"))
        arrays = {}
        if (folder / ARRAYS).exists():
            with np.load(folder / ARRAYS, allow_pickle=False) as stored:
                arrays = dict(stored)
        networks = {
            file.stem: keras.saving.load_model(file, compile=False, safe_mode=True)
            for file in sorted(folder.glob("*.keras"))
        }
        return build(Saved(folder, settings, networks, arrays, values))
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        paper = config.__module__.split(".")[-2]
        reason = str(error).splitlines()[0] if str(error) else "it is damaged"
        raise UserError(f"{folder} is not a kept {paper} model: {reason}") from error
