"""Batches of utterances of similar length, so that little is computed for padding."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def by_length(lengths: np.ndarray, size: int, *, padding: float = 0.1, seed: int | None = None) -> list[np.ndarray]:
    """Cuts utterances into batches whose shortest is never much shorter than their longest.

    Args:
        lengths: samples or frames of each utterance, shape (utterances,).
        size: utterances in a batch at most.
        padding: share of a batch's longest utterance that any other may lack; no utterance is padded by more.
        seed: shuffles equal lengths among each other and the order of batches; None: longest first, which finds out at
            once whether memory suffices.

    Returns:
        Positions of the utterances, a batch an array; every utterance is in exactly one.

    Raises:
        ValueError: a size below 1 or a padding outside 0 to 1.
    """
    if size < 1 or not 0 <= padding <= 1:
        raise ValueError(f"size {size} must be at least 1, padding {padding} within 0 and 1.")
    lengths = np.asarray(lengths)
    generator = None if seed is None else np.random.default_rng(seed)
    ties = np.arange(len(lengths)) if generator is None else generator.permutation(len(lengths))
    order = np.lexsort((ties, -lengths))
    batches: list[np.ndarray] = []
    first = 0
    while first < len(order):
        within = lengths[order[first : first + size]] >= (1 - padding) * lengths[order[first]]
        count = int(within.sum())  # sorted, so those within come first
        batches.append(order[first : first + count])
        first += count
    if generator is not None:
        batches = [batches[number] for number in generator.permutation(len(batches))]
    return batches


def stack(arrays: list[np.ndarray], length: int | None = None) -> np.ndarray:
    """Arrays of several lengths in one, zeros behind the short ones.

    Args:
        arrays: each of shape (length, ...).
        length: to pad to; None: the longest.

    Returns:
        shape (arrays, length, ...), in the first one's type.
    """
    length = length or max(map(len, arrays))
    stacked = np.zeros((len(arrays), length, *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in zip(stacked, arrays, strict=True):
        row[: len(array)] = array
    return stacked


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
