"""The audit: what the test part of a fold shares with the parts a model learns from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from common.splits import Fold

if TYPE_CHECKING:
    import pandas as pd

AUDITED = ("speaker", "dialogue", "script", "text")
"""Columns whose values may not be shared unnoticed."""


def audit(table: pd.DataFrame, fold: Fold) -> dict[str, int]:
    """What the test part of a fold shares with the parts a model learns from.

    Args:
        table: the subset's utterance table.
        fold: one of its folds.

    Returns:
        Counts by what is shared, only those above zero: "utterance", the columns of `AUDITED`, each between training
        and test ("speaker") and between validation and test ("speaker (validation)"), and "audio": test
        utterances whose audio, under whatever name, is or overlaps training or validation audio.
    """
    part = table.set_index("utterance")
    test = part.loc[list(fold.test)]
    shared: dict[str, int] = {}

    def note(name: str, count: int) -> None:
        if count:
            shared[name] = count

    note("utterance", len(set(fold.test) & (set(fold.train) | set(fold.validation))))
    for suffix, ids in (("", fold.train), (" (validation)", fold.validation)):
        other = part.loc[list(ids)]
        for column in AUDITED:
            values = set(test[column].dropna()) & set(other[column].dropna())
            note(column + suffix, len(values))
    note("audio", _same_audio(part, fold))
    return shared


def _same_audio(part: pd.DataFrame, fold: Fold) -> int:
    """Test utterances whose audio is also training or validation audio.

    Two utterances share audio if their files are the same, or equal byte for byte, and their spans overlap: segments of
    one recording side by side share nothing, chunks that overlap do. Only files of equal size can be equal, so that
    only those are hashed.
    """
    learnt: dict[str, list[tuple[float, float]]] = {}
    for path, start, end in _spans(part.loc[[*fold.train, *fold.validation]]):
        learnt.setdefault(path, []).append((start, end))
    by_size: dict[int, list[str]] = {}
    for path in learnt:
        by_size.setdefault(_size(path), []).append(path)
    hashes: dict[str, bytes] = {}

    def content(path: str) -> bytes:
        if path not in hashes:
            hashes[path] = _hash(path)
        return hashes[path]

    def is_learnt(path: str, start: float, end: float) -> bool:
        size = _size(path)
        candidates = by_size.get(size, []) if size >= 0 else []  # absent files are equal to nothing
        equal = [other for other in candidates if other != path and content(other) == content(path)]
        return any(start < last and first < end for file in (path, *equal) for first, last in learnt.get(file, ()))

    return sum(is_learnt(*span) for span in _spans(part.loc[list(fold.test)]))


def _spans(part: pd.DataFrame) -> Iterator[tuple[str, float, float]]:
    """Path, start and end of utterances; the whole file is from 0 to infinity."""
    starts, ends = part["start"].fillna(0.0), part["end"].fillna(float("inf"))
    return zip(part["path"], starts, ends, strict=True)


def _size(path: str) -> int:
    file = Path(path)
    return file.stat().st_size if file.exists() else -1


def _hash(path: str) -> bytes:
    import hashlib

    return hashlib.blake2b(Path(path).read_bytes(), digest_size=16).digest()
