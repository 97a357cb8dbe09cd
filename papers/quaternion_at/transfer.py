"""Pretraining of a network on emotions, `ser pretrain quaternion_at emotions`, for transfer (Sec. 3.2.1).

The paper trains its networks without anti-transfer on IEMOCAP's emotions and starts from their weights on RAVDESS and
TESS, to see whether quaternion networks gain because their RH-Emo has seen IEMOCAP. It prints no number.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from common.contract import Context, Part
from common.errors import UserError
from papers.quaternion_at.config import QuaternionAtConfig
from papers.quaternion_at.pretraining import split_utterances
from papers.quaternion_at.train import fit


def train_emotion_network(config: QuaternionAtConfig, part: Part, folder: Path, context: Context) -> dict:
    """Trains the network of a row without anti-transfer on 70 % of a corpus; 20 % choose the epoch, 10 % test it.

    Args:
        config: settings.
        part: utterances with "stft" and emotions.
        folder: receives `network.keras`, and `encoder.keras` if RH-Emo is trained as well.
        context: seed, artefacts, progress and timings; receives history and flags.

    Raises:
        UserError: There are fewer than two emotions, or too few utterances, or the config says `rhemo=fold`.
    """
    if config.rhemo == "fold":
        raise UserError("rhemo=fold is for the folds of an experiment. Use rhemo=newest or random here.")
    names = part.table["utterance"].to_numpy()
    parts = split_utterances(len(part), config.task_share, part.classes, "emotion")
    train, validation, test = (part.take(tuple(names[rows])) for rows in parts)
    own = dataclasses.replace(config, anti_transfer="none", transfer="none")
    fitted = fit(own, train, validation, context)
    fitted.vgg.save(folder / "network.keras")
    if fitted.encoder is not None and config.rhemo_training == "trainable":
        fitted.encoder.save(folder / "encoder.keras")
    columns = fitted.predict(test.without_labels())
    scores = np.stack([columns[f"p_{emotion}"] for emotion in part.classes], axis=1)
    accuracy = float((scores.argmax(axis=1) == test.labels).mean())
    return {"accuracy": accuracy, "datapoints": [len(rows) for rows in parts]}
