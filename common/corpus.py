"""The utterance table: what every corpus becomes, and the named subsets that papers count.

A corpus on disk becomes a pandas DataFrame with one row an utterance and the columns of
`COLUMNS`. A `Subset` is a named filter with the counts a paper states; selecting it from a folder
that disagrees stops with a diff, so that "IEMOCAP, 4 classes" can never silently be another corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import CorpusAbsent, UserError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

COLUMNS: dict[str, str] = {
    "utterance": "str",  # unique within the corpus
    "path": "str",  # audio file, absolute
    "start": "float64",  # s into the file; missing: the whole file
    "end": "float64",
    "speaker": "str",
    "gender": "str",  # one of GENDERS
    "session": "str",  # missing where a corpus has none
    "dialogue": "str",
    "script": "str",  # id of the text that was read or acted; missing: improvised
    "text": "str",  # transcript
    "emotion": "str",  # one of EMOTIONS
    "valence": "float64",  # on the corpus' own scale
    "arousal": "float64",
    "dominance": "float64",
    "duration": "float64",  # s; missing: the audio file cannot be read
}
"""Columns of the utterance table, in order, with their types."""

EMOTIONS = (
    "angry", "bored", "calm", "disgusted", "excited", "fearful", "frustrated", "happy",
    "neutral", "other", "sad", "surprised", "unresolved",
)  # fmt: skip
"""Closed vocabulary of `emotion`; "unresolved" is an utterance whose raters did not agree."""

GENDERS = ("female", "male")


@dataclass(frozen=True)
class Subset:
    """A named part of a corpus, with the counts its papers state.

    Attributes:
        name: name within the corpus, for example "4class-improvised".
        counts: utterances per emotion after merging, in the order that numbers the classes. For a
            subset that keeps every label (for example all utterances with valence and arousal),
            leave it empty and give `total`.
        total: utterances in all; follows from `counts` if those are given.
        merge: emotions counted as another, for example {"excited": "happy"}.
        where: takes the utterance table, returns a boolean mask; None keeps all.
        source: where the counts are stated.
    """

    name: str
    counts: Mapping[str, int] = field(default_factory=dict)
    total: int = 0
    merge: Mapping[str, str] = field(default_factory=dict)
    where: Callable[[pd.DataFrame], pd.Series] | None = None
    source: str = ""

    @property
    def classes(self) -> tuple[str, ...]:
        """The emotions of this subset in the order that numbers them; empty if it keeps all labels."""
        return tuple(self.counts)

    @property
    def expected(self) -> int:
        """How many utterances the subset must have."""
        return sum(self.counts.values()) if self.counts else self.total


@dataclass(frozen=True)
class Corpus:
    """What the suite knows of a corpus before it has seen a folder of it.

    Attributes:
        name: name on the command line, for example "emodb".
        title: the corpus' full name.
        language: language(s) spoken.
        licence: licence or terms, in a few words.
        access: how to get it, one sentence.
        layout: what the folder must hold, as a person would describe it.
        subsets: the named subsets.
        default_subset: the one a run takes if an experiment of another corpus is run on this one.
        utterances: how many utterances the released corpus has.
        speakers: how many speakers it has.
        sessions: how many recording sessions it has; 0 if it is not cut into sessions.
        hours: how many hours of speech it has; 0 if that is not known.
        synthetic: True if no person spoke.
        shipped: folder inside the suite, for the embedded corpus; None for all others.
    """

    name: str
    title: str
    language: str
    licence: str
    access: str
    layout: str
    subsets: tuple[Subset, ...]
    default_subset: str
    utterances: int
    speakers: int
    sessions: int = 0
    hours: float = 0.0
    synthetic: bool = False
    shipped: Path | None = None

    def subset(self, name: str) -> Subset:
        """The subset of that name.

        Raises:
            UserError: there is none; names what exists.
        """
        for subset in self.subsets:
            if subset.name == name:
                return subset
        from common.errors import unknown

        raise unknown(f"subset of {self.name}", name, [subset.name for subset in self.subsets])


def build_table(rows: Iterable[Mapping], corpus: str) -> pd.DataFrame:
    """Makes and validates the utterance table of a corpus.

    Durations are read from the audio files' headers; a file whose header cannot be read keeps a
    missing duration (`common.features.store` says so when the audio is needed).

    Args:
        rows: mappings with keys from `COLUMNS`; what is left out is missing.
        corpus: the corpus' name, for error messages.

    Returns:
        The table, sorted by path and utterance, with the columns and types of `COLUMNS`.

    Raises:
        UserError: a column, label or gender outside the vocabulary, an utterance that occurs twice, or a path that is
            not UTF-8.
    """
    import pandas as pd

    rows = list(rows)
    strange = sorted({key for row in rows for key in row} - set(COLUMNS))
    if strange:
        raise UserError(f"The reader of {corpus} gave unknown columns: {', '.join(strange)}.")
    for row in rows:
        try:
            row["path"].encode()
        except UnicodeEncodeError:
            raise UserError(
                f"{corpus}: the file name {row['path']} is not UTF-8; rename the file or its folder."
            ) from None
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    for column, kind in COLUMNS.items():
        table[column] = table[column].astype("float64" if kind == "float64" else "str")
    table = table.sort_values(["path", "utterance"], kind="stable").reset_index(drop=True)
    _check_vocabulary(table, "emotion", EMOTIONS, corpus)
    _check_vocabulary(table, "gender", GENDERS, corpus)
    twice = table["utterance"][table["utterance"].duplicated()]
    if len(twice):
        raise UserError(f"{corpus}: utterance {twice.iloc[0]} occurs more than once in the folder.")
    missing = table["duration"].isna()
    if missing.any():
        table.loc[missing, "duration"] = _durations(table.loc[missing])
    return table


def _check_vocabulary(table: pd.DataFrame, column: str, known: tuple[str, ...], corpus: str) -> None:
    wrong = table[~table[column].isin(known) & table[column].notna()]
    if len(wrong):
        row = wrong.iloc[0]
        raise UserError(
            f"{corpus}: utterance {row['utterance']} has the unknown {column} '{row[column]}'; "
            f"known are {', '.join(known)}."
        )


def _durations(table: pd.DataFrame) -> list[float]:
    from common.audio import duration

    with ThreadPoolExecutor(8) as pool:
        whole = list(pool.map(duration, table["path"]))
    spans = (table["end"] - table["start"]).tolist()
    return [span if span == span else seconds for span, seconds in zip(spans, whole, strict=True)]


def gender_numbers(table: pd.DataFrame, remedy: str) -> np.ndarray:
    """Number of each utterance's speaker's gender, its place in `GENDERS`, int64, shape (utterances,).

    Args:
        table: utterance table.
        remedy: what to do if a gender is missing, one sentence for the error message.

    Raises:
        UserError: A speaker's gender is not known.
    """
    numbers = table["gender"].map({gender: number for number, gender in enumerate(GENDERS)})
    missing = table.loc[numbers.isna(), "utterance"]
    if len(missing):
        raise UserError(
            f"The speaker's gender is not known for {len(missing)} of {len(table)} utterances, the first "
            f"{missing.iloc[0]}, and this model is trained on it. {remedy}"
        )
    return numbers.to_numpy("int64")


def count_difference(table: pd.DataFrame, subset: Subset) -> str:
    """How a selected table differs from its subset's stated counts, in words; empty if it does not.

    Args:
        table: the utterances of the subset.
        subset: what they should be.
    """
    if not subset.counts:
        return "" if len(table) == subset.expected else f"{len(table)} utterances instead of {subset.expected}"
    found = table["emotion"].value_counts()
    parts = [
        f"{emotion} {found.get(emotion, 0)} instead of {expected}"
        for emotion, expected in subset.counts.items()
        if found.get(emotion, 0) != expected
    ]
    return ", ".join(parts)


def select(
    table: pd.DataFrame, corpus: str, subset: Subset, *, partial: bool = False
) -> tuple[pd.DataFrame, list[str]]:
    """The utterances of a subset, with its emotions merged and its counts checked.

    Args:
        table: the whole corpus' utterance table.
        corpus: its name.
        subset: which part.
        partial: go on if the counts differ.

    Returns:
        The part of the table, renumbered, and flags: what every result of this run must carry
        ("partial: 350 of 2800 utterances").

    Raises:
        UserError: the counts differ and `partial` is False.
        CorpusAbsent: nothing of the subset is there.
    """
    chosen = table
    if subset.where is not None:
        chosen = chosen[subset.where(chosen)]
    if subset.counts:
        emotion = chosen["emotion"].replace(dict(subset.merge))
        chosen = chosen.assign(emotion=emotion)[emotion.isin(subset.classes)]
    chosen = chosen.reset_index(drop=True)
    if not len(chosen):
        raise CorpusAbsent(
            f"The folder holds no utterance of {corpus}/{subset.name} (expected {subset.expected}). "
            f"`ser corpora {corpus}` shows the layout it should have."
        )
    difference = count_difference(chosen, subset)
    if not difference:
        return chosen, []
    if not partial:
        raise UserError(
            f"{corpus}/{subset.name} should have {subset.expected} utterances but the folder gives {len(chosen)}: "
            f"{difference}. Complete the folder, or go on with --partial (every result will then say so)."
        )
    return chosen, [f"partial: {len(chosen)} of {subset.expected} utterances"]


def fingerprint(table: pd.DataFrame) -> str:
    """A short hash of what a run learns from: ids, labels, speakers, texts and file sizes.

    The audio's own bytes enter the feature cache's keys; file sizes here keep this instant.

    Args:
        table: a subset's utterances.

    Returns:
        16 hexadecimal digits.
    """
    import hashlib
    import os

    digest = hashlib.blake2b(digest_size=8)
    columns = [column for column in COLUMNS if column not in ("path", "duration")]
    for row in table[columns].itertuples(index=False):
        digest.update("\x1f".join(str(value) for value in row).encode())
    for path in table["path"]:
        digest.update(str(os.path.getsize(path) if os.path.exists(path) else -1).encode())
    return digest.hexdigest()
