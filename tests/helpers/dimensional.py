"""Utterances for the tests of dimensional_mtl, whose ratings can be predicted from audio and words."""

import dataclasses

import numpy as np
import pandas as pd

from common.contract import Part
from common.corpus import COLUMNS

DIMENSIONS = ("valence", "arousal", "dominance")
SIZES = {"paa": 34, "gemaps": 23}
WORDS = {-1: "awful", 0: "table", 1: "lovely"}

SMALL = {
    "width": 6,
    "text_dense": 5,
    "embedding": 7,
    "text_length": 6,
    "frames": 24,
    "batch_size": 4,
    "epochs": 1,
    "words": "we",
}
"""Settings with which a step takes less than a second; networks keep their structure."""


def reduced(config, **changes):
    return dataclasses.replace(config, **{**SMALL, **changes})


def part(count=12, seed=0, acoustic="paa"):
    """Utterances: words give valence, the level of the first ten descriptors arousal, and both give dominance."""
    generator = np.random.default_rng(seed)
    table = pd.DataFrame({"utterance": [f"u{k}" for k in range(count)]}).reindex(columns=list(COLUMNS))
    mood, energy = generator.integers(-1, 2, count), generator.uniform(-1, 1, count)
    table["text"] = [f"a {WORDS[m]} day, number {k}" for k, m in enumerate(mood)]
    table["valence"] = 3.0 + 1.5 * mood
    table["arousal"] = 3.0 + 1.5 * energy
    table["dominance"] = 3.0 + 0.5 * mood + energy
    descriptors = {}
    for utterance, e in zip(table["utterance"], energy, strict=True):
        frames = generator.normal(0, 0.3, (int(generator.integers(10, 40)), SIZES[acoustic]))
        frames[:, :10] += 2 * e
        descriptors[utterance] = frames.astype(np.float32)
    silence = {utterance: np.full(1, 0.1 * (k % 5), np.float32) for k, utterance in enumerate(descriptors)}
    return Part(table, {"acoustic": descriptors, "silence": silence}, (), dimensions=DIMENSIONS)
