"""Pretrained word vectors of a vocabulary's words (Atmaja and Akagi 2020, Table 2: GloVe, fastText).

gensim reads the vectors. It is not given the whole file but a small one with the vocabulary's words, filtered by
`common/features/word_files.py`: memory grows with the vocabulary, not with the file. Vectors that are used often, or
in many processes, can be laid out once by `convert` and are then memory-mapped. gensim's own memory-mapped format is
not read: its `load` unpickles, that is, runs what the file says.
"""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.errors import UserError
from common.features.word_files import Record, VectorFile, first_wrong, open_vectors

if TYPE_CHECKING:
    from common.features.words import Vocabulary

WORDS, VECTORS = "words.txt", "vectors.npy"
BATCH = 20_000
"""Vectors that `convert` holds in memory at once."""


@dataclass(frozen=True)
class WordVectors:
    """Vectors of a vocabulary.

    Attributes:
        matrix: shape (len(vocabulary), dimension), float32; zeros for padding, the unknown word and words not found.
        missing_types: share of the vocabulary's words that the file does not hold.
        missing_tokens: the same, each word counted as often as it occurs in the training texts.
        notes: what was passed over in the file, a sentence each.
    """

    matrix: np.ndarray
    missing_types: float
    missing_tokens: float
    notes: tuple[str, ...] = ()


def word_vectors(path: str | Path, vocabulary: Vocabulary, dimension: int = 300) -> WordVectors:
    """Vectors of a vocabulary's words.

    Words are looked up as the tokeniser writes them: in lower case.

    Args:
        path: word2vec text or binary, fastText's .vec, or GloVe's text without a header, each also gzipped; or a folder
            that `convert` wrote.
        vocabulary: words; of a word that the file holds twice, the first vector counts (as in gensim).
        dimension: numbers in a vector.

    Raises:
        UserError: missing, damaged, of another dimension, a pickle or no file of word vectors; names the line.
    """
    if dimension < 1:
        raise ValueError(f"a vector has at least one number, not {dimension}.")
    if Path(path).is_dir():
        rows, vectors = _from_folder(Path(path), vocabulary.words, dimension)
        return _result(vocabulary, rows, vectors, ())
    # Bytes are compared: millions of words need no decoding for a few thousand to be found.
    places = {word.encode("utf-8", "surrogatepass"): row for row, word in enumerate(vocabulary.words)}
    kept: dict[int, Record] = {}
    with open_vectors(path, dimension) as file:
        for record in file.records():
            row = places.get(record.word)
            if row is not None and row not in kept:
                kept[row] = record
        vectors = _through_gensim(file, list(kept.values()))
        return _result(vocabulary, list(kept), vectors, _notes(file))


def convert(path: str | Path, folder: str | Path, dimension: int = 300) -> Path:
    """Lays word vectors out for memory-mapping: words.txt (a word a line) and vectors.npy (float32).

    One batch and the set of words are in memory at a time, never all vectors. The folder appears whole or not at all.

    Args:
        path: a file as for `word_vectors`.
        folder: where to put the two files; must not exist.
        dimension: numbers in a vector.

    Returns:
        The folder.
    """
    folder = Path(folder)
    if folder.exists():
        raise UserError(f"{folder} exists already; name a new folder for the converted word vectors.")
    unfinished = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open_vectors(path, dimension) as file:
            unfinished.mkdir(parents=True)
            _lay_out(file, unfinished)
        os.rename(unfinished, folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return folder


def _lay_out(file: VectorFile, folder: Path) -> None:
    seen: set[bytes] = set()
    records = (record for record in file.records() if record.word not in seen and not seen.add(record.word))
    with open(folder / WORDS, "wb") as words, open(folder / VECTORS, "wb") as vectors:
        _write_header(vectors, 0, file.dimension)
        while batch := list(itertools.islice(records, BATCH)):
            words.writelines(record.word + b"\n" for record in batch)
            vectors.write(_through_gensim(file, batch).tobytes())
        vectors.seek(0)
        _write_header(vectors, len(seen), file.dimension)


def _write_header(file, rows: int, dimension: int) -> None:
    # NumPy leaves room for the first axis to grow to 21 digits, so the final header fits where the first one stood.
    described = {"descr": "<f4", "fortran_order": False, "shape": (rows, dimension)}
    np.lib.format.write_array_header_1_0(file, described)


def _through_gensim(file: VectorFile, records: Sequence[Record]) -> np.ndarray:
    """Vectors of records, as gensim reads them from a file of those records alone; shape (records, dimension)."""
    if not records:
        return np.zeros((0, file.dimension), np.float32)
    from gensim.models import KeyedVectors

    handle, name = tempfile.mkstemp(suffix=".bin" if file.binary else ".txt")
    try:
        with open(handle, "wb") as small:
            small.write(f"{len(records)} {file.dimension}\n".encode())
            ending = b"" if file.binary else b"\n"
            small.writelines(record.word + b" " + record.vector + ending for record in records)
        with np.errstate(over="ignore"):
            vectors = KeyedVectors.load_word2vec_format(name, binary=file.binary).vectors
    except ValueError as error:
        for record in records:
            if (entry := first_wrong(record.vector)) is not None:
                raise UserError(f"{file.place(record.number)}: '{entry}' is not a number.") from error
        raise
    finally:
        os.unlink(name)
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(wrong):
        record = records[wrong[0]]
        word = record.word.decode("utf-8", "backslashreplace")
        raise UserError(
            f"{file.place(record.number)}: the vector of '{word}' holds values that are not finite numbers. "
            "Use a file without them."
        )
    return vectors


def _from_folder(folder: Path, words: Sequence[str], dimension: int) -> tuple[list[int], np.ndarray]:
    """Rows of a vocabulary that a converted folder holds, and their vectors; only those are read from the disk."""
    try:
        lines, found = _find_lines(folder / WORDS, words)
        vectors = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"{folder} is not a folder of converted word vectors: {WORDS} and {VECTORS} are expected ({error})."
        ) from error
    if vectors.ndim != 2 or vectors.dtype != np.float32 or len(vectors) != lines:
        raise UserError(
            f"{folder} is damaged: {WORDS} has {lines} whole lines, {VECTORS} is {vectors.dtype} of shape "
            f"{vectors.shape}. Convert the vectors again."
        )
    if vectors.shape[1] != dimension:
        raise UserError(f"{folder} holds vectors of {vectors.shape[1]} numbers, but {dimension} were asked for.")
    rows = list(found)
    kept = np.array(vectors[[found[row] for row in rows]] if rows else np.zeros((0, dimension), np.float32))
    if not np.isfinite(kept).all():
        raise UserError(f"{folder} is damaged: {VECTORS} holds values that are not finite. Convert the vectors again.")
    return rows, kept


def _find_lines(path: Path, words: Sequence[str]) -> tuple[int, dict[int, int]]:
    """Number of whole lines of a word list, and the line of each word of a vocabulary that it holds."""
    places = {word.encode("utf-8", "surrogatepass") + b"\n": row for row, word in enumerate(words)}
    found: dict[int, int] = {}
    lines = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file):
            lines += line.endswith(b"\n")
            if line in places:
                found.setdefault(places[line], number)
    return lines, found


def _result(vocabulary: Vocabulary, rows: list[int], vectors: np.ndarray, notes: tuple[str, ...]) -> WordVectors:
    reserved = len(vocabulary) - len(vocabulary.words)
    matrix = np.zeros((len(vocabulary), vectors.shape[1]), np.float32)
    missing = np.ones(len(vocabulary.words), bool)
    if rows:
        matrix[np.array(rows) + reserved] = vectors
        missing[rows] = False
    counts = np.array(vocabulary.counts, np.float64)
    types = float(missing.mean()) if len(missing) else 0.0
    tokens = float(counts[missing].sum() / counts.sum()) if counts.sum() else 0.0
    return WordVectors(matrix, types, tokens, notes)


def _notes(file: VectorFile) -> tuple[str, ...]:
    passed = {"with blanks": file.blanks, "that are not UTF-8": file.undecodable}
    return tuple(f"{file.path.name}: {count} words {what} were passed over." for what, count in passed.items() if count)
