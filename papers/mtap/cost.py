"""What a trial of MTAP computes: pictures through the backbone; fused features are vectors and cost nothing beside."""

from __future__ import annotations

from common.costs import Utterances, Work, training
from papers.mtap.config import MtapConfig

FRAMES = 400
"""Of the pictures that `ser/steps.csv` is for; a backbone's cost grows with the frames."""


def work(config: MtapConfig, utterances: Utterances, pretraining: str = "") -> list[Work]:
    """One training (see `common.costs`)."""
    size = config.frames / FRAMES
    return [training(config.backbone, utterances, config.epochs, config.patience, size=size)]
