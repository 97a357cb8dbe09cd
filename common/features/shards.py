"""Features of many utterances in a few memory-mapped files, for training that reads only a part of each utterance.

The feature cache keeps the features of extractors with ``sharded = True`` this way. A shard is a `.npy` array: the
features of up to `SHARD` utterances, one after another along the first axis. The index, a `.json` file beside it, has
their keys, their ends and the array's checksum. It is written after the array, so all shards of a killed extraction are
complete. A shard with a wrong checksum is ignored, and its utterances are extracted again.
"""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.files import checksum, checksum_of, write_atomic, write_json

SHARD = 256
"""How many utterances a shard has at most, which is also what a killed worker loses at most."""


@dataclass(frozen=True)
class ShardedFeatures(Mapping):
    """Features by utterance, as parts of memory-mapped arrays: what is not used is not read.

    Attributes:
        arrays: features of each utterance, read-only, shape (rows, ...).
        skipped: for each utterance that was left out, the reason.
    """

    arrays: dict[str, np.ndarray]
    skipped: dict[str, str]

    def __getitem__(self, utterance: str) -> np.ndarray:
        return self.arrays[utterance]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


def announce(arrays: Iterable[np.ndarray]) -> None:
    """Tells the operating system that parts of shards will be used, so that it reads all of them from disk at once.

    Without this, each page is read when it is used, one after the other.

    Args:
        arrays: features or contiguous parts of them; those that are not memory-mapped are left out.
    """
    if not hasattr(mmap, "MADV_WILLNEED"):  # this system has nothing like it
        return
    for array in arrays:
        file = array
        while isinstance(file, np.ndarray):
            file = file.base
        if isinstance(file, mmap.mmap) and array.nbytes:
            start = _address(array) - _address(np.frombuffer(file, np.uint8))
            first = start // mmap.PAGESIZE * mmap.PAGESIZE
            file.madvise(mmap.MADV_WILLNEED, first, start + array.nbytes - first)


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def shard_size(utterances: int, jobs: int) -> int:
    """Utterances per shard: few enough that all jobs have work."""
    return min(SHARD, max(1, math.ceil(utterances / (4 * jobs))))


def write_shard(folder: Path, keys: Sequence[str], arrays: Sequence[np.ndarray]) -> None:
    """Writes a shard and its index.

    Args:
        folder: where.
        keys: of the utterances, each once.
        arrays: their features; shapes differ in the first axis alone, and the type is the same.
    """
    name = checksum_of("".join(keys).encode())
    array, ends = np.concatenate(arrays), np.cumsum([len(one) for one in arrays])
    file = folder / f"{name}.npy"
    write_atomic(file, lambda opened: np.save(opened, array, allow_pickle=False))
    write_json(file.with_suffix(".json"), {"keys": list(keys), "ends": ends.tolist(), "checksum": checksum(file)})


def read_shards(folder: Path, wanted: set[str], jobs: int) -> dict[str, np.ndarray]:
    """The features of those wanted keys that are in intact shards, memory-mapped.

    Args:
        folder: with shards.
        wanted: keys of utterances.
        jobs: threads that compute checksums.
    """
    with ThreadPoolExecutor(jobs) as pool:
        found = pool.map(lambda index: _read_shard(index, wanted), sorted(folder.glob("*.json")))
        return {key: array for one in found for key, array in one.items()}


def _read_shard(index: Path, wanted: set[str]) -> dict[str, np.ndarray]:
    file = index.with_suffix(".npy")
    try:
        content = json.loads(index.read_bytes())
        keys, ends = content["keys"], content["ends"]
        if wanted.isdisjoint(keys) or checksum(file) != content["checksum"]:
            return {}
        # A plain array is cut faster than the memmap of which it is a view.
        whole = np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, KeyError):
        return {}
    spans = zip(keys, [0, *ends[:-1]], ends, strict=True)
    return {key: whole[start:end] for key, start, end in spans if key in wanted}
