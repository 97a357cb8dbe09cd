"""What a trial of the adversarial autoencoder computes: pictures of labelled and auxiliary utterances, for every alpha.

An example is a picture in a step, whatever phases the step has.
"""

from __future__ import annotations

import dataclasses
import math

from common.costs import Utterances, Work, training
from papers.mtl_aae.config import AaeConfig


def network(config: AaeConfig) -> str:
    """Key of `ser/steps.csv`."""
    tasks = "several tasks" if config.secondary else "one task"
    size = "" if config.frames == AaeConfig.frames else f", {config.rows} x {config.frames}"
    return f"{config.model}, {tasks}{size}"


def work(config: AaeConfig, utterances: Utterances, pretraining: str = "") -> list[Work]:
    """A training for each alpha of the grid; one if alpha is given, or nothing validates, or there is no decoder."""
    chosen = config.model != "cnn" and config.alpha is None and utterances.validation
    times = len(config.alphas) if chosen else 1
    share = config.auxiliary_share if utterances.auxiliary else 0.0
    rows = config.batch_size + round(config.batch_size * share / (1 - share))
    learnt = dataclasses.replace(utterances, train=math.ceil(utterances.train / config.batch_size) * rows)
    return [training(network(config), learnt, config.epochs, config.patience, times=times)]
