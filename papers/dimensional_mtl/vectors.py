"""Pretrained word vectors (Table 2) to initialise the embedding with."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.errors import UserError
from common.features.words import FIRST, Vocabulary
from data_prep.fetching.sources import SOURCES, source_folder
from papers.dimensional_mtl.config import DimensionalConfig

if TYPE_CHECKING:
    from common.features.word_vectors import WordVectors

DOWNLOADS = {
    "glove": "glove-840b",
    "fasttext": "fasttext-crawl",
    "fasttext-subword": "fasttext-crawl-subword",
}
"""Names of the word vectors for `ser fetch`."""


def vectors_file(config: DimensionalConfig) -> Path | None:
    """The file of word vectors: the one that the config names, else the downloaded one; None if that does not exist.

    Raises:
        UserError: The config names a file that does not exist.
    """
    if config.vectors:
        path = Path(config.vectors).expanduser()
        if not path.exists():
            raise UserError(f"There is no word-vector file or folder {path}; --set vectors=FILE names one.")
        return path
    source = SOURCES[DOWNLOADS[config.words]]
    path = source_folder(source) / source.holds
    return path if path.is_file() else None


def pretrained_vectors(config: DimensionalConfig, vocabulary: Vocabulary) -> WordVectors | None:
    """Pretrained vectors of the words in a vocabulary; None if the embedding starts at random.

    Raises:
        UserError: The file is missing, damaged, or of another dimension than `embedding`.
    """
    if config.words == "we":
        return None
    path = vectors_file(config)
    if path is None:
        raise UserError(f"The word vectors are not here: `ser fetch {DOWNLOADS[config.words]}`, or words=we.")
    return _read(path, vocabulary, config.embedding)


def with_words_of(
    config: DimensionalConfig, vocabulary: Vocabulary, texts: Sequence[str]
) -> tuple[Vocabulary, np.ndarray, float]:
    """A vocabulary extended by the words of some texts, for which the file has vectors but training had no examples.

    Args:
        config: with pretrained vectors.
        vocabulary: of the training part.
        texts: transcripts of the part to be predicted; nothing is fitted to them.

    Returns:
        The vocabulary, which starts with the given one; the vectors of the added words, shape (added words,
        embedding), zero for words that the file does not have; and the share of the texts' words without a vector.
    """
    own = Vocabulary.fit(texts)
    found = pretrained_vectors(config, own)
    known = set(vocabulary.words)
    added = [number for number, word in enumerate(own.words) if word not in known]
    wider = Vocabulary(
        (*vocabulary.words, *(own.words[number] for number in added)),
        (*vocabulary.counts, *(own.counts[number] for number in added)),
    )
    return wider, found.matrix[[FIRST + number for number in added]], found.missing_tokens


@functools.lru_cache(maxsize=6)
def _read(path: Path, vocabulary: Vocabulary, dimension: int) -> WordVectors:
    """Results are kept between trials, because the repeats share their parts and the file has 5 GB."""
    from common.features.word_vectors import word_vectors

    return word_vectors(path, vocabulary, dimension)
