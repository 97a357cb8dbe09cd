"""What a trial of GMP-ATL computes: seconds of speech through HuBERT in three stages, and k-means on a processor.

Mean durations: IEMOCAP's four emotions are 419.3 minutes in 5,531 utterances (Table 1), EMODB's utterances 2.78 s. What
batches are padded with is a tenth at most (`GmpConfig.padding`) and counted so.

Rows share what they have in common: stage 1 is the same in all rows on the same folds, pseudo-labels and stage 2 are
those of a layer.
"""

from __future__ import annotations

import dataclasses

from common.costs import FORWARD, Utterances, Work, training
from papers.gmp_atl.config import GmpConfig

SECONDS = {"iemocap": 419.3 * 60 / 5531, "emodb": 2.78}
"""Mean duration of an utterance."""

EXAMPLE_S = 4.0
"""Of the examples that `ser/steps.csv` is for."""

FRAMES_A_SECOND = 50

PATIENCE = 100
"""Steps of k-means without improvement that end it (`pseudo_labels.PATIENCE`)."""


def work(config: GmpConfig, utterances: Utterances, pretraining: str = "") -> list[Work]:
    """The stages of one trial; without pseudo-labels only the last."""
    kind = "" if not config.hubert.startswith("random-tiny") else ", tiny"
    seconds = min(SECONDS[utterances.corpus], config.longest_s)
    size = seconds / EXAMPLE_S * (1 + config.padding)
    patience = config.patience if config.keep == "validation" else None
    untested = dataclasses.replace(utterances, test=0.0)
    first = training(f"stage 1{kind}", untested, config.epochs1, patience, size=size, shared="stage 1")
    last = training(f"stage 3{kind}", utterances, config.epochs3, patience, size=size)
    if not config.pseudo_labels:
        return [first, last] if config.plain_start == "stage1" else [last]
    heard = FORWARD * size * utterances.train
    layer = f"layer {config.layer}"
    frames = seconds * FRAMES_A_SECOND * utterances.train
    steps = max(1, int(config.kmeans_passes * frames) // config.kmeans_batch)
    unchosen = dataclasses.replace(untested, validation=0.0)
    return [
        first,
        Work(f"stage 1{kind}", heard, heard, f"states {layer}"),
        Work(f"k-means start{kind}", config.kmeans_starts, config.kmeans_starts, f"starts {layer}"),
        Work(f"k-means step{kind}", steps, min(steps, PATIENCE + 1), f"steps {layer}"),
        training(f"stage 2{kind}", unchosen, config.epochs2, size=size, shared=f"stage 2 {layer}"),
        last,
    ]
