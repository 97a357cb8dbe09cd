"""Files of word vectors, read as a stream: word2vec text and binary, GloVe text without a header, each also gzipped.

A stream, because published files are large (2.2 million GloVe vectors of 300 numbers are 2.6 GB, and gensim builds
all of them before one can be asked for), while a corpus needs a few thousand. What a file is shows in its content,
never in its name. Nothing here trusts the file: each line is checked and each error names it.
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
CONTROL = bytes(sign for sign in range(32) if sign not in b"\t\n\r")

FOREIGN = {
    b"PK\x03\x04": "a ZIP archive; unpack it and give the file inside",
    b"BZh": "packed by bzip2; unpack it first",
    b"\xfd7zXZ": "packed by xz; unpack it first",
    b"\x93NUMPY": "a NumPy array without its words; give the folder that `convert` wrote",
    b"\xba\x16\x4f\x2f": "a fastText model, not its vectors; give the .vec file that is published with it",
}
"""First bytes of what is offered by mistake, and what to do."""


class Record(NamedTuple):
    """A word and its vector as the file writes them."""

    number: int
    word: bytes
    vector: bytes


@dataclass
class VectorFile:
    """An open file of word vectors.

    Attributes:
        path: of the file.
        dimension: numbers in a vector.
        binary: numbers are float32 instead of text.
        count: vectors that the header announces; None without a header.
        blanks: words with blanks that were passed over so far (GloVe 840B holds some; no tokeniser makes them).
        undecodable: words that are not UTF-8 and were passed over so far.
    """

    path: Path
    dimension: int
    stream: BinaryIO
    binary: bool = False
    count: int | None = None
    blanks: int = field(default=0, init=False)
    undecodable: int = field(default=0, init=False)

    def place(self, number: int) -> str:
        """Where a record stands, as a person finds it."""
        return f"{self.path}, vector {number}" if self.binary else f"{self.path}, line {number}"

    def records(self) -> Iterator[Record]:
        """All records whose word is one word in UTF-8.

        Raises:
            UserError: a line that is not a word and `dimension` numbers, or another number of vectors than announced.
        """
        try:
            for record in self._binary() if self.binary else self._text():
                if b" " in record.word or b"\n" in record.word:
                    self.blanks += 1
                elif _is_utf8(record.word):
                    yield record
                else:
                    self.undecodable += 1
        except (EOFError, zlib.error, OSError) as error:
            raise UserError(f"{self.path} is damaged or cut off ({error}). Download it again.") from error

    def _text(self) -> Iterator[Record]:
        first = 1 if self.count is None else 2
        longest = LONGEST_WORD + 64 * self.dimension
        number = first - 1
        for line in iter(lambda: self.stream.readline(longest), b""):
            number += 1
            content = line.rstrip()
            blanks = content.count(b" ")
            if blanks == self.dimension:
                word, _, vector = content.partition(b" ")
            else:
                if not content and not self.stream.read().strip():
                    number -= 1  # empty lines at the end
                    break
                fields = content.rsplit(b" ", self.dimension)
                # More fields: a word with blanks, unless what follows its first part is a number as well.
                if blanks < self.dimension or _is_number(content.split(b" ", 2)[1]) or not line.endswith(b"\n"):
                    raise UserError(
                        f"{self.place(number)}: a word and {self.dimension} numbers are expected, but {blanks + 1} "
                        "entries are there. The file is damaged, or no file of word vectors."
                    )
                word, vector = fields[0], b" ".join(fields[1:])
            yield Record(number, word, vector)
        if self.count is not None and number - 1 != self.count:
            raise UserError(
                f"{self.path}: the header (line 1) announces {self.count} vectors, but the file holds {number - 1}. It "
                "is cut off or its header is wrong; download it again."
            )

    def _binary(self) -> Iterator[Record]:
        size = 4 * self.dimension
        buffer, start = b"", 0
        for number in range(1, self.count + 1):
            blank = buffer.find(b" ", start)
            while blank < 0 or len(buffer) - blank <= size:
                more = b"" if blank < 0 and len(buffer) - start > LONGEST_WORD else self.stream.read(BUFFER)
                if not more:
                    raise UserError(
                        f"{self.place(number)}: the file ends or is damaged there, but its header announces "
                        f"{self.count} vectors of {self.dimension} numbers. Download it again."
                    )
                buffer, start = buffer[start:] + more, 0
                blank = buffer.find(b" ")
            # word2vec's own tool ends each vector with a line break, gensim does not.
            yield Record(number, buffer[start:blank].lstrip(b"\n"), buffer[blank + 1 : blank + 1 + size])
            start = blank + 1 + size
        if (buffer[start:] + self.stream.read(1)).strip():
            raise UserError(
                f"{self.path} goes on after the {self.count} vectors of {self.dimension} numbers that its header "
                "announces: the header is wrong or the file is damaged."
            )


@contextlib.contextmanager
def open_vectors(path: str | Path, dimension: int) -> Iterator[VectorFile]:
    """Opens a file of word vectors and finds out what it is.

    Args:
        path: the file.
        dimension: numbers in a vector that are expected.

    Raises:
        UserError: missing, empty, of another dimension, or no file of word vectors that may be read.
    """
    path = Path(path)
    with contextlib.ExitStack() as stack:
        try:
            raw = stack.enter_context(open(path, "rb", buffering=BUFFER))
        except OSError as error:
            raise UserError(f"The word vectors {path} cannot be read ({error.strerror}).") from error
        stream = raw
        try:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if packed:
                stream = io.BufferedReader(gzip.GzipFile(fileobj=raw), BUFFER)
            start = stream.read(LONGEST_WORD + 64 * dimension)
            stream.seek(0)
        except (EOFError, zlib.error, OSError) as error:
            raise UserError(f"{path} is damaged ({error}). Download it again.") from error
        yield _recognise(path, dimension, stream, start)


def _recognise(path: Path, dimension: int, stream: BinaryIO, start: bytes) -> VectorFile:
    if not start.strip():
        raise UserError(f"{path} is empty; a file of word vectors is expected.")
    if start[0] == 0x80 and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise UserError(
            f"{path} is a Python pickle (gensim's own format): opening one runs whatever program it holds, so it is "
            "not read here. Where you trust it, save it with `save_word2vec_format(NAME, binary=True)` and give that."
        )
    for magic, what in FOREIGN.items():
        if start.startswith(magic):
            raise UserError(f"{path} is {what}.")
    first = start.split(b"\n", 1)[0].rstrip()
    fields = first.split(b" ")
    if len(fields) == 2 and (dimension > 1 or fields[1].isdigit()):
        # A line of two entries is a header: no vector of more than one number is that short.
        if not all(entry.isdigit() and len(entry) < 13 for entry in fields) or int(fields[0]) < 1:
            raise UserError(
                f"{path}, line 1: a header is the number of vectors and their dimension, not '{_shown(first)}'."
            )
        count, found = map(int, fields)
        _check_dimension(path, found, dimension)
        stream.readline()
        return VectorFile(path, dimension, stream, _looks_binary(start[len(first) :], dimension), count)
    if len(fields) < 2 or not all(map(_is_number, fields[1:])):
        raise UserError(
            f"{path}, line 1 is neither a header nor a word and its numbers: '{_shown(first)}'. A file of word vectors "
            "is expected: word2vec (.txt, .bin), fastText (.vec) or GloVe (.txt), each also as .gz."
        )
    _check_dimension(path, len(fields) - 1, dimension)
    return VectorFile(path, dimension, stream)


def _check_dimension(path: Path, found: int, dimension: int) -> None:
    if found != dimension:
        raise UserError(
            f"{path} holds vectors of {found} numbers (line 1), but {dimension} were asked for. Give another file or "
            "ask for that dimension."
        )


def _looks_binary(start: bytes, dimension: int) -> bool:
    """Whether what follows a header is float32 instead of numbers in digits."""
    _, _, vector = start[: LONGEST_WORD + 4 * dimension].partition(b" ")
    line = vector[: 4 * dimension].split(b"\n", 1)[0]
    return any(sign in CONTROL for sign in start[:4096]) or not line.isascii()


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


def _shown(line: bytes) -> str:
    return line[:40].decode("utf-8", "backslashreplace") + ("..." if len(line) > 40 else "")


def first_wrong(vector: bytes) -> str | None:
    """What keeps the text of a vector from being numbers; None if nothing does."""
    return next((_shown(entry) for entry in vector.split(b" ") if not _is_number(entry)), None)
