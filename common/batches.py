"""Batches of utterances of similar length, so that little is computed for padding."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def batches_by_length(lengths: np.ndarray, size: int, *, parts: int = 1, seed: int | None = None) -> list[np.ndarray]:
    """Cuts utterances into batches of nearly equal size, each into parts of utterances of similar length.

    There are as many batches as utterances need, and each has the same number of parts, so that gradients which are
    accumulated over the parts always make whole batches. All parts have the same number of utterances, or one fewer.
    If there are fewer utterances than parts, some parts are empty.

    Args:
        lengths: samples or frames of each utterance, shape (utterances,).
        size: utterances per batch at most.
        parts: parts of a batch.
        seed: shuffles utterances of equal length, and the order of the parts; None: longest first, which shows at once
            whether the memory is sufficient.

    Returns:
        One array of positions per part, those of a batch one after the other; every utterance is in exactly one.

    Raises:
        ValueError: `size` or `parts` is below 1.
    """
    if size < 1 or parts < 1:
        raise ValueError(f"size {size} and parts {parts} must be at least 1.")
    lengths = np.asarray(lengths)
    generator = None if seed is None else np.random.default_rng(seed)
    ties = np.arange(len(lengths)) if generator is None else generator.permutation(len(lengths))
    order = np.lexsort((ties, -lengths))
    found = np.array_split(order, parts * math.ceil(len(order) / size)) if len(order) else []
    return found if generator is None else [found[number] for number in generator.permutation(len(found))]


def pad(arrays: list[np.ndarray], length: int | None = None) -> np.ndarray:
    """Stacks arrays of different lengths, with zeros behind the short ones.

    Args:
        arrays: shape (length, ...) each.
        length: length to pad to; None: that of the longest array.

    Returns:
        Shape (arrays, length, ...), with the type of the first array.
    """
    length = length or max(map(len, arrays))
    padded = np.zeros((len(arrays), length, *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return padded


def padded_length(length: int, growth: float = 1.05, shortest: int = 400) -> int:
    """The length that a sequence is padded to: the next one of a geometric series of lengths.

    Padding to a few fixed lengths keeps the number of shapes small (XLA compiles each anew), and costs less than
    1 - 1 / growth of the computation.

    Args:
        length: of the sequence, at least 1.
        growth: ratio of consecutive lengths, above 1.
        shortest: the first length of the series.
    """
    if length <= shortest:
        return shortest
    step = math.ceil(math.log(length / shortest) / math.log(growth))
    # Lengths are whole numbers, so the one below may be enough, and the logarithm may be off by a rounding error.
    return next(found for k in (step - 1, step, step + 1) if (found := math.ceil(shortest * growth**k)) >= length)


def batches_by_padded_length(lengths: Sequence[int], size: int) -> list[np.ndarray]:
    """Batches of sequences with equal padded lengths only, so that no result depends on the others in a batch.

    Args:
        lengths: `padded_length` of each sequence.
        size: sequences per batch at most.
    """
    lengths = np.asarray(lengths)
    batches = []
    for length in np.unique(lengths):
        members = np.flatnonzero(lengths == length)
        batches += [members[start : start + size] for start in range(0, len(members), size)]
    return batches
