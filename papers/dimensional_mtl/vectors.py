"""Pretrained word vectors (Table 2): where they are, and the embedding that starts from them."""

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

SOURCE = {"glove": "glove-840b", "fasttext": "fasttext-crawl"}
"""What `ser fetch` calls them."""


def vectors_file(config: DimensionalConfig) -> Path | None:
    """The file of the config's word vectors: the one it names, else the fetched one; None: it is not here.

    Raises:
        UserError: the config names a file that does not exist.
    """
    if config.vectors:
        path = Path(config.vectors).expanduser()
        if not path.exists():
            raise UserError(f"There is no word-vector file or folder {path}; --set vectors=FILE names one.")
        return path
    source = SOURCES[SOURCE[config.words]]
    path = source_folder(source) / source.holds
    return path if path.is_file() else None


def start_vectors(config: DimensionalConfig, vocabulary: Vocabulary) -> WordVectors | None:
    """Pretrained vectors of the training part's words; None: the embedding starts at random.

    Raises:
        UserError: the file is gone, damaged, or of another dimension than `embedding`.
    """
    if config.words == "we":
        return None
    path = vectors_file(config)
    if path is None:
        raise UserError(f"The word vectors are not here: `ser fetch {SOURCE[config.words]}`, or words=we.")
    return _read(path, vocabulary, config.embedding)


@functools.lru_cache(maxsize=2)
def _read(path: Path, vocabulary: Vocabulary, dimension: int) -> WordVectors:
    """Kept between trials: twenty repeats have one training part, and looking through 5 GB takes its time."""
    from common.features.word_vectors import word_vectors

    return word_vectors(path, vocabulary, dimension)
