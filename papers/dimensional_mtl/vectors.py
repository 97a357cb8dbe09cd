"""Pretrained word vectors (Table 2) to initialise the embedding with."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UserError
from data_prep.fetching.sources import SOURCES, source_folder
from papers.dimensional_mtl.config import DimensionalConfig

if TYPE_CHECKING:
    from common.features.word_vectors import WordVectors
    from common.features.words import Vocabulary

DOWNLOADS = {"glove": "glove-840b", "fasttext": "fasttext-crawl"}
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


@functools.lru_cache(maxsize=2)
def _read(path: Path, vocabulary: Vocabulary, dimension: int) -> WordVectors:
    """Results are kept between trials, because the repeats share a training part and the file has 5 GB."""
    from common.features.word_vectors import word_vectors

    return word_vectors(path, vocabulary, dimension)
