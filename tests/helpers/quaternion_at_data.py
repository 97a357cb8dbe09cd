"""Utterances and configs small enough to train the networks of quaternion anti-transfer with."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from common.contract import Part
from common.corpus import COLUMNS
from papers.quaternion_at.experiments import config_of

CLASSES = ("angry", "neutral", "sad")
SMALL = {
    "width": 0.001, "shrink": 2, "epochs": 1, "batch_size": 6, "learning_rate": 1e-3, "initializer": "he",
    "task_epochs": 2, "task_batch_size": 8, "task_steps": 0, "rhemo_units": 8, "rhemo_epochs": 1, "rhemo_steps": 0,
    "at_layers": "2",
}  # fmt: skip


def part(count=9, seed=0, frames=(300, 620)):
    """Utterances whose class is the band where they are loud."""
    generator = np.random.default_rng(seed)
    table = pd.DataFrame({"utterance": [f"u{seed}-{k}" for k in range(count)]}).reindex(columns=list(COLUMNS))
    table["emotion"] = [CLASSES[k % 3] for k in range(count)]
    table["speaker"] = [f"s{k % 2}" for k in range(count)]
    table["path"] = "nowhere"
    magnitudes = {}
    for k, utterance in enumerate(table["utterance"]):
        image = np.abs(generator.normal(0, 0.01, (int(generator.integers(*frames)), 129))).astype(np.float32)
        image[:, 40 * (k % 3) : 40 * (k % 3) + 30] += 0.05
        magnitudes[utterance] = image
    return Part(table, {"stft": magnitudes}, CLASSES)


def small(network="real", method="none", **changes):
    """A config whose training steps take seconds; what would be pretrained has random weights."""
    config = config_of(network, method)
    random = {
        name: "random" for name in ("rhemo", "speakers", "words", "transfer") if getattr(config, name) == "newest"
    }
    return dataclasses.replace(config, **{**SMALL, **random, **changes})
