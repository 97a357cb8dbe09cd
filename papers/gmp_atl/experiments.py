"""The paper's rows of Tables 2 to 4 on IEMOCAP, each also with a validation session, and one row on a public corpus."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from common.contract import Experiment, Paper, PretrainedWeights
from common.errors import UserError
from common.splits import LeaveOneSessionOut, LeaveOneSpeakerOut
from papers.gmp_atl.config import CHECKPOINT, CHECKPOINTS, DEMO, RANDOM, SCALED, GmpConfig

SUBSET = "4class-excited"
"""Sec. 4.1.1, Table 1: 5531 utterances, excited is counted as happy."""

REPEATS = 1
"""Sec. 4.1.2 mentions one run per fold."""

PAPER_PROTOCOL = LeaveOneSessionOut("none")
"""Sec. 4.1.2: one session is the test part. No validation part is mentioned, so the last epoch is kept."""

HONEST_PROTOCOL = LeaveOneSessionOut("session")
"""The next session is the validation part, which chooses the epochs; three sessions are trained on."""

ROWS = {
    "ce": ("CE", {"pseudo_labels": False, "loss": "ce"}),
    "ams": ("AM-softmax", {"pseudo_labels": False, "loss": "am_softmax"}),
    "gmp-ce": ("Pseudo-labels, CE", {"loss": "ce"}),
}
"""Table 3 by rising numbers (its check marks are lost in our copy, see README.md); the last row is in Table 2."""

LAYERS = tuple(range(-1, -9, -1))
"""Table 4."""


def _row(table: str, row: str, title: str, **settings) -> Experiment:
    return Experiment(
        id=f"gmp_atl/table{table}/iemocap/{row}",
        title=title,
        corpus="iemocap",
        subset=SUBSET,
        protocol=PAPER_PROTOCOL,
        config=GmpConfig(**settings),
        repeats=REPEATS,
    )


def _honest(experiment: Experiment) -> Experiment:
    """The same row with epochs that are chosen on another session."""
    return dataclasses.replace(
        experiment,
        id=f"{experiment.id}-validated",
        title=f"{experiment.title}, a session validates",
        protocol=HONEST_PROTOCOL,
    )


def _experiments() -> tuple[Experiment, ...]:
    whole = _row("2", "gmp-atl", "GMP-ATL: pseudo-labels, AM-softmax")
    rows = [whole, dataclasses.replace(_honest(whole), id="gmp_atl/table3/iemocap/gmp-ams-validated")]
    for name, (title, settings) in ROWS.items():
        rows.append(_row("3", name, title, **settings))
        rows.append(_honest(rows[-1]))
    for layer in LAYERS:
        if layer != GmpConfig.layer:  # which is the row of Table 2
            rows.append(_row("4", f"layer{layer}", f"Layer {layer}", layer=layer))
            rows.append(_honest(rows[-1]))
    rows.append(
        Experiment(
            id="gmp_atl/public/emodb/gmp-ams",
            title="EMODB, which the paper does not use",
            corpus="emodb",
            subset="7class",
            protocol=LeaveOneSpeakerOut(),
            config=GmpConfig(),
            repeats=REPEATS,
        )
    )
    return tuple(rows)


def checkpoint_folder(name: str) -> Path | None:
    """Folder of a checkpoint, which may be named by its folder; None if it is a public one and was not fetched.

    Raises:
        UserError: The folder does not exist or holds no checkpoint.
    """
    if name in CHECKPOINTS:
        from data_prep.fetching.sources import SOURCES, source_folder

        source = SOURCES[CHECKPOINTS[name]]
        folder = source_folder(source)
        return folder if (folder / source.holds).is_file() else None
    folder = Path(os.path.expanduser(name))
    if not (folder / "config.json").is_file():
        raise UserError(
            f"hubert={name}: this folder does not exist or holds no config.json. Choose another folder or "
            f"one of {', '.join((*CHECKPOINTS, *RANDOM))}."
        )
    return folder


def pretrained(config: GmpConfig) -> list[PretrainedWeights]:
    """HuBERT, or the checkpoint in its place; without it, a run may go on with a random HuBERT base.

    Raises:
        UserError: The folder that the config names does not exist or holds no checkpoint.
    """
    if config.hubert in RANDOM:
        return [PretrainedWeights(f"HuBERT ({config.hubert})", random=True)]
    title = "HuBERT" if config.hubert == CHECKPOINT else f"{Path(config.hubert).name} in place of HuBERT"
    source, folder = CHECKPOINTS.get(config.hubert, ""), checkpoint_folder(config.hubert)
    return [PretrainedWeights(title, folder, source, fallback={"hubert": "random-base"})]


PAPER = Paper(
    package=__package__,
    title=(
        "GMP-ATL: Gender-augmented Multi-scale Pseudo-label Enhanced Adaptive Transfer Learning for Speech Emotion "
        "Recognition via HuBERT"
    ),
    reference="Pan, Yang, Lu, Ma, Zhao 2024, Interspeech",
    experiments=_experiments(),
    cost="cost:work",
    pretrained="experiments:pretrained",
    scaled=SCALED,
    demo=("2",),
    demo_changes=DEMO,
)
