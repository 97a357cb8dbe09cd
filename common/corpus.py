"""The utterance table, into which every corpus is read, and subsets with the counts that papers state.

A corpus on disk becomes a pandas DataFrame with one row per utterance and the columns of `COLUMNS`. A `Subset` is a
named filter with the counts that a paper states. If the utterances found have other counts, selecting the subset stops
with the differences, so that "4 classes" cannot silently mean another selection than the paper's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import CorpusAbsent, UserError, look_up

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
    "session": "str",  # missing if the corpus has no sessions
    "dialogue": "str",
    "script": "str",  # id of the text that was read or acted; missing: improvised
    "text": "str",  # transcript
    "emotion": "str",  # one of EMOTIONS, or a label of the user's own
    "valence": "float64",  # on the corpus's own scale
    "arousal": "float64",
    "dominance": "float64",
    "split": "str",  # train, validation or test, if whoever made the corpus says so
    "duration": "float64",  # s; missing: the audio file cannot be read
}
"""Columns of the utterance table, in order, with their types."""

EMOTIONS = (
    "angry", "bored", "calm", "disgusted", "excited", "fearful", "frustrated", "happy",
    "neutral", "other", "sad", "surprised", "unresolved",
)  # fmt: skip
"""All values that `emotion` may have; "unresolved" is an utterance whose raters did not agree."""

GENDERS = ("female", "male")


@dataclass(frozen=True)
class Subset:
    """A named part of a corpus, with the counts that papers state.

    Attributes:
        name: name within the corpus, for example "4class-improvised".
        counts: utterances per emotion after merging, in the order of the class numbers. Empty for a subset that keeps
            every label (for example all utterances with ratings); `total` is then given.
        total: number of utterances if `counts` is empty.
        merge: emotions that count as another one, for example {"excited": "happy"}.
        where: function from the utterance table to a boolean mask; None keeps all utterances.
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
        """The emotions of this subset in the order of their numbers; empty if it keeps all labels."""
        return tuple(self.counts)

    @property
    def expected(self) -> int:
        """How many utterances the subset must have."""
        return sum(self.counts.values()) if self.counts else self.total


@dataclass(frozen=True)
class Corpus:
    """What is known about a corpus without reading it.

    Attributes:
        name: short name, which is also its folder's, for example "emodb".
        title: full name.
        language: language(s) spoken.
        licence: licence or terms, in a few words.
        access: how to get it, one sentence.
        layout: what the folder must hold, in words.
        subsets: the named subsets.
        default_subset: the subset to use if an experiment of another corpus is run on this one.
        utterances: number of utterances in the released corpus.
        speakers: number of speakers.
        sessions: number of recording sessions; 0 if it has no sessions.
        hours: hours of speech; 0 if they are not known.
        synthetic: True if the speech is synthetic.
        shipped: folder of a corpus that is part of this software; None for all others.
        own: the table that lists a user's own recordings (see `data_prep.recordings`); None for published corpora.
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
    own: Path | None = None

    def subset(self, name: str) -> Subset:
        """Returns the subset with that name.

        Raises:
            UserError: There is no such subset; offers the nearest names.
        """
        return look_up(f"subset of {self.name}", name, {subset.name: subset for subset in self.subsets})


def build_table(rows: Iterable[Mapping], corpus: str, emotions: tuple[str, ...] | None = EMOTIONS) -> pd.DataFrame:
    """Builds and validates the utterance table of a corpus.

    Missing durations are read from the headers of the audio files. If a header cannot be read, the duration stays
    missing, and `common.features.store` reports the file when its audio is needed.

    Args:
        rows: mappings with keys from `COLUMNS`; a key that is left out is a missing value.
        corpus: name of the corpus, for error messages.
        emotions: all values that `emotion` may have; None: any.

    Returns:
        The table, sorted by path and utterance, with the columns and types of `COLUMNS`.

    Raises:
        UserError: A column, emotion or gender is not in the vocabulary, an utterance occurs twice, or a path is not
            UTF-8.
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
    if emotions is not None:
        _check_vocabulary(table, "emotion", emotions, corpus)
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
    """Numbers the genders of the utterances' speakers by their places in `GENDERS`.

    Args:
        table: utterance table.
        remedy: what the user can do if a gender is missing, one sentence for the error message.

    Returns:
        int64, shape (utterances,).

    Raises:
        UserError: The gender of a speaker is missing.
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
    """Describes how a table differs from the stated counts of its subset.

    Args:
        table: the utterances of the subset.
        subset: the subset that they should be.

    Returns:
        The differences in words; empty if there are none.
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
    """Selects the utterances of a subset, merges emotions and checks the counts.

    Args:
        table: utterance table of the whole corpus.
        corpus: its name.
        subset: the subset to select.
        partial: continue if the counts differ.

    Returns:
        The selected rows, with a new index, and flags: what every result on them must state
        ("partial: 350 of 2800 utterances").

    Raises:
        UserError: The counts differ and `partial` is False.
        CorpusAbsent: The folder holds no utterance of the subset.
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
            f"{difference}. Complete the folder, or allow a partial corpus with the option `partial`; every result "
            "will then say so."
        )
    return chosen, [f"partial: {len(chosen)} of {subset.expected} utterances"]


def fingerprint(table: pd.DataFrame) -> str:
    """Hashes what a run is trained and tested on: ids, labels, speakers, texts and the content of the audio files.

    Args:
        table: utterances of a subset.

    Returns:
        16 hexadecimal digits.
    """
    import hashlib

    digest = hashlib.blake2b(digest_size=8)
    columns = [column for column in COLUMNS if column not in ("path", "duration")]
    for row, audio in zip(table[columns].itertuples(index=False), with_checksums(table)["audio"], strict=True):
        digest.update("\x1f".join([*map(str, row), audio]).encode())
    return digest.hexdigest()


def with_checksums(table: pd.DataFrame) -> pd.DataFrame:
    """An utterance table with the column "audio", the checksum of each audio file, "" for a file that cannot be read.

    A table that has it (see `ser.subsets`) stays as it is; otherwise the files are read.
    """
    from common.files import checksum

    if "audio" in table:
        return table
    paths = list(table["path"].dropna().unique())
    with ThreadPoolExecutor(8) as pool:
        checksums = pool.map(lambda path: checksum(Path(path)) if Path(path).is_file() else "", paths)
        known = dict(zip(paths, checksums, strict=True))
    return table.assign(audio=[known.get(path, "") for path in table["path"]])
