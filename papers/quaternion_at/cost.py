"""What a trial of quaternion anti-transfer computes: chunks of 4 s through VGG16, for every layer that is tried.

Chunks an utterance, of the utterances' durations, by `data.cut`'s default rule. IEMOCAP: 5,786 chunks of the 4,490
utterances of four emotions, and 7,205 of 5,531 with excited ones, which is taken for all 10,039 (RH-Emo). RAVDESS and
TESS: no utterance lasts 8 s, so one each. LibriSpeech's train-clean-100: 100.6 h in 28,539 utterances are 12.7 s each,
and one of more than 8 s is cut into its quarters of 4 s, begun ones among them: 3.7.

The network of the orthogonal task runs forward beside the one under training, up to the layer; counted is all of it. A
real network's task side is computed once a training, a quaternion network's, whose RH-Emo learns, at each step.
"""

from __future__ import annotations

import dataclasses

from common.costs import FORWARD, Utterances, Work, training
from papers.quaternion_at.config import QuaternionAtConfig

CHUNKS = {"iemocap": 5786 / 4490, "iemocap, all": 7205 / 5531, "librispeech": 3.7}
"""Chunks an utterance; a corpus that is not here has one."""

FOUR_EMOTIONS = 4490 / 10039
"""Share of IEMOCAP that RH-Emo's second stage learns from."""

STAGE2_PATIENCE = 30
"""`pretraining.rhemo`'s second stage."""


def network(config: QuaternionAtConfig) -> str:
    """Key of `ser/steps.csv`."""
    return f"{config.network} vgg16{_size(config)}"


def _size(config: QuaternionAtConfig) -> str:
    return "" if config.width == 1 and config.shrink == 1 else f", width {config.width:g}, shrunk {config.shrink}"


def work(config: QuaternionAtConfig, utterances: Utterances, pretraining: str = "") -> list[Work]:
    """The trainings of every layer tried, twice each for dual anti-transfer; or those of a pretraining."""
    if pretraining:
        return _pretrained(config, utterances, pretraining)
    pieces = CHUNKS.get(utterances.corpus, 1.0)
    times = len(config.layers()) * len(config.tasks) if config.tasks else 1
    done = training(network(config), utterances, config.epochs, config.patience, size=pieces, times=times)
    if not config.tasks:
        return [*_rhemo_of_the_fold(config, utterances, pieces), done]
    if config.rhemo != "none" and config.rhemo_training == "trainable":
        return [dataclasses.replace(done, most=done.most * (1 + FORWARD), least=done.least * (1 + FORWARD))]
    once = FORWARD * times * pieces * utterances.train
    return [dataclasses.replace(done, most=done.most + once, least=done.least + once)]


def _rhemo_of_the_fold(config: QuaternionAtConfig, utterances: Utterances, pieces: float) -> list[Work]:
    """RH-Emo's two stages on the training part, a share of which validates; nothing unless `rhemo=fold`."""
    if config.rhemo != "fold":
        return []
    share = config.task_share
    part = dataclasses.replace(
        utterances, train=(1 - share) * utterances.train, validation=share * utterances.train, test=0.0
    )
    stages = (("rh-emo autoencoder", config.rhemo_patience), ("rh-emo with heads", STAGE2_PATIENCE))
    return [
        training(f"{name}{_size(config)}", part, config.rhemo_epochs, patience, size=pieces)
        for name, patience in stages
    ]


def _pretrained(config: QuaternionAtConfig, utterances: Utterances, pretraining: str) -> list[Work]:
    share = config.task_share
    all_of_them = utterances.train

    def parted(count: float) -> Utterances:
        return dataclasses.replace(
            utterances, train=(1 - 1.5 * share) * count, validation=share * count, test=share / 2 * count
        )

    if pretraining == "rhemo":
        pieces = CHUNKS["iemocap, all"]
        both = parted(all_of_them), parted(FOUR_EMOTIONS * all_of_them)
        patience = config.rhemo_patience, STAGE2_PATIENCE
        return [
            training(f"{name}{_size(config)}", part, config.rhemo_epochs, patience, size=pieces)
            for name, part, patience in zip(("rh-emo autoencoder", "rh-emo with heads"), both, patience, strict=True)
        ]
    if pretraining == "words":
        part, pieces = parted(config.word_segments), 1.0
    else:
        part, pieces = parted(all_of_them), CHUNKS["librispeech"]
    return [training(network(config), part, config.task_epochs, config.task_patience, size=pieces)]
