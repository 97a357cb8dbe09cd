"""Words of transcripts as numbers: the tokeniser, a vocabulary and sequences of its numbers.

Atmaja and Akagi 2020 (Sec. III.B) number words with Keras' `Tokenizer` and pad sequences with zeros in front. That
class is no longer in Keras 3; what it does by default is a dozen lines. Their vocabulary was fitted on all texts; here
it is fitted on those it is given (a fold's training texts), so there is a number for words it does not know.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files import write_json

FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
"""Signs that separate words, as Keras' `Tokenizer` has them: no apostrophe, so "that's" is one word."""

PADDING, UNKNOWN, FIRST = 0, 1, 2
"""Numbers that are no word's, and the number of the most frequent word."""

_BLANKS = str.maketrans(dict.fromkeys(FILTERS, " "))


def tokenise(text: str) -> list[str]:
    """Words of a text: lower case, `FILTERS` are blanks, split at blanks."""
    return [word for word in text.lower().translate(_BLANKS).split(" ") if word]


@dataclass(frozen=True)
class Sequences:
    """Texts as numbers.

    Attributes:
        numbers: shape (texts, length), int32, zeros in front.
        without_words: how many texts hold no word; their rows are all padding.
        cut: how many texts have more words than `length`; their first words are left out.
        unknown_words: share of words that the vocabulary does not know, of all words before cutting; 0 without words.
    """

    numbers: np.ndarray
    without_words: int
    cut: int
    unknown_words: float


@dataclass(frozen=True)
class Vocabulary:
    """Words by falling frequency; words of one frequency in order of appearance, as Keras' `Tokenizer` puts them.

    Attributes:
        words: the word with number `FIRST` (2), the one with 3, and so on; 0 is padding, 1 an unknown word.
        counts: how often each occurs in the texts that the vocabulary was fitted on.
    """

    words: tuple[str, ...]
    counts: tuple[int, ...]
    _numbers: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        if len(self.words) != len(self.counts) or len(set(self.words)) != len(self.words):
            raise ValueError("a vocabulary has one count a word, and each word once.")
        object.__setattr__(self, "_numbers", {word: number for number, word in enumerate(self.words, start=FIRST)})

    @classmethod
    def fit(cls, texts: Iterable[str], size: int | None = None) -> Vocabulary:
        """The vocabulary of training texts.

        Args:
            texts: transcripts of the training part only.
            size: keep the most frequent words only; None: all.
        """
        counted = Counter(word for text in texts for word in tokenise(text)).most_common(size)
        return cls(tuple(word for word, _ in counted), tuple(count for _, count in counted))

    def __len__(self) -> int:
        """Rows of an embedding: words, padding and unknown."""
        return FIRST + len(self.words)

    def numbers(self, text: str) -> list[int]:
        """Numbers of a text's words."""
        return [self._numbers.get(word, UNKNOWN) for word in tokenise(text)]

    def sequences(self, texts: Iterable[str], length: int) -> Sequences:
        """Texts as rows of one length, padded with zeros in front and cut in front, as Keras' `pad_sequences` does.

        Args:
            texts: transcripts.
            length: numbers in a row, at least 1 (the paper: 100).
        """
        if length < 1:
            raise ValueError(f"length is at least 1, not {length}.")
        rows = [self.numbers(text) for text in texts]
        padded = np.full((len(rows), length), PADDING, np.int32)
        for place, row in zip(padded, rows, strict=True):
            if row:
                last = row[-length:]
                place[-len(last) :] = last
        words = sum(map(len, rows))
        unknown = sum(row.count(UNKNOWN) for row in rows) / max(1, words)
        return Sequences(padded, sum(not row for row in rows), sum(len(row) > length for row in rows), unknown)

    def save(self, path: str | Path) -> None:
        """Writes the vocabulary as JSON, whole or not at all."""
        write_json(Path(path), {"words": self.words, "counts": self.counts})

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """Reads a vocabulary that `save` wrote.

        Raises:
            UserError: the file is missing or is no vocabulary.
        """
        try:
            stored = json.loads(Path(path).read_text(encoding="utf-8"))
            words, counts = stored["words"], stored["counts"]
            if not all(isinstance(word, str) for word in words) or not all(type(count) is int for count in counts):
                raise TypeError("words are texts and counts are whole numbers")
            return cls(tuple(words), tuple(counts))
        except OSError as error:
            raise UserError(f"The vocabulary {path} cannot be read ({error.strerror}).") from error
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise UserError(
                f"{path} is no vocabulary: a JSON object with 'words' and 'counts' of one length, each word once, is "
                "expected. Fit it again."
            ) from error
