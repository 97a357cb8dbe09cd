"""How much a fit of the adversarial autoencoder computes, in spectrograms, labelled and auxiliary ones."""

from __future__ import annotations

import math

from common.costs import Speech, Work, step_name
from papers.mtl_aae.config import AaeConfig


def work(config: AaeConfig, speech: Speech) -> list[Work]:
    """One training, or one for each alpha of the grid or try of the CNN (see `common.costs`)."""
    batch = config.batch_size + (config.auxiliary_batch_size if config.uses_auxiliary else 0)
    tries = config.cnn_tries if config.model == "cnn" else len(config.alphas) if config.alpha is None else 1
    units = math.ceil(speech.utterances / config.batch_size) * batch * (tries if speech.validated else 1)
    step = f"{step_name(config, 'model', 'rows', 'frames')} tasks={'several' if config.secondary else 'one'}"
    return [speech.training(step, units, config.epochs, config.patience)]
