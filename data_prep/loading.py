"""Finding a corpus's folder, reading it, and selecting a subset that is ready to be cut into folds."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.corpus import Corpus, Subset, select
from common.errors import CorpusAbsent, UserError
from data_prep.fetching.sources import SOURCES
from data_prep.registry import corpus, reader

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Loaded:
    """A subset of a corpus, read and checked.

    Attributes:
        corpus: the corpus.
        subset: the subset.
        table: its utterances.
        flags: what every result must state ("partial: ...", "synthetic corpus: ..."), among them the reader's notes.
    """

    corpus: Corpus
    subset: Subset
    table: pd.DataFrame
    flags: tuple[str, ...]


def find_root(name: str, root: str | Path | None = None) -> Path:
    """The folder of a corpus: the given one, else $SER_CORPORA/NAME, else ./corpora/NAME.

    Raises:
        CorpusAbsent: There is no such folder.
        UserError: There is no such corpus.
    """
    spec = corpus(name)
    if root is not None:
        path = Path(root).expanduser()
        if not path.is_dir():
            raise CorpusAbsent(f"The folder {path} for {name} does not exist or is not a folder.")
        return path.resolve()
    if spec.own is not None:
        return spec.own.parent
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
    public = any(source.folder == spec.name for source in SOURCES.values())
    return f"`ser fetch {spec.name}` downloads it." if public else spec.access


def read(name: str, root: str | Path | None = None) -> pd.DataFrame:
    """Reads a whole corpus into an utterance table.

    What a reader decided and a result must state is in `attrs["notes"]`, a list of sentences ("arousal is 6 - A: ...").

    Raises:
        CorpusAbsent: There is no such folder.
        UserError: The folder is not that corpus, holds an unknown label, or cannot be read.
    """
    folder = find_root(name, root)
    try:
        return reader(name).read(folder)
    except OSError as error:
        raise UserError(f"{name}: {error.filename or folder} cannot be read ({error.strerror or error}).") from error


def load(name: str, subset: str, root: str | Path | None = None, *, partial: bool = False) -> Loaded:
    """Reads a corpus and selects a subset.

    Args:
        name: corpus.
        subset: name of one of its subsets.
        root: its folder; None: found as by `find_root`.
        partial: continue if the folder's counts differ from the stated ones, and say so.

    Raises:
        CorpusAbsent: There is no such folder.
        UserError: Unknown corpus or subset, wrong folder, unknown label, or counts that differ.
    """
    spec = corpus(name)
    chosen = spec.subset(subset)
    whole = read(name, root)
    table, flags = select(whole, name, chosen, partial=partial)
    flags += whole.attrs.get("notes", [])
    if spec.synthetic:
        flags = [f"synthetic corpus: {spec.title}", *flags]
    return Loaded(spec, chosen, table, tuple(flags))
