"""From a corpus on disk to a table of utterances.

`data_prep/readers` has one module per corpus, named after it. Each has a `CORPUS` (what is known about the corpus
before its folder is read) and a function `read(root)` that returns the utterance table. This module finds readers by
name and loads a subset that is ready to be cut into folds.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from common.errors import CorpusAbsent, UserError, unknown

if TYPE_CHECKING:
    import pandas as pd

    from common.corpus import Corpus, Subset

NAMES = tuple(sorted(file.stem for file in (Path(__file__).parent / "readers").glob("[!_]*.py")))
"""Names of all corpora that have a reader."""


def corpus(name: str) -> Corpus:
    """What is known of the corpus of that name.

    Raises:
        UserError: there is none; offers the nearest names.
    """
    if name not in NAMES:
        raise unknown("corpus", name, NAMES)
    return _reader(name).CORPUS


def _reader(name: str) -> ModuleType:
    return importlib.import_module(f"data_prep.readers.{name}")


@dataclass(frozen=True)
class Loaded:
    """A subset of a corpus, read and checked.

    Attributes:
        corpus: the corpus.
        subset: the subset.
        table: its utterances.
        flags: what every result must carry ("partial: ...", "bad audio skipped: ..."), among them the reader's notes.
    """

    corpus: Corpus
    subset: Subset
    table: pd.DataFrame
    flags: tuple[str, ...]


def find_root(name: str, root: str | Path | None = None) -> Path:
    """The folder of a corpus: the one given, else $SER_CORPORA/NAME, else ./corpora/NAME.

    Raises:
        CorpusAbsent: there is no such folder.
    """
    spec = corpus(name)
    if root is not None:
        path = Path(root).expanduser()
        if not path.is_dir():
            raise CorpusAbsent(f"The folder {path} for {name} does not exist or is not a folder.")
        return path.resolve()
    if spec.shipped is not None:
        return spec.shipped
    base = Path(os.environ.get("SER_CORPORA", "corpora")).expanduser()
    path = base / name
    if not path.is_dir():
        raise CorpusAbsent(
            f"{spec.title} is not here: no folder {path}. Give --root FOLDER or set SER_CORPORA; {_how_to_get(spec)}"
        )
    return path.resolve()


def _how_to_get(spec: Corpus) -> str:
    from data_prep.fetching.sources import SOURCES

    public = any(source.split("/")[0] == spec.name for source in SOURCES)
    return f"`ser fetch {spec.name}` downloads it." if public else spec.access


def read(name: str, root: str | Path | None = None) -> pd.DataFrame:
    """The whole corpus as an utterance table.

    What a reader decided and a result must tell is in `attrs["notes"]`, a list of sentences ("arousal is 6 - A: ...").

    Raises:
        CorpusAbsent: no such folder.
        UserError: the folder is not that corpus, holds an unknown label, or cannot be read.
    """
    folder = find_root(name, root)
    try:
        return _reader(name).read(folder)
    except OSError as error:
        raise UserError(f"{name}: {error.filename or folder} cannot be read ({error.strerror or error}).") from error


def load(name: str, subset: str, root: str | Path | None = None, *, partial: bool = False) -> Loaded:
    """Reads a corpus and selects a subset.

    Args:
        name: corpus.
        subset: name of one of its subsets.
        root: its folder; None: found as `find_root` does.
        partial: go on if the folder's counts differ from the stated ones, and say so.

    Raises:
        CorpusAbsent: no such folder.
        UserError: unknown corpus or subset, wrong folder, unknown label, or counts that differ.
    """
    from common.corpus import select

    spec = corpus(name)
    part = spec.subset(subset)
    whole = read(name, root)
    table, flags = select(whole, name, part, partial=partial)
    flags += whole.attrs.get("notes", [])
    if spec.synthetic:
        flags = [f"synthetic corpus: {spec.title}", *flags]
    return Loaded(spec, part, table, tuple(flags))


__all__ = ["NAMES", "Loaded", "UserError", "corpus", "find_root", "load", "read"]
