"""The rows of Tables II to IV and the points of Figures 2 and 3, and beside each its speaker-independent twin."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from common.contract import Experiment, Figure, Paper
from common.splits import LeaveOneSpeakerOut, StratifiedKFold
from common.targets import EMOTION
from papers.mtl_aae.config import SCALED, AaeConfig
from papers.mtl_aae.targets import EDGES, Clusters, ThreeLevels

REPEATS = 1
"""Sec. V repeats "this scheme ten times", which is read as its ten folds, once each; `--repeats` adds seeds."""

AUXILIARY = "librispeech/train-clean-360"
"""Sec. IV-A: "360 hours"; 500 of its 921 speakers have about the 56,307 utterances that the paper counts."""

SUBSETS = {"iemocap": "4class-excited", "msp_improv": "4class", "emodb": "4class"}
"""Sec. IV-A: 5531 and 7798 utterances, also for activation and valence."""

TEN = StratifiedKFold(10, by="speaker", validation="fold")
FIVE = StratifiedKFold(5, by="speaker", validation="fold")
APART = LeaveOneSpeakerOut()
"""Sec. V: eight folds train, one develops, one tests, and speakers are in all of them; the twin keeps them apart."""

TITLES = {"cnn": "CNN", "ae": "Semi-supervised AE", "aae": "Semi-supervised AAE", "iemocap": "IEMOCAP"}
TITLES |= {"msp_improv": "MSP-IMPROV", "emodb": "EMODB"}

SECONDARY = {"gender": "emotion+gender", "speaker": "emotion+speaker", "both": "all"}
"""Tables III and IV, first column, and the config's name for it."""

FIG3 = {"iemocap": (0, 100, 200, 400, 600, 800), "msp_improv": (0, 100, 200, 400, 600, 800), "emodb": (0, 24, 48, 96)}
"""Auxiliary speakers; the figure's own points cannot be read from the text, which names 600."""

PLANES = {"clusters3": Clusters(3), "clusters5": Clusters(5)}


def targets(corpus: str) -> dict:
    """What Table IV predicts on a corpus, by its name in experiment ids."""
    levels = {dimension: ThreeLevels(dimension, *EDGES[corpus]) for dimension in ("activation", "valence")}
    return {**levels, **PLANES}


def _row(place: str, corpus: str, row: str, title: str, protocol, target=EMOTION, **settings) -> Experiment:
    config = AaeConfig(**settings)
    alone = (config.model == "cnn" and config.tasks == "emotion") or config.auxiliary_share == 0
    return Experiment(
        id=f"mtl_aae/{place}/{corpus}/{row}",
        title=f"{TITLES[corpus]} {title}",
        corpus=corpus,
        subset=SUBSETS[corpus],
        protocol=protocol,
        config=config,
        repeats=REPEATS,
        target=target,
        # EMODB's rows are ours: any part of LibriSpeech does.
        auxiliary="" if alone else "librispeech/all" if corpus == "emodb" else AUXILIARY,
    )


def _with_twin(experiment: Experiment) -> Iterator[Experiment]:
    yield experiment
    yield dataclasses.replace(
        experiment,
        id=f"{experiment.id}-apart",
        title=f"{experiment.title}, leave one speaker out",
        protocol=APART,
    )


def _tables(corpus: str) -> Iterator[Experiment]:
    for model in ("cnn", "ae", "aae"):
        yield from _with_twin(_row("table2", corpus, model, TITLES[model], TEN, model=model))
    yield _row("table2-5fold", corpus, "aae", TITLES["aae"], FIVE)
    for secondary in ("gender", "speaker"):  # both: the last row of Table II
        title = f"emotion with {secondary}"
        yield from _with_twin(_row("table3", corpus, secondary, title, TEN, tasks=SECONDARY[secondary]))
    for name, target in targets(corpus).items():
        for secondary, tasks in SECONDARY.items():
            title = f"{target.name} with {'gender and speaker' if secondary == 'both' else secondary}"
            yield from _with_twin(_row("table4", corpus, f"{name}-{secondary}", title, TEN, target, tasks=tasks))


def _figure2(corpus: str) -> Iterator[Experiment]:
    """Single-task networks, and the multi-task ones that no table has."""
    learnt = {"emotion": EMOTION}
    if corpus != "emodb":
        learnt |= {name: target for name, target in targets(corpus).items() if name in ("activation", "valence")}
    for name, target in learnt.items():
        for model in ("cnn", "ae", "aae"):
            for mode, tasks in (("single", "emotion"), ("multi", "all")):
                in_a_table = mode == "multi" and (name == "emotion" or model == "aae")
                if corpus == "emodb":
                    title = f"{TITLES[model]}, {mode}-task"
                    yield _row(
                        "fig2", corpus, f"{model}-{mode}", title, APART, model=model, tasks=tasks, auxiliary_speakers=0
                    )
                elif not in_a_table:
                    title = f"{name}: {TITLES[model]}, {mode}-task"
                    yield _row("fig2", corpus, f"{name}-{model}-{mode}", title, TEN, target, model=model, tasks=tasks)


def _figure3(corpus: str) -> Iterator[Experiment]:
    for count in FIG3[corpus]:
        settings = {"auxiliary_speakers": count} if count else {"auxiliary_share": 0.0}
        protocol = APART if corpus == "emodb" else TEN
        yield _row("fig3", corpus, str(count), f"{count} auxiliary speakers", protocol, **settings)


def _experiments() -> tuple[Experiment, ...]:
    rows = [row for corpus in ("iemocap", "msp_improv") for row in _tables(corpus)]
    for corpus in FIG3:
        rows += [*_figure2(corpus), *_figure3(corpus)]
    return tuple(rows)


PAPER = Paper(
    package=__package__,
    title="Multi-Task Semi-Supervised Adversarial Autoencoding for Speech Emotion Recognition",
    reference="Rana, Latif, Khalifa, Jurdak, Epps, Schuller 2019, arXiv 1907.06078",
    experiments=_experiments(),
    cost="cost:work",
    scaled=SCALED,
    demo=("2-5fold",),
    figures=(
        Figure("2", "one task against several, by network", "figures:draw_tasks"),
        Figure("3", "number of auxiliary speakers", "figures:draw_speakers"),
    ),
)
