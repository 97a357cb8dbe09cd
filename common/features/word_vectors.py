"""Pretrained vectors of the words in a vocabulary (Atmaja and Akagi 2020, Table 2: GloVe, fastText).

gensim reads the vectors. It gets a small file with only the words of the vocabulary, which `common.features.word_files`
filters from the large one, so memory grows with the vocabulary and not with the file. Vectors that are used often, or
in many processes, can be converted once by `convert` and are then memory-mapped. gensim's own memory-mapped format is
not supported, because its `load` unpickles, and so runs any code that the file contains.
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
from common.features.word_files import Record, VectorFile, first_invalid_number, open_vectors

if TYPE_CHECKING:
    from common.features.words import Vocabulary

WORDS, VECTORS = "words.txt", "vectors.npy"
BATCH = 20_000
"""How many vectors `convert` holds in memory at once."""


@dataclass(frozen=True)
class WordVectors:
    """Vectors of the words in a vocabulary.

    Attributes:
        matrix: shape (len(vocabulary), dimension), float32; zeros for padding, unknown words and words not found.
        missing_tokens: share of the words in the training texts that have no vector.
        notes: sentences about words in the file that were skipped.
    """

    matrix: np.ndarray
    missing_tokens: float
    notes: tuple[str, ...] = ()


def word_vectors(path: str | Path, vocabulary: Vocabulary, dimension: int = 300) -> WordVectors:
    """Reads the vectors of the words in a vocabulary.

    Words are looked up in lower case, as the tokeniser returns them.

    Args:
        path: a file in word2vec text or binary format, fastText's .vec, or GloVe's text without a header, each also
            gzipped; or a folder that `convert` wrote.
        vocabulary: the words. If the file has a word twice, the first vector is used (as in gensim).
        dimension: numbers per vector.

    Raises:
        ValueError: `dimension` is below 1.
        UserError: The file is missing, damaged, a pickle, or not a file of word vectors of that dimension. The message
            names the line.
    """
    if dimension < 1:
        raise ValueError(f"A vector must have at least one number, not {dimension}.")
    if Path(path).is_dir():
        rows, vectors = _from_folder(Path(path), vocabulary.words, dimension)
        return _result(vocabulary, rows, vectors, ())
    # Words are compared as bytes, so that millions of them need not be decoded.
    row_of = {word.encode("utf-8", "surrogatepass"): row for row, word in enumerate(vocabulary.words)}
    kept: dict[int, Record] = {}
    with open_vectors(path, dimension) as file:
        for record in file.records():
            row = row_of.get(record.word)
            if row is not None and row not in kept:
                kept[row] = record
        vectors = _through_gensim(file, list(kept.values()))
        return _result(vocabulary, list(kept), vectors, _notes(file))


def convert(path: str | Path, folder: str | Path, dimension: int = 300) -> Path:
    """Converts a file of word vectors for memory-mapping: words.txt (one word per line) and vectors.npy (float32).

    Only one batch of vectors is in memory at a time. The folder appears only when it is complete.

    Args:
        path: a file as for `word_vectors`.
        folder: folder for the two files; must not exist.
        dimension: numbers per vector.

    Returns:
        The folder.

    Raises:
        UserError: The folder exists, or the file is not what `word_vectors` accepts.
    """
    folder = Path(folder)
    if folder.exists():
        raise UserError(f"{folder} already exists; choose a new folder for the converted word vectors.")
    unfinished = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open_vectors(path, dimension) as file:
            unfinished.mkdir(parents=True)
            _write_folder(file, unfinished)
        os.rename(unfinished, folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return folder


def _write_folder(file: VectorFile, folder: Path) -> None:
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
    # NumPy pads a header so that the first axis can have 21 digits: the final header is as long as the first one.
    described = {"descr": "<f4", "fortran_order": False, "shape": (rows, dimension)}
    np.lib.format.write_array_header_1_0(file, described)


def _through_gensim(file: VectorFile, records: Sequence[Record]) -> np.ndarray:
    """Vectors of some records, shape (records, dimension), read by gensim from a temporary file."""
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
            if (entry := first_invalid_number(record.vector)) is not None:
                raise UserError(f"{file.location(record.number)}: '{entry}' is not a number.") from error
        raise
    finally:
        os.unlink(name)
    invalid = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(invalid):
        record = records[invalid[0]]
        word = record.word.decode("utf-8", "backslashreplace")
        raise UserError(
            f"{file.location(record.number)}: the vector of '{word}' contains values that are not finite numbers. "
            "Use a file without them."
        )
    return vectors


def _from_folder(folder: Path, words: Sequence[str], dimension: int) -> tuple[list[int], np.ndarray]:
    """Rows of the words that a converted folder contains, and their vectors, which alone are read from disk."""
    try:
        lines, found = _find_lines(folder / WORDS, words)
        vectors = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"{folder} is not a folder of converted word vectors; expected {WORDS} and {VECTORS} ({error})."
        ) from error
    if vectors.ndim != 2 or vectors.dtype != np.float32 or len(vectors) != lines:
        raise UserError(
            f"{folder} is damaged: {WORDS} has {lines} complete lines, {VECTORS} is {vectors.dtype} of shape "
            f"{vectors.shape}. Convert the vectors again."
        )
    if vectors.shape[1] != dimension:
        raise UserError(f"{folder} contains vectors of {vectors.shape[1]} numbers; expected {dimension}.")
    rows = list(found)
    kept = np.array(vectors[[found[row] for row in rows]] if rows else np.zeros((0, dimension), np.float32))
    if not np.isfinite(kept).all():
        raise UserError(
            f"{folder} is damaged: {VECTORS} contains values that are not finite. Convert the vectors again."
        )
    return rows, kept


def _find_lines(path: Path, words: Sequence[str]) -> tuple[int, dict[int, int]]:
    """Counts the complete lines of a word list, and finds the line of each word (by its row) that it contains."""
    row_of = {word.encode("utf-8", "surrogatepass") + b"\n": row for row, word in enumerate(words)}
    found: dict[int, int] = {}
    lines = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file):
            lines += line.endswith(b"\n")
            if line in row_of:
                found.setdefault(row_of[line], number)
    return lines, found


def _result(vocabulary: Vocabulary, rows: list[int], vectors: np.ndarray, notes: tuple[str, ...]) -> WordVectors:
    reserved = len(vocabulary) - len(vocabulary.words)
    matrix = np.zeros((len(vocabulary), vectors.shape[1]), np.float32)
    missing = np.ones(len(vocabulary.words), bool)
    if rows:
        matrix[np.array(rows) + reserved] = vectors
        missing[rows] = False
    counts = np.array(vocabulary.counts, np.float64)
    missing_tokens = float(counts[missing].sum() / counts.sum()) if counts.sum() else 0.0
    return WordVectors(matrix, missing_tokens, notes)


def _notes(file: VectorFile) -> tuple[str, ...]:
    skipped = {"with spaces": file.with_spaces, "that are not UTF-8": file.undecodable}
    return tuple(f"{file.path.name}: skipped words {what}: {count}." for what, count in skipped.items() if count)
