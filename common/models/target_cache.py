"""What a fixed extractor says of each datapoint, computed once and kept in a file.

Ten thousand datapoints need 80 MB to 5 GB, depending on the layer, so rows are read from the file when a batch asks for
them (with `pread`: a memory map would count towards the process' memory).
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from common.errors import UserError

VERSION = 1
"""Raised whenever the same extractor and inputs would give other numbers."""


class TargetFile:
    """Rows of a float32 .npy file, read when asked for.

    Args:
        path: the file.
    """

    def __init__(self, path: Path):
        try:
            whole = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            raise UserError(
                f"{path} is not a whole file of anti-transfer targets. Remove it; it is made anew."
            ) from None
        if not isinstance(whole, np.memmap) or whole.dtype != np.float32 or whole.ndim < 2:
            raise UserError(f"{path} holds no anti-transfer targets (float32 rows). Remove it; it is made anew.")
        self.path = path
        self.shape = whole.shape
        self._offset = whole.offset
        self._file = open(path, "rb")  # noqa: SIM115 - stays open as long as the object

    def __len__(self):
        """Datapoints."""
        return self.shape[0]

    def read(self, rows: Sequence[int]) -> np.ndarray:
        """The rows, shape (rows, *row's shape)."""
        result = np.empty((len(rows), *self.shape[1:]), np.float32)
        size = result[:1].nbytes
        for place, row in enumerate(rows):
            if not 0 <= row < len(self):
                raise IndexError(row)
            found = os.pread(self._file.fileno(), size, self._offset + int(row) * size)
            if len(found) != size:
                raise UserError(f"{self.path} ends early. Remove it; it is made anew.")
            result[place] = np.frombuffer(found, np.float32).reshape(self.shape[1:])
        return result


def cached_targets(
    folder: Path,
    model: keras.Model,
    inputs: np.ndarray,
    *,
    batch_size: int = 20,
    on_batch: Callable[[int, int], None] | None = None,
) -> TargetFile:
    """The outputs of a fixed model for all datapoints, from the folder if they were computed before.

    The file's name is a checksum of the model's weights, its layers' names and the inputs.

    Args:
        folder: where files are kept.
        model: of `signature_model`.
        inputs: array, one row a datapoint.
        batch_size: datapoints at a time.
        on_batch: called with (datapoints done, all).

    Returns:
        The file, rows as in `inputs`.

    Raises:
        UserError: the folder cannot hold the file.
    """
    path = Path(folder) / f"{_key(model, inputs)}.npy"
    if path.exists():
        return TargetFile(path)
    shape = (len(inputs), *model.output_shape[1:])
    path.parent.mkdir(parents=True, exist_ok=True)
    needed, free = 4 * int(np.prod(shape)), shutil.disk_usage(path.parent).free
    if needed > free:
        raise UserError(
            f"Anti-transfer targets of {len(inputs)} datapoints need {needed / 1e9:.1f} GB; {path.parent} has "
            f"{free / 1e9:.1f} GB left. Make room, choose another folder, or another anti-transfer layer."
        )
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)), "fortran_order": False}
            np.lib.format.write_array_header_1_0(file, {**header, "shape": shape})
            for start in range(0, len(inputs), batch_size):
                rows = np.asarray(model.predict_on_batch(inputs[start : start + batch_size]), np.float32)
                if not np.isfinite(rows).all():
                    raise UserError("The pretrained extractor gives numbers that are not finite; choose another one.")
                file.write(np.ascontiguousarray(rows).data)
                if on_batch is not None:
                    on_batch(min(start + batch_size, len(inputs)), len(inputs))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return TargetFile(path)


def _key(model: keras.Model, inputs: np.ndarray) -> str:
    checksum = hashlib.blake2b(digest_size=16)
    layers = [(type(layer).__name__, layer.name) for layer in model.layers]
    checksum.update(repr((VERSION, layers, model.output_shape[1:], inputs.shape, inputs.dtype.str)).encode())
    for weight in model.weights:
        values = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
        checksum.update(repr((values.shape, values.dtype.str)).encode())
        checksum.update(values.reshape(-1).view(np.uint8).data)
    for start in range(0, len(inputs), 256):
        checksum.update(np.ascontiguousarray(inputs[start : start + 256]).reshape(-1).view(np.uint8).data)
    return checksum.hexdigest()
