"""Utterances and configs small enough to step MTAP's networks with."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from common.contract import Part, override
from common.corpus import COLUMNS
from papers.mtap.experiments import PAPER

CLASSES = ("angry", "neutral", "sad")

FUSED = override(PAPER.experiment("mtap/table5/iemocap/densenet169+mtl-c").config, PAPER.scaled)


def part(count=12, bins=24, seed=0):
    """Utterances whose class is the bin where their spectrogram is loud."""
    generator = np.random.default_rng(seed)
    table = pd.DataFrame({"utterance": [f"u{k}" for k in range(count)]}).reindex(columns=list(COLUMNS))
    table["emotion"] = [CLASSES[k % 3] for k in range(count)]
    table["gender"] = [("female", "male")[k % 2] for k in range(count)]
    table["text"] = "words"
    spectrograms, text, audio = {}, {}, {}
    for k, utterance in enumerate(table["utterance"]):
        image = generator.normal(0, 0.3, (int(generator.integers(20, 40)), bins)).astype(np.float32)
        image[:, 8 * (k % 3) : 8 * (k % 3) + 4] += 3
        spectrograms[utterance] = image
        text[utterance] = (generator.normal(0, 1, 6) + 6 * np.eye(6)[k % 3]).astype(np.float32)
        audio[utterance] = generator.normal(0, 1, 5).astype(np.float32) + np.float32(3 * (k % 2))
    return Part(table, {"spectrogram": spectrograms, "text": text, "audio": audio}, CLASSES)


def reduced(config, **changes):
    """A config at a size that steps in seconds; backbones keep their depth."""
    small = {"frames": 32, "bins": 24 if config.backbone == "small_cnn" else 32, "epochs": 1, "batch_size": 4}
    return dataclasses.replace(config, **{**small, "weights": "random", **changes})


def frozen(config):
    return {name: width for name, width in (("text", 6), ("audio", 5)) if name in config.modalities}
