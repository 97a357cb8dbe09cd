"""How much a fit or a pretraining of quaternion anti-transfer computes, in seconds of speech."""

from __future__ import annotations

import math

from common.costs import Speech, Work, step_name
from papers.quaternion_at.config import TASKS, QuaternionAtConfig, at_least_steps

CHUNK_S = 4
"""Seconds to which shorter utterances are padded (Sec. 3.1)."""

STAGE2_PATIENCE = 30
"""Patience of the second stage in `papers.quaternion_at.rhemo`."""


def work(config: QuaternionAtConfig, speech: Speech, pretraining: str = "") -> list[Work]:
    """The trainings of a fit, or those of the pretraining of this name (see `common.costs`)."""
    seconds = (
        CHUNK_S * config.word_segments if pretraining == "words" else max(speech.seconds, CHUNK_S * speech.utterances)
    )
    if pretraining:
        seconds *= 1 - 1.5 * config.task_share  # the rest is for validation and test
    if pretraining == "rhemo":
        return _rhemo(config, seconds)
    tasks = bool(config.tasks) and not pretraining
    step = f"{step_name(config, 'network', 'width', 'shrink')} anti_transfer={tasks}"
    if pretraining in TASKS:
        steps = _steps(seconds, config.task_batch_size)
        epochs = at_least_steps(config.task_steps, steps, config.task_epochs, config.task_patience)
        return [speech.training(step, seconds, *epochs)]
    if pretraining:
        return [speech.training(step, seconds, config.epochs, config.patience)]
    trainings = len(config.layers()) * len(config.tasks) if tasks else 1
    of_fold = _rhemo(config, (1 - config.task_share) * seconds) if config.rhemo == "fold" else []
    return [*of_fold, speech.training(step, trainings * seconds, config.epochs, config.patience)]


def _rhemo(config: QuaternionAtConfig, seconds: float) -> list[Work]:
    """RH-Emo's two stages, which always have a validation part."""
    size, own = step_name(config, "shrink", "rhemo_units"), Speech(0, seconds)
    steps = _steps(seconds, config.rhemo_batch_size)
    epochs = at_least_steps(config.rhemo_steps, steps, config.rhemo_epochs, config.rhemo_patience)
    return [
        own.training(f"rhemo autoencoder {size}", seconds, *epochs),
        own.training(f"rhemo heads {size}", seconds, config.rhemo_epochs, STAGE2_PATIENCE),
    ]


def _steps(seconds: float, batch_size: int) -> int:
    """Steps per epoch."""
    return max(1, math.ceil(seconds / CHUNK_S / batch_size))
