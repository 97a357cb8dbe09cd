"""The 30 rows of Table 1 in three splits, transfer, the claims on resources, and the layers of Figure 2.

A row of Table 1 tries all layers, so its trials give the thirteen points of Figure 2 as well.
"""

from __future__ import annotations

import dataclasses
from itertools import product

from common.contract import Experiment, Figure, Paper, PretrainedWeights, Pretraining
from common.splits import HoldOut, LeaveOneSpeakerOut
from papers.quaternion_at.config import LAYERS, SCALED, QuaternionAtConfig, layer_name

SUBSETS = {"iemocap": "4class", "ravdess": "8class", "tess": "7class"}
"""Sec. 3.1. Only the authors' code leaves out excited utterances of IEMOCAP, which fits the sizes of the test sets."""

METHODS = {"S": "Single S", "W": "Single W", "SW": "Dual SW", "WS": "Dual WS"}
"""Table 1, column AT Type."""

NETWORKS = {"real": "Real", "quat": "Quat"}

CONTROLS = {
    "quat-fold": ("quat", "fold", "Quat, RH-Emo of the fold"),
    "quat-random": ("quat", "random", "Quat, RH-Emo of random weights"),
    "real-rhemo": ("real", "newest", "Real, on RH-Emo's embedding"),
}
"""Rows beside each corpus's quaternion rows, ours: name, then network, RH-Emo and title. One has an RH-Emo that was
trained on the fold's training part (the paper's: on all of IEMOCAP). The others separate what the quaternion network
does from what its input does: the same network on an embedding that was not learnt, a real network on the same one."""

SPLITS = {
    "rnd": dict.fromkeys(SUBSETS, HoldOut("utterance")),
    # TESS has two speakers. The authors' code makes four "actors" of them, so that one half of the second actress is
    # the validation part and the other half the test part.
    "act": {"iemocap": HoldOut("session"), "ravdess": HoldOut("speaker"), "tess": HoldOut("half-speaker")},
    "turn": {
        "iemocap": HoldOut("session", in_turn=True),
        "ravdess": HoldOut("speaker", in_turn=True),
        "tess": LeaveOneSpeakerOut(validation="stratified", share=0.2),
    },
}
"""Sec. 3.1 and 3.2: one fold of about 70/20/10, by utterance (Rnd-s) or actor (Act-s); and ours, all actors in turn."""

TITLES = {"rnd": "random split", "act": "actor split", "turn": "all speakers in turn"}


def config_of(network: str, method: str = "none", **settings) -> QuaternionAtConfig:
    """Config of a row.

    Args:
        network: "real" or "quat".
        method: "none", "S", "W", "SW" or "WS".
        **settings: other fields.
    """
    return QuaternionAtConfig(
        network="quaternion" if network == "quat" else "real",
        rhemo="newest" if network == "quat" else "none",
        anti_transfer=method,
        speakers="newest" if "S" in method else "none",
        words="newest" if "W" in method else "none",
        **settings,
    )


def row_of(network: str, method: str) -> str:
    """Name of a row in ids, for example "real" or "quat-sw"."""
    return network if method == "none" else f"{network}-{method.lower()}"


def title_of(network: str, method: str) -> str:
    """Title of a row, as in Table 1."""
    return NETWORKS[network] if method == "none" else f"{NETWORKS[network]}-AT {METHODS[method]}"


def _experiment(name: str, title: str, corpus: str, split: str, config: QuaternionAtConfig) -> Experiment:
    return Experiment(
        id=f"quaternion_at/{name}",
        title=f"{title}, {TITLES[split]}",
        corpus=corpus,
        subset=SUBSETS[corpus],
        protocol=SPLITS[split][corpus],
        config=config,
        repeats=1,  # Sec. 3.2 gives no deviation; the authors' configs have one fold and one seed
    )


def _experiments() -> tuple[Experiment, ...]:
    rows = []
    for corpus in SUBSETS:
        for network, method, split in product(NETWORKS, ("none", *METHODS), SPLITS):
            name = f"table1/{corpus}/{row_of(network, method)}/{split}"
            title = f"{corpus.upper()} {title_of(network, method)}"
            rows.append(_experiment(name, title, corpus, split, config_of(network, method)))
        for name, (network, rhemo, title) in CONTROLS.items():
            config = dataclasses.replace(config_of(network), rhemo=rhemo)
            rows.append(
                _experiment(f"table1/{corpus}/{name}/turn", f"{corpus.upper()} {title}", corpus, "turn", config)
            )
    for corpus, network, split in product(("ravdess", "tess"), NETWORKS, ("rnd", "act")):
        config = config_of(network, transfer="newest")
        title = f"{corpus.upper()} {NETWORKS[network]}, from IEMOCAP"
        rows.append(_experiment(f"transfer/{corpus}/{network}/{split}", title, corpus, split, config))
    for network, method in product(NETWORKS, ("none", "S")):
        name = f"resources/iemocap/{row_of(network, method)}"
        config = config_of(network, method, at_layers="2")
        rows.append(_experiment(name, title_of(network, method), "iemocap", "act", config))
    for network, method, layer in product(NETWORKS, ("S", "W"), (1, LAYERS)):
        name = f"cost/iemocap/{row_of(network, method)}/{layer_name(layer)}"
        title = f"{title_of(network, method)} at layer {layer}"
        rows.append(_experiment(name, title, "iemocap", "act", config_of(network, method, at_layers=str(layer))))
    for corpus, network, method, split in product(SUBSETS, NETWORKS, ("S", "W"), ("rnd", "act")):
        for layer in range(1, LAYERS + 1):
            place = f"{corpus}/{row_of(network, method)}/{split}"
            title = f"{corpus.upper()} {title_of(network, method)}, layer {layer}"
            config = config_of(network, method, at_layers=str(layer))
            within = f"quaternion_at/table1/{place}", layer_name(layer)
            point = _experiment(f"fig2/{place}/{layer_name(layer)}", title, corpus, split, config)
            rows.append(dataclasses.replace(point, within=within))
    return tuple(rows)


def pretrained(config: QuaternionAtConfig) -> list[PretrainedWeights]:
    """Networks whose random weights are asked for; `ser pretrain` makes the pretrained ones (see `_pretrainings`)."""
    titles = {one.field: one.title for one in _pretrainings()}
    return [
        PretrainedWeights(title, random=True) for field, title in titles.items() if getattr(config, field) == "random"
    ]


def _pretrainings() -> tuple[Pretraining, ...]:
    matching = ("network", "rhemo", "width", "pooling", "shrink", "chunks", "normalisation")
    same_task = (*matching, "rhemo_training")
    return (
        Pretraining(
            "rhemo", "RH-Emo", "rhemo", "iemocap", "vad",
            "rhemo:pretrain_rhemo", "data:features", ("shrink", "chunks"),
        ),
        Pretraining(
            "speakers", "speaker recognition network", "speakers", "librispeech", "train-clean-100",
            "pretraining:train_speaker_network", "data:features", (*matching, "speaker_labels"),
        ),
        Pretraining(
            "words", "word recognition network", "words", "librispeech", "train-clean-100",
            "pretraining:train_word_network", "data:no_features", matching,
        ),
        Pretraining(
            "emotions", "emotion recognition network", "transfer", "iemocap", "4class",
            "transfer:train_emotion_network", "data:features", same_task,
        ),
    )  # fmt: skip


PAPER = Paper(
    package=__package__,
    title="Quaternion Anti-Transfer Learning for Speech Emotion Recognition",
    reference="Guizzo, Weyde, Tarroni, Comminiello 2023, WASPAA",
    experiments=_experiments(),
    cost="cost:work",
    pretrained="experiments:pretrained",
    scaled=SCALED,
    demo=("resources",),
    figures=(
        Figure("2", "accuracy gained by anti-transfer at each layer", "figures:draw_layers"),
        Figure("resources", "time and memory of a training", "figures:draw_resources"),
    ),
    pretrainings=_pretrainings(),
)
