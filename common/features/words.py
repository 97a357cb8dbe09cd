"""Words of transcripts as ids: a tokeniser, a vocabulary, and padded sequences of word ids.

Atmaja and Akagi 2020 (Sec. III.B) use Keras' `Tokenizer` and pad sequences with zeros at the start. Keras 3 no longer
has that class, so its default behaviour is implemented here. The authors fitted their vocabulary on all texts. Here it
is fitted on the texts that are given (the training part of a fold), so words that it does not contain need an id too.
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
"""Characters that separate words, as in Keras' `Tokenizer`. The apostrophe does not, so "that's" is one word."""

PADDING, UNKNOWN, FIRST = 0, 1, 2
"""Ids of padding, of unknown words, and of the most frequent word."""

_SPACES = str.maketrans(dict.fromkeys(FILTERS, " "))


def tokenise(text: str) -> list[str]:
    """Splits a text into lower-case words at spaces and at the characters in `FILTERS`."""
    return [word for word in text.lower().translate(_SPACES).split(" ") if word]


@dataclass(frozen=True)
class Vocabulary:
    """Words in the order of falling frequency; equally frequent words in order of appearance, as in `Tokenizer`.

    Attributes:
        words: the word with the id `FIRST` (2), the one with 3, and so on.
        counts: how often each word occurs in the texts that the vocabulary was fitted on.
    """

    words: tuple[str, ...]
    counts: tuple[int, ...]
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        if len(self.words) != len(self.counts) or len(set(self.words)) != len(self.words):
            raise ValueError("A vocabulary needs one count per word, and each word once.")
        object.__setattr__(self, "_ids", {word: number for number, word in enumerate(self.words, start=FIRST)})

    @classmethod
    def fit(cls, texts: Iterable[str]) -> Vocabulary:
        """The vocabulary of some texts, which should be those of the training part only."""
        counted = Counter(word for text in texts for word in tokenise(text)).most_common()
        return cls(tuple(word for word, _ in counted), tuple(count for _, count in counted))

    def __len__(self) -> int:
        """Number of ids, which is the number of rows of an embedding: words, padding and unknown words."""
        return FIRST + len(self.words)

    def ids(self, text: str) -> list[int]:
        """Ids of the words of a text."""
        return [self._ids.get(word, UNKNOWN) for word in tokenise(text)]

    def sequences(self, texts: Iterable[str], length: int) -> np.ndarray:
        """Word ids of texts, padded with zeros at the start, or cut at the start, like Keras' `pad_sequences`.

        Args:
            texts: transcripts.
            length: ids per text, at least 1 (the paper: 100).

        Returns:
            Shape (texts, length), int32; all zeros for a text without words.

        Raises:
            ValueError: `length` is below 1.
        """
        if length < 1:
            raise ValueError(f"length must be at least 1, not {length}.")
        rows = [self.ids(text)[-length:] for text in texts]
        padded = np.full((len(rows), length), PADDING, np.int32)
        for sequence, row in zip(padded, rows, strict=True):
            sequence[length - len(row) :] = row
        return padded

    def save(self, path: str | Path) -> None:
        """Writes the vocabulary as JSON."""
        write_json(Path(path), {"words": self.words, "counts": self.counts})

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """Reads a vocabulary that `save` wrote.

        Raises:
            UserError: The file cannot be read or does not contain a vocabulary.
        """
        try:
            stored = json.loads(Path(path).read_text(encoding="utf-8"))
            words, counts = stored["words"], stored["counts"]
            if not all(isinstance(word, str) for word in words) or not all(type(count) is int for count in counts):
                raise TypeError("words must be strings and counts whole numbers")
            return cls(tuple(words), tuple(counts))
        except OSError as error:
            raise UserError(f"The vocabulary {path} cannot be read ({error.strerror}).") from error
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise UserError(
                f"{path} is not a vocabulary. Expected a JSON object with 'words' and 'counts' of the same length, "
                "each word once. Fit it again."
            ) from error
