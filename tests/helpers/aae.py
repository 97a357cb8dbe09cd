"""Data and small settings for the tests of the adversarial autoencoder."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from common.contract import Part
from common.corpus import COLUMNS
from papers.mtl_aae.config import AaeConfig

CLASSES = ("angry", "neutral", "sad")
TASKS = {"emotion": 3, "gender": 2, "speaker": 4}
SMALL = {
    "rows": 16, "frames": 32, "widths": "4,4,4", "head_width": 8, "dense_units": 32, "batch_size": 4, "epochs": 1,
    "patience": 50, "auxiliary_speakers": 0,
}  # fmt: skip


def small(**changes) -> AaeConfig:
    """The default settings at a size that trains in milliseconds; alpha is fixed unless it is changed."""
    return dataclasses.replace(AaeConfig(), **{**SMALL, "alpha": 0.5, **changes})


def part(count=12, seed=0, speakers="ABCD", classes=CLASSES, rows=16):
    """Utterances whose class decides which rows of their spectrogram are loud (logarithms, (frames, rows))."""
    generator = np.random.default_rng(seed)
    table = pd.DataFrame({"utterance": [f"{seed}-{k}" for k in range(count)]}).reindex(columns=list(COLUMNS))
    table["emotion"] = [classes[k % len(classes)] for k in range(count)]
    table["speaker"] = [speakers[k % len(speakers)] for k in range(count)]
    table["gender"] = ["female" if speaker in "ACEG" else "male" for speaker in table["speaker"]]
    spectrograms = {}
    for k, utterance in enumerate(table["utterance"]):
        image = generator.normal(-3, 0.3, (int(generator.integers(20, 50)), rows)).astype(np.float32)
        first = 5 * CLASSES.index(classes[k % len(classes)])
        image[:, first : first + 5] += 3
        spectrograms[utterance] = image
    return Part(table, {"spectrogram": spectrograms}, CLASSES)


def auxiliary(count=10, speakers="AEF"):
    """Utterances without emotions; one of their speakers has the same name as a speaker of `part`."""
    return dataclasses.replace(part(count, seed=9, speakers=speakers), classes=()).without_labels()


def batch(config, count=6, seed=0):
    """A batch for `Phases`; the last third has no emotion."""
    generator = np.random.default_rng(seed)
    labels = {task: generator.integers(0, classes, count).astype("int32") for task, classes in TASKS.items()}
    labels["emotion"][-count // 3 :] = -1
    picture = generator.normal(size=(count, config.rows, config.frames, 1)).astype("float32")
    return {"picture": picture, "frames": np.full(count, config.frames, "int32"), **labels}
