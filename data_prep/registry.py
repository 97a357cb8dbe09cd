"""All corpora that have a reader, found in the folder `readers`."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from common.corpus import Corpus
from common.errors import unknown

NAMES = tuple(sorted(file.stem for file in (Path(__file__).parent / "readers").glob("[!_]*.py")))
"""Names of all corpora that have a reader."""


def corpus(name: str) -> Corpus:
    """What is known about the corpus of that name.

    Raises:
        UserError: There is no such corpus; offers the nearest names.
    """
    return reader(name).CORPUS


def reader(name: str) -> ModuleType:
    """The module that reads the corpus of that name.

    Raises:
        UserError: There is no such corpus; offers the nearest names.
    """
    if name not in NAMES:
        raise unknown("corpus", name, NAMES)
    return importlib.import_module(f"data_prep.readers.{name}")
