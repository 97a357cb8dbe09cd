"""What a trial of the dimensional networks computes: the acoustic and the text part, added up.

The two dense layers that fuse them cost nothing beside. GeMAPS' 23 descriptors a frame count as pAA's 34.
"""

from __future__ import annotations

from common.costs import Utterances, Work, training
from papers.dimensional_mtl.config import DimensionalConfig


def work(config: DimensionalConfig, utterances: Utterances, pretraining: str = "") -> list[Work]:
    """One training, or, with `choose`, one for each choice (see `common.costs`)."""
    times = len(config.choices()) if config.choose != "none" else 1
    return [training(network, utterances, config.epochs, config.patience, times=times) for network in networks(config)]


def networks(config: DimensionalConfig) -> list[str]:
    """Keys of `ser/steps.csv`: modality, layers, for acoustics the level, and width and batch."""
    size = f"{config.width} wide, batch {config.batch_size}"
    keys = []
    if config.uses_audio:
        layers = "small lstm" if config.small_acoustic else config.acoustic_network
        keys.append(f"acoustic {layers} {config.level}, {size}")
    if config.uses_words:
        keys.append(f"text {config.text_network}, {size}")
    return keys
