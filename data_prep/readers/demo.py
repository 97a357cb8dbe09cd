"""The embedded demo corpus: synthetic speech in IEMOCAP's folder and file grammar (made by `data_prep/demo/make.py`).

The subsets are IEMOCAP's by name, so every experiment on IEMOCAP runs on this corpus as it stands; results of it are
results on synthetic speech and are never compared with a reported number.
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

_HERE = Path(__file__).parents[1] / "demo"


def _expected() -> dict:
    path = _HERE / "expected.json"
    # make.py lies in this package and must be importable before it has written the counts.
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"total": 0}


def _subset(subset: Subset, expected: dict) -> Subset:
    """IEMOCAP's subset with this corpus' counts, its classes in the same order."""
    source = "data_prep/demo/expected.json"
    if not subset.counts:
        return replace(subset, total=expected["total"], source=source)
    if subset.name == "4class-scripted-excited":  # not stored: what is not improvised
        every, improvised = expected.get("4class-excited", {}), expected.get("4class-improvised-excited", {})
        found = {label: count - improvised[label] for label, count in every.items()}
    else:
        found = expected.get(subset.name, {})
    named = {iemocap.EMOTION[label]: count for label, count in found.items()}
    return replace(subset, counts={emotion: named.get(emotion, 0) for emotion in subset.counts}, source=source)


_EXPECTED = _expected()

CORPUS = Corpus(
    name="demo",
    title="embedded demo corpus (synthetic, espeak-ng)",
    language="English (synthetic)",
    licence="CC0 1.0",
    access="it is shipped with the suite.",
    layout="as IEMOCAP: Session1 to Session5, with FLAC for wav",
    subsets=tuple(_subset(subset, _EXPECTED) for subset in iemocap.CORPUS.subsets),
    default_subset=iemocap.CORPUS.default_subset,
    utterances=_EXPECTED["total"],
    speakers=10,
    sessions=5,
    hours=240 * 1.943 / 3600,  # its files last 1.943 s on average
    synthetic=True,
    shipped=_HERE / "corpus",
)


def read(root: str | Path) -> pd.DataFrame:
    """Reads the demo corpus; see `data_prep.readers.iemocap.read_release`."""
    return iemocap.read_release(root, corpus_name="demo")
