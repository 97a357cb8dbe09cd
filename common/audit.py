"""The audit of a fold: what its test part shares with its training and validation parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from common.files import checksum
from common.splits import Fold

if TYPE_CHECKING:
    import pandas as pd

AUDITED_COLUMNS = ("speaker", "dialogue", "script", "text")
"""Columns of the utterance table whose values the parts of a fold should not share."""


def audit(table: pd.DataFrame, fold: Fold) -> dict[str, int]:
    """Counts what the test part of a fold shares with its training and validation parts.

    Args:
        table: the subset's utterance table.
        fold: one of its folds.

    Returns:
        Counts above zero, by what is shared. "utterance": test utterances that also train or validate. "speaker" and
        the other `AUDITED_COLUMNS`: values shared by training and test; with " (validation)" behind the name, by
        validation and test. "audio": test utterances whose audio overlaps training or validation audio, also where
        the file has another name.
    """
    part = table.set_index("utterance")
    test = part.loc[list(fold.test)]
    shared = {"utterance": len(set(fold.test) & (set(fold.train) | set(fold.validation)))}
    for suffix, ids in (("", fold.train), (" (validation)", fold.validation)):
        other = part.loc[list(ids)]
        for column in AUDITED_COLUMNS:
            shared[column + suffix] = len(set(test[column].dropna()) & set(other[column].dropna()))
    shared["audio"] = _shared_audio(part, fold)
    return {name: count for name, count in shared.items() if count}


def _shared_audio(part: pd.DataFrame, fold: Fold) -> int:
    """Counts the test utterances whose audio is also training or validation audio.

    Two utterances share audio if their files are the same, or equal byte for byte, and their time spans overlap. So
    consecutive segments of one recording share nothing, but overlapping chunks do. Only files of equal size can be
    equal, so only those are hashed.
    """
    spans: dict[str, list[tuple[float, float]]] = {}  # of training and validation audio, by path
    for path, start, end in _spans(part.loc[[*fold.train, *fold.validation]]):
        spans.setdefault(path, []).append((start, end))
    by_size: dict[int, list[str]] = {}
    for path in spans:
        by_size.setdefault(_size(path), []).append(path)
    checksums: dict[str, str] = {}

    def content(path: str) -> str:
        if path not in checksums:
            checksums[path] = checksum(Path(path))
        return checksums[path]

    def is_shared(path: str, start: float, end: float) -> bool:
        size = _size(path)
        candidates = by_size.get(size, []) if size >= 0 else []  # files that do not exist are equal to nothing
        equal = [other for other in candidates if other != path and content(other) == content(path)]
        return any(start < last and first < end for file in (path, *equal) for first, last in spans.get(file, ()))

    return sum(is_shared(*span) for span in _spans(part.loc[list(fold.test)]))


def _spans(part: pd.DataFrame) -> Iterator[tuple[str, float, float]]:
    """Path, start and end of utterances; a whole file is from 0 to infinity."""
    starts, ends = part["start"].fillna(0.0), part["end"].fillna(float("inf"))
    return zip(part["path"], starts, ends, strict=True)


def _size(path: str) -> int:
    file = Path(path)
    return file.stat().st_size if file.exists() else -1
