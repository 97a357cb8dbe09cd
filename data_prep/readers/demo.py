"""The embedded demo corpus: synthetic speech in the layout of IEMOCAP's release (made by `data_prep/demo/make.py`).

Its subsets have the names of IEMOCAP's, so every experiment on IEMOCAP also runs on this corpus without any change.
Such results are results on synthetic speech and are never compared with a reported number.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from common.corpus import Corpus, Subset
from data_prep.readers import iemocap

if TYPE_CHECKING:
    import pandas as pd

_FOLDER = Path(__file__).parents[1] / "demo"
_EXPECTED = json.loads((_FOLDER / "expected.json").read_text(encoding="utf-8"))


def _subset(subset: Subset) -> Subset:
    """IEMOCAP's subset with the counts of this corpus, and its classes in the same order."""
    source = "data_prep/demo/expected.json"
    if not subset.counts:
        return replace(subset, total=_EXPECTED["total"], source=source)
    if subset.name == "4class-scripted-excited":  # not stored: everything that is not improvised
        improvised = _EXPECTED["4class-improvised-excited"]
        found = {label: count - improvised[label] for label, count in _EXPECTED["4class-excited"].items()}
    else:
        found = _EXPECTED[subset.name]
    counts = {iemocap.EMOTION[label]: count for label, count in found.items()}
    return replace(subset, counts={emotion: counts[emotion] for emotion in subset.counts}, source=source)


CORPUS = Corpus(
    name="demo",
    title="embedded demo corpus (synthetic, espeak-ng)",
    language="English (synthetic)",
    licence="CC0 1.0",
    access="it is shipped with the suite.",
    layout="as IEMOCAP: Session1 to Session5, with FLAC instead of wav files",
    subsets=tuple(map(_subset, iemocap.CORPUS.subsets)),
    default_subset=iemocap.CORPUS.default_subset,
    utterances=_EXPECTED["total"],
    speakers=10,
    sessions=5,
    hours=240 * 1.943 / 3600,  # its files last 1.943 s on average
    synthetic=True,
    shipped=_FOLDER / "corpus",
)


def read(root: str | Path) -> pd.DataFrame:
    """Reads the demo corpus; see `data_prep.readers.iemocap.read_release`."""
    return iemocap.read_release(root, corpus_name="demo")
