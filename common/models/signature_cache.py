"""Signatures of a fixed extractor for all training examples, computed once and kept in a file.

Ten thousand examples need 80 MB to 5 GB, depending on the layer, so rows are read from the file when a batch needs them
(by `pread`, because a memory map would count towards the memory of the process).
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from common.errors import UserError

VERSION = 1
"""Raised when the same extractor and inputs would give other numbers."""


class SignatureFile:
    """Rows of a float32 .npy file, which are read when they are needed.

    Args:
        path: the file.

    Raises:
        UserError: The file is damaged or holds something else.
    """

    def __init__(self, path: Path):
        try:
            whole = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            raise UserError(
                f"{path} is not a whole file of anti-transfer signatures. Remove it; it will be computed again."
            ) from None
        if not isinstance(whole, np.memmap) or whole.dtype != np.float32 or whole.ndim < 2:
            raise UserError(
                f"{path} holds no anti-transfer signatures (float32 rows). Remove it; it will be computed again."
            )
        self.path = path
        self.shape = whole.shape
        self._offset = whole.offset
        self._file = open(path, "rb")  # noqa: SIM115 - stays open as long as the object

    def __len__(self):
        """Number of examples."""
        return self.shape[0]

    def read(self, rows: Sequence[int]) -> np.ndarray:
        """Reads rows by their numbers; shape (rows, *shape of a row)."""
        result = np.empty((len(rows), *self.shape[1:]), np.float32)
        size = result[:1].nbytes
        for place, row in enumerate(rows):
            if not 0 <= row < len(self):
                raise IndexError(row)
            content = os.pread(self._file.fileno(), size, self._offset + int(row) * size)
            if len(content) != size:
                raise UserError(f"{self.path} ends early. Remove it; it will be computed again.")
            result[place] = np.frombuffer(content, np.float32).reshape(self.shape[1:])
        return result


def cached_signatures(
    folder: Path,
    model: keras.Model,
    inputs: np.ndarray,
    *,
    batch_size: int = 20,
) -> SignatureFile:
    """Computes the outputs of a fixed model for all examples, unless the folder already holds them.

    The file's name is a checksum of the model's weights, the names of its layers and the inputs.

    Args:
        folder: where the files are kept.
        model: made by `common.models.anti_transfer.signature_model`.
        inputs: array with one row per example.
        batch_size: examples per batch.

    Returns:
        The file, with rows in the order of `inputs`.

    Raises:
        UserError: The disk has no space for the file, or an output is not finite.
    """
    path = Path(folder) / f"{_key(model, inputs)}.npy"
    if path.exists():
        return SignatureFile(path)
    shape = (len(inputs), *model.output_shape[1:])
    path.parent.mkdir(parents=True, exist_ok=True)
    needed, free = 4 * int(np.prod(shape)), shutil.disk_usage(path.parent).free
    if needed > free:
        raise UserError(
            f"Anti-transfer signatures of {len(inputs)} examples need {needed / 1e9:.1f} GB; {path.parent} has "
            f"{free / 1e9:.1f} GB left. Free some space, or choose another folder or anti-transfer layer."
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
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return SignatureFile(path)


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
