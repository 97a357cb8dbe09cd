"""Utterances and configs small enough to train GMP-ATL's stages with."""

from __future__ import annotations

import numpy as np
import pandas as pd

from common.contract import Part, override
from common.corpus import COLUMNS
from papers.gmp_atl.config import SCALED, GmpConfig

CLASSES = ("angry", "neutral", "sad")
SMALL = {
    "clusters": "3,5,6", "batch_size": 4, "lstm_units": 4, "projection": 6, "label_projection": 6, "epochs1": 1,
    "epochs2": 1, "epochs3": 1, "layerdrop": 0.0, "hubert_dropout": 0.0, "augment_probability": 0.0, "longest_s": 0.5,
    "tune": "transformer", "stage2_start": "public",
}  # fmt: skip


def part(count=9, seed=0, shortest=2000, longest=6000):
    """Utterances whose class is the pitch of a tone in noise."""
    generator = np.random.default_rng(seed)
    table = pd.DataFrame({"utterance": [f"u{seed}-{k}" for k in range(count)]}).reindex(columns=list(COLUMNS))
    table["emotion"] = [CLASSES[k % 3] for k in range(count)]
    table["gender"] = ["female" if k % 2 else "male" for k in range(count)]
    table["path"] = "nowhere.wav"
    waveforms = {}
    for k, utterance in enumerate(table["utterance"]):
        time = np.arange(generator.integers(shortest, longest))
        waveforms[utterance] = (np.sin(time * (0.1 + 0.3 * (k % 3))) + generator.normal(0, 0.3, len(time))).astype("f4")
    return Part(table, {"waveform": waveforms}, CLASSES)


def reduced(config=None, **changes):
    """A config whose training steps take seconds."""
    return override(config or GmpConfig(), {**SCALED, **SMALL, **changes})
