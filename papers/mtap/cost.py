"""How much a fit of MTAP computes. Text and audio features are one vector per utterance and cost next to nothing."""

from __future__ import annotations

from common.costs import Speech, Work, step_name
from papers.mtap.config import MtapConfig


def work(config: MtapConfig, speech: Speech) -> list[Work]:
    """One training, or one for each choice, in seconds of speech after cutting and padding (see `common.costs`)."""
    trainings = max(1, len(config.choices))
    seconds = trainings * speech.utterances * config.frames * config.hop_ms / 1000
    return [speech.training(step_name(config, "backbone"), seconds, config.epochs, config.patience)]
