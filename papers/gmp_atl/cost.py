"""How much a fit of GMP-ATL computes: three stages in seconds of speech, and k-means on a processor."""

from __future__ import annotations

from common.costs import Speech, Work, step_name
from papers.gmp_atl.config import GmpConfig
from papers.gmp_atl.pseudo_labels import PATIENCE

FRAMES_PER_SECOND = 50


def work(config: GmpConfig, speech: Speech) -> list[Work]:
    """The stages of one fit (see `common.costs`).

    A second of speech takes about as long in each stage. The pass that computes the frames for k-means is not counted.
    """
    seconds = min(speech.seconds, config.longest_s * speech.utterances)
    patience = config.patience if config.keep == "validation" else None

    def stage(epochs: int, patience: int | None) -> Work:
        return speech.training(step_name(config, "hubert"), seconds, epochs, patience)

    first, third = stage(config.epochs1, patience), stage(config.epochs3, patience)
    before = [first] if config.trains_stage1 else []
    if not config.pseudo_labels:
        return [*before, third]
    frames = speech.seconds * FRAMES_PER_SECOND
    steps = max(config.kmeans_passes * frames // config.kmeans_batch, 1)
    codebooks = step_name(config, "hubert", "clusters", "kmeans_batch")
    return [
        *before,
        Work(f"k-means start {codebooks}", config.kmeans_starts, config.kmeans_starts),
        Work(f"k-means step {codebooks}", min(steps, PATIENCE + 1), steps),
        stage(config.epochs2, None),
        third,
    ]
