"""Protocols that cut a corpus into folds, and the audit of what the parts of a fold share.

A protocol is a frozen dataclass with a `name`; called with an utterance table it returns the folds, the same ones every
time: everything random is drawn from the protocol's own seed, never from a trial's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from common.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from common.corpus import Corpus


@dataclass(frozen=True)
class Fold:
    """Utterance ids of one fold's parts.

    Attributes:
        name: for people and folders, for example "speaker-03".
        train: what a model is fitted on.
        validation: what epochs and settings are chosen on; may be empty.
        test: seen by nobody but the harness.
    """

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


Protocol = Callable[["pd.DataFrame"], list[Fold]]


@dataclass(frozen=True)
class LeaveOneSpeakerOut:
    """Every speaker is the test set once (speaker-independent).

    Attributes:
        validation: "speaker" takes the next speaker in order as validation set (cyclic, so that each speaker validates
            once), "stratified" takes `share` of the training utterances by emotion, "none" leaves it empty.
        share: for "stratified".
        seed: for "stratified".
    """

    validation: Literal["speaker", "stratified", "none"] = "speaker"
    share: float = 0.1
    seed: int = 0

    @property
    def name(self) -> str:
        """Name in lists and reports."""
        return "leave one speaker out"

    def count(self, corpus: Corpus) -> int:
        """Folds on a complete corpus, without reading it."""
        return corpus.speakers

    def __call__(self, table: pd.DataFrame) -> list[Fold]:
        """One fold a speaker, in the order of their names."""
        speakers = _values(table, "speaker")
        needed = 3 if self.validation == "speaker" else 2
        if len(speakers) < needed:
            which = " with a validation speaker" if self.validation == "speaker" else ""
            raise UserError(f"Leaving one speaker out{which} needs {needed} speakers; here are {len(speakers)}.")
        folds = []
        for number, speaker in enumerate(speakers):
            is_test = table["speaker"] == speaker
            if self.validation == "speaker":
                is_validation = table["speaker"] == speakers[(number + 1) % len(speakers)]
            else:
                is_validation = _drawn(table, ~is_test, self.share if self.validation == "stratified" else 0, self.seed)
            folds.append(_fold(table, f"speaker-{speaker}", is_validation, is_test))
        return folds


@dataclass(frozen=True)
class StratifiedKFold:
    """Random folds with the emotions in equal shares; speakers are in every part (speaker-dependent).

    Attributes:
        folds: how many.
        share: share of a fold's training part that validates, by emotion.
        seed: of the cut.
    """

    folds: int = 10
    share: float = 0.1
    seed: int = 0

    @property
    def name(self) -> str:
        """Name in lists and reports."""
        return f"{self.folds}-fold, speaker-dependent"

    def count(self, corpus: Corpus) -> int:
        """Folds on a complete corpus, without reading it."""
        return self.folds

    def __call__(self, table: pd.DataFrame) -> list[Fold]:
        """The folds, numbered from 1."""
        import numpy as np
        from sklearn.model_selection import StratifiedKFold as Cut

        smallest = table["emotion"].value_counts().min()
        if smallest < self.folds:
            raise UserError(
                f"{self.folds} stratified folds need as many utterances of each emotion; the rarest has {smallest}."
            )
        cut = Cut(self.folds, shuffle=True, random_state=self.seed)
        result = []
        for number, (_, test) in enumerate(cut.split(np.zeros(len(table)), table["emotion"]), start=1):
            is_test = _mask(table, table.index[test])
            is_validation = _drawn(table, ~is_test, self.share, self.seed)
            result.append(_fold(table, f"fold-{number:02d}", is_validation, is_test))
        return result


@dataclass(frozen=True)
class LeaveOneSessionOut:
    """Every session is held out once (LOSO); its halves are validation and test (Wen et al. 2023, Sec. 5.1).

    Attributes:
        halves: how the held-out session is cut: "emotion" draws equal halves by emotion, so both speakers are, as a
            rule, in both; "speaker" gives one speaker to each.
        seed: of the draw.
    """

    halves: Literal["emotion", "speaker"] = "emotion"
    seed: int = 0

    @property
    def name(self) -> str:
        """Name in lists and reports."""
        return "leave one session out, halves"

    def count(self, corpus: Corpus) -> int:
        """Folds on a complete corpus, without reading it."""
        return corpus.sessions

    def __call__(self, table: pd.DataFrame) -> list[Fold]:
        """One fold a session, in the order of their names."""
        if table["session"].isna().any():
            raise UserError("Leaving one session out needs a corpus with sessions; this one has none.")
        sessions = _values(table, "session")
        if len(sessions) < 2:
            raise UserError(f"Leaving one session out needs 2 sessions; here are {len(sessions)}.")
        folds = []
        for session in sessions:
            held_out = table["session"] == session
            if self.halves == "speaker":
                speakers = _values(table[held_out], "speaker")
                if len(speakers) < 2:
                    raise UserError(f"Halves by speaker need 2 speakers in each session; session {session} has 1.")
                is_validation = held_out & (table["speaker"] == speakers[0])
            else:
                is_validation = _drawn(table, held_out, 0.5, self.seed)
            folds.append(_fold(table, f"session-{session}", is_validation, held_out & ~is_validation))
        return folds


def _values(table: pd.DataFrame, column: str) -> list[str]:
    return sorted(table[column].unique())


def _mask(table: pd.DataFrame, index) -> pd.Series:
    mask = table["utterance"].isna()  # all False, with the table's index
    mask.loc[index] = True
    return mask


def _drawn(table: pd.DataFrame, among: pd.Series, share: float, seed: int) -> pd.Series:
    """Marks `share` of the utterances `among`, by emotion, where there are enough of it to draw one."""
    import numpy as np

    chosen = []
    generator = np.random.default_rng(seed)
    for _, group in table[among].groupby("emotion", sort=True):
        count = round(share * len(group))
        chosen.extend(generator.permutation(group.index.to_numpy())[:count])
    return _mask(table, chosen)


def _fold(table: pd.DataFrame, name: str, is_validation: pd.Series, is_test: pd.Series) -> Fold:
    ids = table["utterance"]
    return Fold(
        name,
        tuple(ids[~is_validation & ~is_test]),
        tuple(ids[is_validation]),
        tuple(ids[is_test]),
    )


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
