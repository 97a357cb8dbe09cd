"""Files of nothing but tensors: safetensors, read and written with NumPy alone; PyTorch's, weights only.

A safetensors file is eight bytes of length, a JSON header and plain little-endian arrays.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files import write_atomic

KINDS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1", "BOOL": "?"}
"""Types of the format and NumPy's; bfloat16, the upper half of a float32, is widened when read."""


def read(file: Path) -> dict[str, np.ndarray]:
    """All tensors of a file, memory-mapped (bfloat16 widened to float32).

    Raises:
        UserError: it is no safetensors file, is cut off, or holds an unknown type.
    """
    try:
        content = np.memmap(file, np.uint8, "r")
        length = int.from_bytes(content[:8].tobytes(), "little")
        if not 2 <= length <= len(content) - 8:
            raise ValueError("it does not begin as one")
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
    wide = entry["dtype"] == "BF16"
    if not wide and entry["dtype"] not in KINDS:
        raise ValueError(f"{name} is of the unknown type {entry['dtype']}")
    kind = np.dtype("<u2" if wide else KINDS[entry["dtype"]])
    if not 0 <= first <= last <= len(body) or last - first != math.prod(entry["shape"]) * kind.itemsize:
        raise ValueError(f"{name} has not the bytes of its shape")
    # A copy where the header's length leaves the tensor at an odd address.
    values = np.frombuffer(body[first:last], kind).reshape(entry["shape"])
    return (values.astype("<u4") << 16).view("<f4") if wide else values


def write(file: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes tensors, whole or not at all; types as they are.

    Raises:
        KeyError: a type that NumPy has and the format has not.
    """
    names = {np.dtype(kind): name for name, kind in KINDS.items()}
    header: dict = {"__metadata__": {"format": "pt"}}  # Hugging Face's loader asks for it
    start = 0
    for name, values in tensors.items():
        end = start + values.nbytes
        header[name] = {"dtype": names[values.dtype], "shape": list(values.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)

    def body(stream):
        stream.write(len(text).to_bytes(8, "little") + text)
        for values in tensors.values():
            stream.write(np.ascontiguousarray(values).tobytes())

    write_atomic(Path(file), body)


def read_pytorch(file: Path) -> dict[str, np.ndarray]:
    """All tensors of a pytorch_model.bin, without running what else a pickle may hold.

    Raises:
        UserError: torch is not installed, or the file holds more than tensors.
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


def difference(found: Mapping[str, np.ndarray], wanted: Mapping[str, tuple[int, ...]], optional=()) -> str:
    """What keeps tensors from being those of a network, the first three of it in words; empty if nothing does.

    Args:
        found: tensors by name.
        wanted: the network's, by name, with their shapes.
        optional: names that may be missing.
    """
    problems = [f"{name} is missing" for name in wanted if name not in found and name not in optional]
    problems += [f"{name} is not known" for name in found if name not in wanted]
    problems += [
        f"{name} has the shape {tuple(found[name].shape)} instead of {shape}"
        for name, shape in wanted.items()
        if name in found and tuple(found[name].shape) != shape
    ]
    more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
    return "; ".join(problems[:3]) + more
