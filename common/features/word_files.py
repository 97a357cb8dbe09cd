"""Files of word vectors, read as a stream: word2vec text and binary, GloVe text without a header, each also gzipped.

Published files are large (2.2 million GloVe vectors of 300 numbers are 2.6 GB, and gensim loads all of them before it
returns one), while a corpus needs only a few thousand vectors. The format is recognised by the content, not by the
file name. Every line is checked, and errors name the line.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from common.errors import UserError

BUFFER = 1 << 20
LONGEST_WORD = 1 << 14
CONTROL_CHARACTERS = bytes(byte for byte in range(32) if byte not in b"\t\n\r")

UNSUPPORTED = {
    b"PK\x03\x04": "a ZIP archive; unpack it and give the file inside",
    b"BZh": "compressed with bzip2; unpack it first",
    b"\xfd7zXZ": "compressed with xz; unpack it first",
    b"\x93NUMPY": "a NumPy array without its words; give the folder that `convert` wrote",
    b"\xba\x16\x4f\x2f": "a fastText model, not its vectors; give the .vec file that is published with it",
}
"""First bytes of other formats that users may choose by mistake, and what to tell them."""


class Record(NamedTuple):
    """A word and its vector, as bytes of the file, and the number of its line or vector in the file."""

    number: int
    word: bytes
    vector: bytes


@dataclass
class VectorFile:
    """An open file of word vectors.

    Attributes:
        path: path of the file.
        dimension: numbers per vector.
        stream: the open file, positioned at the first vector.
        binary: numbers are stored as float32 instead of text.
        count: number of vectors according to the header; None without a header.
        with_spaces: words with spaces that were skipped so far (GloVe 840B has some; no tokeniser returns them).
        undecodable: words that are not UTF-8 and were skipped so far.
    """

    path: Path
    dimension: int
    stream: BinaryIO
    binary: bool = False
    count: int | None = None
    with_spaces: int = field(default=0, init=False)
    undecodable: int = field(default=0, init=False)

    def location(self, number: int) -> str:
        """Where a record is, for messages."""
        return f"{self.path}, vector {number}" if self.binary else f"{self.path}, line {number}"

    def records(self) -> Iterator[Record]:
        """Yields all records whose word is valid UTF-8 without spaces.

        Raises:
            UserError: A record is not a word and `dimension` numbers, the number of vectors differs from the header, or
                the file is damaged.
        """
        try:
            for record in self._binary() if self.binary else self._text():
                if b" " in record.word or b"\n" in record.word:
                    self.with_spaces += 1
                elif _is_utf8(record.word):
                    yield record
                else:
                    self.undecodable += 1
        except (EOFError, zlib.error, OSError) as error:
            raise UserError(f"{self.path} is damaged or truncated ({error}). Download it again.") from error

    def _text(self) -> Iterator[Record]:
        first = 1 if self.count is None else 2
        longest = LONGEST_WORD + 64 * self.dimension
        number = first - 1
        for line in iter(lambda: self.stream.readline(longest), b""):
            number += 1
            content = line.rstrip()
            spaces = content.count(b" ")
            if spaces == self.dimension:
                word, _, vector = content.partition(b" ")
            else:
                if not content and not self.stream.read().strip():
                    number -= 1  # only empty lines follow
                    break
                fields = content.rsplit(b" ", self.dimension)
                # Additional fields belong to a word with spaces, unless the second field is a number.
                if spaces < self.dimension or _is_number(content.split(b" ", 2)[1]) or not line.endswith(b"\n"):
                    raise UserError(
                        f"{self.location(number)}: expected a word and {self.dimension} numbers, found {spaces + 1} "
                        "entries. The file is damaged, or not a file of word vectors."
                    )
                word, vector = fields[0], b" ".join(fields[1:])
            yield Record(number, word, vector)
        if self.count is not None and number - 1 != self.count:
            raise UserError(
                f"{self.path}: the header (line 1) announces {self.count} vectors, but the file contains {number - 1}. "
                "The file is truncated or its header is wrong; download it again."
            )

    def _binary(self) -> Iterator[Record]:
        size = 4 * self.dimension
        buffer, start = b"", 0
        for number in range(1, self.count + 1):
            space = buffer.find(b" ", start)
            while space < 0 or len(buffer) - space <= size:
                more = b"" if space < 0 and len(buffer) - start > LONGEST_WORD else self.stream.read(BUFFER)
                if not more:
                    raise UserError(
                        f"{self.location(number)}: the file ends or is damaged here, but its header announces "
                        f"{self.count} vectors of {self.dimension} numbers. Download it again."
                    )
                buffer, start = buffer[start:] + more, 0
                space = buffer.find(b" ")
            # The word2vec tool writes a line break after each vector, gensim does not.
            yield Record(number, buffer[start:space].lstrip(b"\n"), buffer[space + 1 : space + 1 + size])
            start = space + 1 + size
        if (buffer[start:] + self.stream.read(1)).strip():
            raise UserError(
                f"{self.path} continues after the {self.count} vectors of {self.dimension} numbers that its header "
                "announces. The header is wrong or the file is damaged."
            )


@contextlib.contextmanager
def open_vectors(path: str | Path, dimension: int) -> Iterator[VectorFile]:
    """Opens a file of word vectors and recognises its format.

    Args:
        path: the file.
        dimension: expected numbers per vector.

    Raises:
        UserError: The file is missing, empty, damaged, in an unsupported format, or of another dimension.
    """
    path = Path(path)
    with contextlib.ExitStack() as stack:
        try:
            raw = stack.enter_context(open(path, "rb", buffering=BUFFER))
        except OSError as error:
            raise UserError(f"The word vectors {path} cannot be read ({error.strerror}).") from error
        stream = raw
        try:
            gzipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if gzipped:
                stream = io.BufferedReader(gzip.GzipFile(fileobj=raw), BUFFER)
            start = stream.read(LONGEST_WORD + 64 * dimension)
            stream.seek(0)
        except (EOFError, zlib.error, OSError) as error:
            raise UserError(f"{path} is damaged ({error}). Download it again.") from error
        yield _recognise(path, dimension, stream, start)


def _recognise(path: Path, dimension: int, stream: BinaryIO, start: bytes) -> VectorFile:
    if not start.strip():
        raise UserError(f"{path} is empty; expected a file of word vectors.")
    if start[0] == 0x80 and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise UserError(
            f"{path} is a Python pickle (gensim's own format). It is not opened, because that would run any program "
            "that it contains. If you trust it, save it with gensim's `save_word2vec_format(NAME, binary=True)`."
        )
    for magic, what in UNSUPPORTED.items():
        if start.startswith(magic):
            raise UserError(f"{path} is {what}.")
    first = start.split(b"\n", 1)[0].rstrip()
    fields = first.split(b" ")
    if len(fields) == 2 and (dimension > 1 or fields[1].isdigit()):
        # A first line of two entries is a header.
        if not all(entry.isdigit() and len(entry) < 13 for entry in fields) or int(fields[0]) < 1:
            raise UserError(
                f"{path}, line 1: the header must be the number of vectors and their dimension, not "
                f"'{_excerpt(first)}'."
            )
        count, found = map(int, fields)
        _check_dimension(path, found, dimension)
        stream.readline()
        return VectorFile(path, dimension, stream, _looks_binary(start[len(first) :], dimension), count)
    if len(fields) < 2 or not all(map(_is_number, fields[1:])):
        raise UserError(
            f"{path}, line 1 is neither a header nor a word and its numbers: '{_excerpt(first)}'. Expected word "
            "vectors in the format of word2vec (.txt, .bin), fastText (.vec) or GloVe (.txt), each also as .gz."
        )
    _check_dimension(path, len(fields) - 1, dimension)
    return VectorFile(path, dimension, stream)


def _check_dimension(path: Path, found: int, dimension: int) -> None:
    if found != dimension:
        raise UserError(
            f"{path} contains vectors of {found} numbers (line 1); expected {dimension}. Choose another file, or set "
            "the dimension."
        )


def _looks_binary(start: bytes, dimension: int) -> bool:
    """True if the vectors after a header are stored as float32 and not as text."""
    _, _, vector = start[: LONGEST_WORD + 4 * dimension].partition(b" ")
    line = vector[: 4 * dimension].split(b"\n", 1)[0]
    return any(byte in CONTROL_CHARACTERS for byte in start[:4096]) or not line.isascii()


def _is_utf8(word: bytes) -> bool:
    if word.isascii():
        return True
    try:
        word.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_number(entry: bytes) -> bool:
    try:
        float(entry)
    except ValueError:
        return False
    return True


def _excerpt(line: bytes) -> str:
    return line[:40].decode("utf-8", "backslashreplace") + ("..." if len(line) > 40 else "")


def first_invalid_number(vector: bytes) -> str | None:
    """The first entry in the text of a vector that is not a number; None if there is none."""
    return next((_excerpt(entry) for entry in vector.split(b" ") if not _is_number(entry)), None)
