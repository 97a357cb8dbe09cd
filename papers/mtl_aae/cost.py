"""How much a fit of the adversarial autoencoder computes, in spectrograms, labelled and auxiliary ones."""

from __future__ import annotations

import math

from common.costs import Speech, Work, step_name
from papers.mtl_aae.config import AaeConfig


def work(config: AaeConfig, speech: Speech) -> list[Work]:
    """One training, or one for each alpha of the grid if alpha is chosen (see `common.costs`)."""
    batch = config.batch_size + (config.auxiliary_batch_size if config.uses_auxiliary else 0)
    chosen = config.model != "cnn" and config.alpha is None and speech.validated
    units = math.ceil(speech.utterances / config.batch_size) * batch * (len(config.alphas) if chosen else 1)
    step = f"{step_name(config, 'model', 'rows', 'frames')} tasks={'several' if config.secondary else 'one'}"
    return [speech.training(step, units, config.epochs, config.patience)]
