"""How much a fit of MTAP computes. Text and audio features are one vector per utterance and cost next to nothing."""

from __future__ import annotations

from common.costs import Speech, Work, step_name
from papers.mtap.config import MtapConfig


def work(config: MtapConfig, speech: Speech) -> list[Work]:
    """One training on spectrograms (see `common.costs`)."""
    step = step_name(config, "backbone", "frames")
    return [speech.training(step, speech.utterances, config.epochs, config.patience)]
