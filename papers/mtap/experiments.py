"""The rows of the loss study: Tables 1 to 3, and the rows of Tables 4 and 6 that use the spectrogram alone."""

from __future__ import annotations

import dataclasses
import functools

from common.experiments import Experiment, Paper
from common.models.backbones import IMAGENET, imagenet_file
from common.splits import LeaveOneSessionOut, LeaveOneSpeakerOut, StratifiedKFold
from papers.mtap.config import SCALED, MtapConfig

REPEATS = 5
"""Sec. 5.2.2: five runs a fold."""

FRAMES = {"emodb": 400, "savee": 500, "iemocap": 600}
"""Sec. 5.2.1."""

SUBSETS = {"emodb": "7class", "savee": "7class", "iemocap": "4class-improvised"}
"""Sec. 5.1; IEMOCAP: improvised, four emotions without excited, 2280 utterances."""

PROTOCOLS = {
    ("1", "emodb"): LeaveOneSpeakerOut(),
    ("1", "savee"): LeaveOneSpeakerOut(),
    ("2", "emodb"): StratifiedKFold(10),
    ("2", "savee"): StratifiedKFold(5),
    ("3", "iemocap"): LeaveOneSessionOut(),
}
"""Sec. 5.1 and 5.2.3-5.2.5. How validation data are chosen on EMODB and SAVEE is not given (see README.md)."""

ROWS = {
    ("1", "emodb"): {"focal": (0.10, 0.0), "arcface": (0.0, 0.50), "apfl": (0.10, 0.50)},
    ("1", "savee"): {"focal": (0.10, 0.0), "arcface": (0.0, 0.50), "apfl": (5.0, 0.50)},
    ("2", "emodb"): {"focal": (0.10, 0.0), "arcface": (0.0, 0.50), "apfl": (5.0, 0.50)},
    ("2", "savee"): {"focal": (0.10, 0.0), "arcface": (0.0, 0.50), "apfl": (0.50, 0.50)},
    ("3", "iemocap"): {"focal": (0.50, 0.0), "arcface": (0.0, 0.30), "apfl": (0.50, 0.30)},
}
"""gamma and m of each row, as the tables print them."""

TITLES = {"softmax": "Softmax", "focal": "Focal", "arcface": "ArcFace", "apfl": "APFL"}


def _row(table: str, corpus: str, row: str, title: str, protocol, **settings) -> Experiment:
    return Experiment(
        id=f"mtap/table{table}/{corpus}/{row}",
        title=title,
        corpus=corpus,
        subset=SUBSETS[corpus],
        protocol=protocol,
        config=MtapConfig(frames=FRAMES[corpus], **settings),
        repeats=REPEATS,
    )


def _experiments() -> tuple[Experiment, ...]:
    rows = []
    for (table, corpus), protocol in PROTOCOLS.items():
        for loss, (gamma, margin) in {"softmax": (0.0, 0.0), **ROWS[table, corpus]}.items():
            rows.append(_row(table, corpus, loss, TITLES[loss], protocol, loss=loss, gamma=gamma, margin=margin))
    loso = PROTOCOLS["3", "iemocap"]
    rows.append(_row("4", "iemocap", "resnet50", "ResNet50", loso, backbone="resnet50", loss="softmax"))
    apfl = {"loss": "apfl", "gamma": 2.0, "margin": 0.3}
    rows.append(_row("6", "iemocap", "resnet50-apfl", "ResNet50, APFL", loso, backbone="resnet50", **apfl))
    return tuple(rows)


@functools.cache
def _imagenet_is_here(backbone: str) -> bool:
    """Asked once a process: a network that swallows requests would cost its time-out for every row."""
    return imagenet_file(backbone) is not None


def resolve(config: MtapConfig) -> tuple[MtapConfig, list[str]]:
    """ImageNet weights where they can be had, otherwise random ones and the flag that says so."""
    if config.weights == "random" or _imagenet_is_here(config.backbone):
        return config, ["random weights"] if config.weights == "random" else []
    reason = "could not be downloaded" if config.backbone in IMAGENET else f"do not exist for {config.backbone}"
    return dataclasses.replace(config, weights="random"), [f"random weights: ImageNet weights {reason}"]


PAPER = Paper(
    name="mtap",
    title="Multimodal and Multitask Learning with Additive Angular Penalty Focus Loss for Speech Emotion Recognition",
    reference="Wen, Ye, Li, Wen, Zhang 2023, International Journal of Intelligent Systems",
    experiments=_experiments(),
    features="papers.mtap.data:features",
    fit="papers.mtap.train:fit",
    load="papers.mtap.train:load",
    resolve="papers.mtap.experiments:resolve",
    scaled=SCALED,
    demo=("3",),
)
