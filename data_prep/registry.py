"""All corpora: those with a reader in the folder `readers`, and users' tables of recordings."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from common.corpus import Corpus
from common.errors import unknown
from data_prep.readers import NAMES

if TYPE_CHECKING:
    from data_prep.recordings import Recordings


def corpus(name: str) -> Corpus:
    """What is known about the corpus of that name.

    Raises:
        UserError: There is no such corpus; offers the nearest names.
    """
    return reader(name).CORPUS


def reader(name: str) -> ModuleType | Recordings:
    """What reads the corpus of that name: a module, or a table of recordings.

    Raises:
        UserError: There is no such corpus; offers the nearest names.
    """
    if name not in NAMES:
        from data_prep import recordings

        if (own := recordings.find(name)) is not None:
            return own
        raise unknown("corpus", name, [*NAMES, *recordings.added()])
    return importlib.import_module(f"data_prep.readers.{name}")
