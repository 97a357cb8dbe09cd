"""EMODB's 535 spectrograms, extracted and read from the cache.

Uses the real corpus if SER_CORPORA has it, otherwise 535 noise signals of EMODB's mean duration (2.78 s).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from joblib.externals.loky import get_reusable_executor

import data_prep
from benchmarks.measure import Figure, figure, timed
from common.corpus import build_table
from common.errors import UserError
from common.features.spectrogram import Spectrogram
from common.features.store import FeatureStore


def utterances(folder: Path):
    """The utterance table of EMODB, or of as much noise, and what it is in words."""
    try:
        return data_prep.load("emodb", "7class").table, "EMODB"
    except UserError:
        import soundfile

        generator = np.random.default_rng(0)
        rows = []
        for number in range(535):
            file = folder / f"{number}.wav"
            soundfile.write(file, generator.uniform(-0.5, 0.5, round(2.78 * 16000)), 16000, subtype="PCM_16")
            rows.append({"utterance": str(number), "path": str(file), "emotion": "neutral", "gender": "female"})
        return build_table(rows, "noise"), "535 signals of EMODB's mean duration"


def main() -> list[Figure]:
    """Seconds of extraction into an empty cache, and of reading everything back, including checksums."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table, title = utterances(folder)
        extractor = Spectrogram()
        cold = []
        for attempt in range(3):
            get_reusable_executor().shutdown(wait=True)  # a user's first run has to start its workers, too
            store = FeatureStore(folder / f"cache{attempt}")
            cold += timed(lambda store=store: store.get(table, extractor), 1)

        def warm():
            features = FeatureStore(folder / "cache0").get(table, extractor)
            assert sum(len(features[utterance]) for utterance in features) > 100_000

        return [
            figure(f"{title}: spectrograms, into an empty cache", cold, "s", 20.0),
            figure(f"{title}: spectrograms, from the cache", timed(warm, 5), "s", 1.0),
        ]
