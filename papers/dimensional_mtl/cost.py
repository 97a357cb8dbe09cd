"""How much a fit of the dimensional networks computes, in utterances."""

from __future__ import annotations

from common.costs import Speech, Work, step_name
from papers.dimensional_mtl.config import DimensionalConfig

FIELDS = ("modality", "acoustic_network", "text_network", "level", "small_acoustic", "width", "batch_size")
"""What the time of an utterance depends on; the number of descriptors (34 of pAA, 23 of GeMAPS) hardly matters."""


def work(config: DimensionalConfig, speech: Speech) -> list[Work]:
    """One training, or one for each choice that `choose` compares (see `common.costs`)."""
    trainings = 1 if config.choose == "none" else len(config.choices())
    units = trainings * speech.utterances
    step = step_name(config, *FIELDS)
    if config.uses_words and config.text_length > 100:  # the length of the measured steps
        step += f" text_length={config.text_length}"
    if config.scrambled and "scrambled" not in config.without_effect:
        step += " scrambled=True"
    return [speech.training(step, units, config.epochs, config.patience)]
