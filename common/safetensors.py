"""Reading the tensors of a checkpoint: safetensors files with NumPy alone, and PyTorch files without unpickling.

A safetensors file consists of eight bytes with the length of the header, a JSON header, and little-endian arrays.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from common.errors import UserError

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1", "BOOL": "?"}
"""NumPy's names of the format's types. There is none for bfloat16 (the upper half of a float32), which is converted."""


def read(file: Path) -> dict[str, np.ndarray]:
    """Reads all tensors of a safetensors file, as views of a memory map; bfloat16 is converted to float32.

    Raises:
        UserError: It is not a safetensors file, it is cut off, or it holds an unknown type.
    """
    try:
        content = np.memmap(file, np.uint8, "r")
        length = int.from_bytes(content[:8].tobytes(), "little")
        if not 2 <= length <= len(content) - 8:
            raise ValueError("it has no header")
        header = json.loads(content[8 : 8 + length].tobytes())
        header.pop("__metadata__", None)
        body = content[8 + length :]
        if max((entry["data_offsets"][1] for entry in header.values()), default=0) != len(body):
            raise ValueError("it is not as long as its header says")
        return {name: _tensor(name, entry, body) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise UserError(f"{file} is not a whole safetensors file ({error}). Fetch it again.") from error


def _tensor(name: str, entry: Mapping, body: np.ndarray) -> np.ndarray:
    first, last = entry["data_offsets"]
    is_bfloat16 = entry["dtype"] == "BF16"
    if not is_bfloat16 and entry["dtype"] not in DTYPES:
        raise ValueError(f"{name} has the unknown type {entry['dtype']}")
    dtype = np.dtype("<u2" if is_bfloat16 else DTYPES[entry["dtype"]])
    if not 0 <= first <= last <= len(body) or last - first != math.prod(entry["shape"]) * dtype.itemsize:
        raise ValueError(f"the size of {name} does not fit its shape")
    values = np.frombuffer(body[first:last], dtype).reshape(entry["shape"])
    return (values.astype("<u4") << 16).view("<f4") if is_bfloat16 else values


def read_pytorch(file: Path) -> dict[str, np.ndarray]:
    """Reads all tensors of a pytorch_model.bin as float32, without running code that a pickle may hold.

    Raises:
        UserError: PyTorch is not installed, or the file holds more than tensors.
    """
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"{file} needs PyTorch to be read: install torch, or put a model.safetensors beside it."
        ) from error
    import pickle

    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
        return {name: values.float().numpy() for name, values in found.items()}
    except (pickle.UnpicklingError, RuntimeError, OSError, AttributeError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{file} is not a file of PyTorch tensors only ({reason}). Fetch it again.") from error
