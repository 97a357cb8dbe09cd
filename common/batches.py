"""Batches of sequences of unequal length, with little padding and few distinct shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def rung(length: int, growth: float = 1.05, shortest: int = 400) -> int:
    """The length that a sequence is padded to: the next of a ladder of lengths, each `growth` times the one before.

    A ladder keeps shapes few (XLA compiles each anew), and the padding that it costs below 1 - 1 / growth.

    Args:
        length: of the sequence, at least 1.
        growth: ratio of the ladder, above 1.
        shortest: its lowest rung.
    """
    if length <= shortest:
        return shortest
    step = math.ceil(math.log(length / shortest) / math.log(growth))
    # Rungs are whole numbers, so the one below may reach, and the logarithm may be off by a unit in the last place.
    return next(height for k in (step - 1, step, step + 1) if (height := math.ceil(shortest * growth**k)) >= length)


def by_length(
    lengths: Sequence[int], size: int, padding: float, generator: np.random.Generator | None = None
) -> list[np.ndarray]:
    """Cuts sequences into batches of similar length, each sequence in one batch.

    Args:
        lengths: of the sequences.
        size: most sequences in a batch.
        padding: largest share of a batch, padded to its longest sequence, that is padding; in [0, 1).
        generator: draws which sequences of similar length meet, and the order of the batches; None: by length.

    Returns:
        Indices of each batch.
    """
    if size < 1 or not 0 <= padding < 1:
        raise ValueError(f"size must be at least 1, padding in [0, 1); got {size=}, {padding=}.")
    lengths = np.asarray(lengths)
    keys = lengths.astype(np.float64)
    if generator is not None:
        # Moved by up to half of what padding allows, so that other sequences meet in each epoch.
        keys = keys * (1 + padding * generator.uniform(-0.5, 0.5, len(keys))) + generator.uniform(0, 0.5, len(keys))
    batches: list[np.ndarray] = []
    current: list[int] = []
    for index in np.argsort(keys, kind="stable"):
        joined = lengths[[*current, index]]
        if current and (len(current) == size or 1 - joined.sum() / (joined.max() * len(joined)) > padding):
            batches.append(np.array(current))
            current = []
        current.append(int(index))
    if current:
        batches.append(np.array(current))
    if generator is not None:
        batches = [batches[index] for index in generator.permutation(len(batches))]
    return batches


def by_rung(rungs: Sequence[int], size: int) -> list[np.ndarray]:
    """Batches of sequences on the same rung only, so that no result depends on who shares a batch.

    Args:
        rungs: `rung` of each sequence.
        size: most sequences in a batch.
    """
    rungs = np.asarray(rungs)
    batches = []
    for height in np.unique(rungs):
        members = np.flatnonzero(rungs == height)
        batches += [members[start : start + size] for start in range(0, len(members), size)]
    return batches


def padded(arrays: Sequence[np.ndarray], length: int, value: float = 0.0) -> np.ndarray:
    """Arrays in one, cut or padded at the end of their first axis.

    Args:
        arrays: shape (length of its own, ...), of one type.
        length: of all.
        value: what padding holds.

    Returns:
        shape (arrays, length, ...).
    """
    result = np.full((len(arrays), length, *arrays[0].shape[1:]), value, arrays[0].dtype)
    for row, array in zip(result, arrays, strict=True):
        row[: len(array)] = array[:length]
    return result
