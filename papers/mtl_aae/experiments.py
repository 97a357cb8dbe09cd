"""The rows of Tables II to IV, the points of Figures 2 and 3, and speaker-independent versions of the rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from common.contract import Experiment, Figure, Paper
from common.splits import LeaveOneSpeakerOut, StratifiedKFold
from common.targets import EMOTION
from papers.mtl_aae.config import SCALED, AaeConfig
from papers.mtl_aae.targets import EDGES, Clusters, Person, ThreeLevels

REPEATS = 1
"""Sec. V repeats "this scheme ten times", which is understood as ten folds, one run per fold."""

AUXILIARY = "librispeech/train-clean-360"
"""Sec. IV-A: "360 hours"; 500 of its 921 speakers have about the 56,307 utterances that the paper counts."""

SUBSETS = {"iemocap": "4class-excited", "msp_improv": "4class", "emodb": "4class"}
"""Sec. IV-A: 5531 and 7798 utterances, also for activation and valence."""

TEN_FOLDS = StratifiedKFold(10, by="speaker", validation="fold")
FIVE_FOLDS = StratifiedKFold(5, by="speaker", validation="fold")
ONE_SPEAKER_OUT = LeaveOneSpeakerOut()
"""Sec. V: eight folds to train on, one to develop on, one to test on. Every speaker is in all folds, except in the
speaker-independent versions."""

MODELS = {"cnn": "CNN", "ae": "Semi-supervised AE", "aae": "Semi-supervised AAE"}
CORPORA = {"iemocap": "IEMOCAP", "msp_improv": "MSP-IMPROV", "emodb": "EMODB"}

SECONDARY = {"gender": "emotion+gender", "speaker": "emotion+speaker", "both": "all"}
"""The field `tasks` by the secondary task in the first column of Tables III and IV."""

FIG3 = {"iemocap": (0, 100, 200, 400, 600, 800), "msp_improv": (0, 100, 200, 400, 600, 800), "emodb": (0, 24, 48, 96)}
"""Numbers of auxiliary speakers; the paper does not state the points of its figure (the text mentions 600)."""


SPEAKERS = {
    "iemocap": tuple(f"Ses0{session}{letter}" for session in range(1, 6) for letter in "FM"),
    "msp_improv": tuple(f"{letter}0{session}" for letter in "FM" for session in range(1, 7)),
    "emodb": ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16"),
}
"""Speakers, the classes of Fig. 3b."""


def _levels(corpus: str) -> dict:
    return {dimension: ThreeLevels(dimension, *EDGES[corpus]) for dimension in ("activation", "valence")}


def _row(table: str, corpus: str, row: str, title: str, protocol, target=EMOTION, **settings) -> Experiment:
    config = AaeConfig(**settings)
    return Experiment(
        id=f"mtl_aae/{table}/{corpus}/{row}",
        title=f"{CORPORA[corpus]} {title}",
        corpus=corpus,
        subset=SUBSETS[corpus],
        protocol=protocol,
        config=config,
        repeats=REPEATS,
        target=target,
        # The rows on EMODB are not in the paper: any part of LibriSpeech will do.
        auxiliary="" if not config.uses_auxiliary else "librispeech/all" if corpus == "emodb" else AUXILIARY,
    )


def _with_speaker_independent(experiment: Experiment) -> Iterator[Experiment]:
    yield experiment
    yield dataclasses.replace(
        experiment,
        id=f"{experiment.id}-apart",
        title=f"{experiment.title}, leave one speaker out",
        protocol=ONE_SPEAKER_OUT,
    )


def _tables(corpus: str) -> Iterator[Experiment]:
    for model in MODELS:
        yield from _with_speaker_independent(_row("table2", corpus, model, MODELS[model], TEN_FOLDS, model=model))
    yield _row("table2-5fold", corpus, "aae", MODELS["aae"], FIVE_FOLDS)
    for secondary in ("gender", "speaker"):  # with both, it is the last row of Table II
        title = f"emotion with {secondary}"
        row = _row("table3", corpus, secondary, title, TEN_FOLDS, tasks=SECONDARY[secondary])
        yield from _with_speaker_independent(row)
    targets = _levels(corpus) | {"clusters3": Clusters(3), "clusters5": Clusters(5)}
    for name, target in targets.items():
        for secondary, tasks in SECONDARY.items():
            title = f"{target.name} with {'gender and speaker' if secondary == 'both' else secondary}"
            row = _row("table4", corpus, f"{name}-{secondary}", title, TEN_FOLDS, target, tasks=tasks)
            yield from _with_speaker_independent(row)


def _figure2(corpus: str) -> Iterator[Experiment]:
    """Single-task networks, and the multi-task networks that are in no table."""
    targets = {"emotion": EMOTION} | (_levels(corpus) if corpus in EDGES else {})
    for name, target in targets.items():
        for model in MODELS:
            for mode, tasks in (("single", "emotion"), ("multi", "all")):
                in_a_table = mode == "multi" and (name == "emotion" or model == "aae")
                settings = {"model": model, "tasks": tasks}
                row, title = f"{model}-{mode}", f"{MODELS[model]}, {mode}-task"
                if corpus == "emodb":
                    yield _row("fig2", corpus, row, title, ONE_SPEAKER_OUT, **settings, auxiliary_speakers=0)
                elif not in_a_table:
                    yield _row("fig2", corpus, f"{name}-{row}", f"{name}: {title}", TEN_FOLDS, target, **settings)


def _figure3(corpus: str) -> Iterator[Experiment]:
    for count in FIG3[corpus]:
        settings = {"auxiliary_speakers": count} if count else {"auxiliary_share": 0.0}
        protocol = ONE_SPEAKER_OUT if corpus == "emodb" else TEN_FOLDS
        yield _row("fig3", corpus, str(count), f"{count} auxiliary speakers", protocol, **settings)


def _figure3_alone(corpus: str) -> Iterator[Experiment]:
    """Fig. 3a and 3b: gender and speaker, each predicted by a network of its own (Sec. VI-B)."""
    for task, classes in (("gender", ("female", "male")), ("speaker", SPEAKERS[corpus])):
        for count in FIG3[corpus]:
            settings = {"auxiliary_speakers": count} if count else {"auxiliary_share": 0.0}
            title = f"{task}, {count} auxiliary speakers"
            target = Person(task, classes)
            yield _row("fig3", corpus, f"{task}-{count}", title, TEN_FOLDS, target, tasks=task, **settings)


def _experiments() -> tuple[Experiment, ...]:
    rows = [row for corpus in ("iemocap", "msp_improv") for row in _tables(corpus)]
    for corpus in FIG3:
        rows += [*_figure2(corpus), *_figure3(corpus), *_figure3_alone(corpus)]
    return tuple(rows)


PAPER = Paper(
    package=__package__,
    title="Multi-Task Semi-Supervised Adversarial Autoencoding for Speech Emotion Recognition",
    reference="Rana, Latif, Khalifa, Jurdak, Epps, Schuller 2019, arXiv 1907.06078",
    experiments=_experiments(),
    auxiliary="auxiliary:choose",
    auxiliary_features="auxiliary:auxiliary_features",
    cost="cost:work",
    scaled=SCALED,
    demo=("2-5fold",),
    figures=(
        Figure("2", "one task compared with several, by network", "figures:draw_tasks"),
        Figure("3", "number of auxiliary speakers", "figures:draw_speakers"),
        Figure("A1", "balance of the encoder's objectives over epochs (not in the paper)", "figures:draw_training"),
    ),
)
