"""A table of recordings is a corpus: one's own data, without a reader in this suite.

The table is a .csv, .tsv or .parquet file with one row per utterance, or a folder of the Hugging Face `datasets` layout
(a metadata.csv, in the folder itself or in its folders train, validation and test). Its columns:

- path (or file_name): the audio file, relative to the table;
- emotion: any words; classes are the words that occur;
- valence, arousal, dominance: numbers on any scale;
- speaker, session, gender, text, dialogue, script;
- start, end: seconds into the file, for recordings with several utterances;
- split: train, validation or test.

All but path may be missing, and columns of other names can be mapped to these. Whatever the table says is kept; what it
cannot mean is an error that names file and line.
"""

from __future__ import annotations

import csv
import dataclasses
import difflib
import functools
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.corpus import COLUMNS, Corpus, Subset, build_table
from common.errors import UserError, unknown
from common.files import write_json
from data_prep.readers import NAMES

if TYPE_CHECKING:
    import pandas as pd

GIVEN = tuple(column for column in COLUMNS if column not in ("utterance", "duration"))
"""Columns that a table may have."""

RATINGS = ("valence", "arousal", "dominance")

EMOTIONS_SUBSET, RATINGS_SUBSET = "emotions", "ratings"
"""Names of the subsets: the utterances with an emotion, and those with ratings."""

GENDER = {"f": "female", "female": "female", "w": "female", "woman": "female",
          "m": "male", "male": "male", "man": "male"}  # fmt: skip
"""What a table may write for the gender of a speaker, in any case."""

SPLIT = {"train": "train", "training": "train", "validation": "validation", "valid": "validation",
         "val": "validation", "dev": "validation", "development": "validation", "test": "test",
         "eval": "test"}  # fmt: skip
"""What a table may write for the part of an utterance, in any case."""


@dataclass(frozen=True)
class TableOptions:
    """How to read a table.

    Attributes:
        columns: the table's own name of a column, by the name used here: {"emotion": "label"}.
        merge: labels that count as another one: {"excited": "happy"}.
        drop: labels whose utterances are left out.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    merge: Mapping[str, str] = field(default_factory=dict)
    drop: Sequence[str] = ()


class Recordings:
    """Reads one table; stands where a reader's module stands for other corpora.

    Args:
        path: the table, or a folder.
        options: how to read it.
        name: the corpus's name; None: made from the path.

    Attributes:
        CORPUS: what the table holds.

    Raises:
        UserError: The table cannot be read, or a line of it cannot be meant.
    """

    def __init__(self, path: Path, options: TableOptions, name: str | None = None):
        self.path = path.expanduser().resolve()
        self.options = options
        self.table = _read(self.path, options)
        self.CORPUS = _corpus(self.path, self.table, name or _name_of(self.path))

    @property
    def entry(self) -> Path:
        """The file that keeps the table's place if it was added."""
        return _file_of(self.CORPUS.name)

    def read(self, root: Path) -> pd.DataFrame:
        """The utterance table (see `common.corpus`)."""
        return self.table


_opened: dict[str, Recordings] = {}


def open_table(path: Path, options: TableOptions) -> str:
    """Makes a table usable as a corpus in this process.

    Returns:
        The corpus's name.

    Raises:
        UserError: See `Recordings`.
    """
    made = Recordings(path, options)
    _opened[made.CORPUS.name] = made
    return made.CORPUS.name


def add(name: str, path: Path, options: TableOptions) -> Recordings:
    """Keeps a table's place and how to read it below the folder of corpora, so that its name can be used from now on.

    Raises:
        UserError: The name cannot be a corpus's, or the table cannot be read.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
        raise UserError(f"'{name}' cannot be a corpus's name: use small letters, digits, _ and -, first a letter.")
    if name in NAMES:
        raise UserError(f"{name} is the name of a published corpus; choose another one.")
    made = Recordings(path, options, name)
    record = {"table": str(made.path), **dataclasses.asdict(options)}
    write_json(made.entry, record)
    return made


def added() -> list[str]:
    """Names of the tables that were added."""
    return sorted(file.stem for file in _file_of("x").parent.glob("*.json"))


def find(name: str) -> Recordings | None:
    """The table of that name, opened in this process or added before; None if there is none.

    Raises:
        UserError: The table was moved, or can no longer be read.
    """
    if name in _opened:
        return _opened[name]
    file = _file_of(name)
    if not file.is_file():
        return None
    try:
        record = json.loads(file.read_bytes())
        options = TableOptions(dict(record["columns"]), dict(record["merge"]), tuple(record["drop"]))
        path = Path(record["table"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} is damaged ({error}). Add the table again: ser corpora add {name} TABLE.") from None
    _opened[name] = Recordings(path, options, name)
    return _opened[name]


def _file_of(name: str) -> Path:
    return Path(os.environ.get("SER_CORPORA", "corpora")).expanduser() / f"{name}.json"


def _name_of(path: Path) -> str:
    """The corpus's name: the file's or folder's, in small letters; never that of a corpus with a reader."""
    name = re.sub(r"[^a-z0-9_-]+", "-", path.stem.lower()).strip("-") or "table"
    return f"{name}-table" if name in NAMES else name


@dataclass(frozen=True)
class _Row:
    """One row as it stands in the table: its values by the table's own column names, and where it stands."""

    values: Mapping[str, Any]
    folder: Path
    where: str


def _rows(path: Path) -> list[_Row]:
    """The rows of a table or folder.

    Raises:
        UserError: It cannot be read, or is of no known format.
    """
    if path.is_dir():
        return _rows_of_folder(path)
    if not path.is_file():
        raise UserError(f"There is no table {path}.")
    kind = path.suffix.lower()
    if kind == ".parquet":
        return _rows_of_parquet(path)
    if kind in (".csv", ".tsv"):
        return list(_rows_of_text(path))
    raise UserError(f"{path} is no table that can be read; use .csv, .tsv, .parquet, or a folder with metadata.csv.")


def _rows_of_folder(folder: Path) -> list[_Row]:
    rows = []
    for place in (folder, *(folder / name for name in SPLIT)):
        file = place / "metadata.csv"
        if file.is_file():
            own = {} if place == folder else {"split": place.name}
            rows += [dataclasses.replace(row, values={**own, **row.values}) for row in _rows_of_text(file)]
    if not rows:
        raise UserError(f"{folder} has no metadata.csv, neither itself nor in a folder train, validation or test.")
    return rows


def _rows_of_text(path: Path) -> Iterator[_Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            # Spreadsheets of some languages write semicolons.
            separator = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=head.count)
            file.seek(0)
            reader = csv.reader(file, delimiter=separator, strict=True)
            names = [name.strip() for name in next(reader, [])]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise UserError(f"{path}, line 1: the column {twice[0]} occurs twice.")
            last = reader.line_num
            for values in reader:
                where, last = f"{path.name}, line {last + 1}", reader.line_num
                if not any(value.strip() for value in values):
                    continue
                if len(values) != len(names):
                    raise UserError(f"{where}: {len(values)} fields, but the first line names {len(names)} columns.")
                row = {name: value.strip() for name, value in zip(names, values, strict=True)}
                yield _Row(row, path.parent, where)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8.") from None
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}).") from None


def _rows_of_parquet(path: Path) -> list[_Row]:
    import pyarrow

    try:
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{path} cannot be read as Parquet ({str(error).splitlines()[0]}).") from None
    return [_Row(row, path.parent, f"{path.name}, row {number}") for number, row in enumerate(table, start=1)]


def _read(path: Path, options: TableOptions) -> pd.DataFrame:
    """The utterance table of a table, with the notes that every result must state in `attrs["notes"]`."""
    rows = _rows(path)
    if not rows:
        raise UserError(f"{path} has no rows.")
    names, unused = _column_names(path, rows, options)
    made, where = [], []
    labels = _Labels(path, options)
    for row in rows:
        values = {column: row.values.get(own) for column, own in names.items()}
        values = {column: value for column, value in values.items() if value is not None and value != ""}
        values = {column: str(value) if COLUMNS[column] == "str" else value for column, value in values.items()}
        if labels.leave_out(values):
            continue
        made.append(_utterance(row, values))
        where.append(row.where)
    labels.check()
    _check_files(made, where)
    _check_twice(made, where)
    _check_classes(path, made, where)
    _check_speakers(path, made, where)
    _check_genders(made, where)
    table = build_table(made, path.name, emotions=None)
    _check_ends(table)
    table.attrs["notes"] = _notes(table, unused)
    return table


def _column_names(path: Path, rows: Sequence[_Row], options: TableOptions) -> tuple[dict[str, str], list[str]]:
    """The table's own name of each column that it has, by the name used here; and the columns that are not used."""
    present = list(dict.fromkeys(name for row in rows for name in row.values))
    for column, own in options.columns.items():
        if column not in GIVEN:
            raise unknown("column for --column", column, GIVEN)
        if own not in present:
            raise unknown(f"column of {path.name}", own, present)
    names = {column: column for column in GIVEN if column in present}
    if "path" not in names and "file_name" in present:
        names["path"] = "file_name"
    names |= options.columns
    unused = [name for name in present if name not in names.values()]
    for name in unused:
        missing = [column for column in GIVEN if column not in names]
        if near := difflib.get_close_matches(name.lower(), missing, n=1, cutoff=0.8):
            raise UserError(
                f"{path.name} has a column '{name}', which is not known. If it is the {near[0]}, add "
                f"--column {near[0]}={name}, or rename it."
            )
    if "path" not in names:
        raise UserError(
            f"{path.name} has no column path; it has {', '.join(present)}. `--column path=NAME` says which one names "
            "the audio files."
        )
    return names, unused


class _Labels:
    """Merges and drops labels, and finds out whether each that was named occurs."""

    def __init__(self, path: Path, options: TableOptions):
        self.path, self.options = path, options
        self.seen: set[str] = set()

    def leave_out(self, values: dict[str, Any]) -> bool:
        """Puts the merged label in place of a row's own; True if its utterance is left out."""
        label = values.get("emotion")
        if label is None:
            return False
        self.seen.add(label)
        values["emotion"] = self.options.merge.get(label, label)
        return label in self.options.drop or values["emotion"] in self.options.drop

    def check(self) -> None:
        for option, labels in (("--merge", self.options.merge), ("--drop", self.options.drop)):
            for label in labels:
                if label not in self.seen | set(self.options.merge.values()):
                    raise UserError(
                        f"{option} names the label '{label}', which {self.path.name} does not have; it has "
                        f"{', '.join(sorted(self.seen)) or 'none'}."
                    )


def _utterance(row: _Row, values: dict[str, Any]) -> dict[str, Any]:
    """One row of the utterance table.

    Raises:
        UserError: A value cannot be meant.
    """
    if "path" not in values:
        raise UserError(f"{row.where}: the path is missing.")
    made = {column: value for column, value in values.items() if column not in (*RATINGS, "start", "end")}
    for column in (*RATINGS, "start", "end"):
        if column in values:
            made[column] = _number(row.where, column, values[column])
    for column, words in (("gender", GENDER), ("split", SPLIT)):
        if column in values:
            word = values[column].lower()
            if word not in words:
                known = ", ".join(dict.fromkeys(words.values()))
                raise UserError(f"{row.where}: the {column} is '{values[column]}'; it is one of {known}.")
            made[column] = words[word]
    start, end = made.get("start", 0.0), made.get("end", math.inf)
    if not 0 <= start < end:
        raise UserError(f"{row.where}: start is {start:g} and end is {end:g}; 0 <= start < end is needed (seconds).")
    path = Path(values["path"]).expanduser()
    made["path"] = str(Path(os.path.normpath(row.folder / path)))
    span = f"#{start:g}-{end:g}" if "start" in made or "end" in made else ""
    made["utterance"] = Path(values["path"]).as_posix() + span
    return made


def _number(where: str, column: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{where}: the {column} is '{value}', which is no number.")
    return number


def _check_files(rows: Sequence[Mapping[str, Any]], where: Sequence[str]) -> None:
    exists = {path: Path(path).is_file() for path in {row["path"] for row in rows}}
    missing = [(place, row["path"]) for row, place in zip(rows, where, strict=True) if not exists[row["path"]]]
    if missing:
        place, path = missing[0]
        more = f", and {len(missing) - 1} other lines name files that do not exist" if len(missing) > 1 else ""
        raise UserError(f"{place}: there is no file {path}{more}. Paths are relative to the table.")


def _check_twice(rows: Sequence[Mapping[str, Any]], where: Sequence[str]) -> None:
    seen: dict[tuple, str] = {}
    for row, place in zip(rows, where, strict=True):
        key = row["path"], row.get("start"), row.get("end")
        if key in seen:
            raise UserError(f"{place}: {row['utterance']} was there before ({seen[key]}); each utterance counts once.")
        seen[key] = place


def _check_classes(path: Path, rows: Sequence[Mapping[str, Any]], where: Sequence[str]) -> None:
    places: dict[str, list[str]] = {}
    for row, place in zip(rows, where, strict=True):
        if "emotion" in row:
            places.setdefault(row["emotion"], []).append(place)
    for label, own in places.items():
        if len(own) == 1:
            raise UserError(
                f"{own[0]}: the emotion '{label}' has one utterance, which cannot be trained on and tested. Leave it "
                f"out (--drop {label}) or count it as another one (--merge {label}=OTHER)."
            )
    if len(places) == 1:
        raise UserError(f"{path.name} has one emotion, '{next(iter(places))}'; at least two are needed.")


def _check_speakers(path: Path, rows: Sequence[dict[str, Any]], where: Sequence[str]) -> None:
    """Speakers are given for all utterances or for none; their names become parts of file names."""
    for column in ("speaker", "session"):
        lacking = [place for row, place in zip(rows, where, strict=True) if column not in row]
        if lacking and len(lacking) < len(rows):
            raise UserError(f"{lacking[0]}: the {column} is missing, and other lines have one.")
        safe: dict[str, str] = {}
        for row in rows:
            if column in row:
                own = row[column]
                row[column] = re.sub(r"[^\w.+-]", "_", own)
                if safe.setdefault(row[column], own) != own:
                    raise UserError(
                        f"{path.name}: the {column}s '{safe[row[column]]}' and '{own}' differ only in characters that "
                        "file names cannot have; rename one."
                    )


def _check_genders(rows: Sequence[Mapping[str, Any]], where: Sequence[str]) -> None:
    known: dict[str, tuple[str, str]] = {}
    for row, place in zip(rows, where, strict=True):
        if "speaker" in row and "gender" in row:
            gender, before = known.setdefault(row["speaker"], (row["gender"], place))
            if gender != row["gender"]:
                raise UserError(f"{place}: speaker {row['speaker']} is {row['gender']}, but {gender} in {before}.")


def _check_ends(table: pd.DataFrame) -> None:
    from common.audio import duration

    with_end = table[table["end"].notna()]
    lengths = {path: duration(path) for path in with_end["path"].unique()}
    for utterance, path, end in zip(with_end["utterance"], with_end["path"], with_end["end"], strict=True):
        if end > lengths[path] + 0.01:  # rounded to hundredths in many tables
            raise UserError(f"{utterance} ends at {end:g} s, but {path} is {lengths[path]:.2f} s long.")


def _notes(table: pd.DataFrame, unused: Sequence[str]) -> list[str]:
    notes = []
    if table["speaker"].isna().all():
        notes.append("speakers are not known: a speaker may be in the training and the test part")
    unlabelled = int((table["emotion"].isna() & table[list(RATINGS)].isna().all(axis=1)).sum())
    if unlabelled:
        notes.append(f"{unlabelled} of {len(table)} utterances have no label and are left out")
    return notes


def _rated(dimensions: Sequence[str], table: pd.DataFrame) -> pd.Series:
    return table[list(dimensions)].notna().all(axis=1)


def _corpus(path: Path, table: pd.DataFrame, name: str) -> Corpus:
    """What a table holds, with a subset of the utterances with emotions, and one of those with ratings."""
    subsets = []
    counts = table["emotion"].value_counts()
    if len(counts):
        subsets.append(Subset(EMOTIONS_SUBSET, {str(label): int(counts[label]) for label in sorted(counts.index)}))
    given = [dimension for dimension in RATINGS if table[dimension].notna().any()]
    if given:
        rated = functools.partial(_rated, given)
        subsets.append(Subset(RATINGS_SUBSET, total=int(rated(table).sum()), where=rated))
    if not subsets:
        raise UserError(f"{path.name} has neither emotions nor ratings; `--column emotion=NAME` says where they are.")
    return Corpus(
        name=name,
        title=f"own recordings ({path.name})",
        language="",
        licence="your own",
        access="",
        layout=str(path),
        subsets=tuple(subsets),
        default_subset=subsets[0].name,
        utterances=len(table),
        speakers=int(table["speaker"].nunique()),
        sessions=int(table["session"].nunique()),
        hours=float(table["duration"].sum() / 3600),
        own=path,
    )
