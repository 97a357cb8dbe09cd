"""Own rows of Tables 2 to 4 on IEMOCAP, their honest twins, and one row on a public corpus."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from common.contract import Experiment, Paper
from common.errors import UserError
from common.splits import LeaveOneSessionOut, LeaveOneSpeakerOut
from papers.gmp_atl.config import CHECKPOINT, RANDOM, SCALED, GmpConfig

SUBSET = "4class-excited"
"""Sec. 4.1.1, Table 1: 5531 utterances, excited counted as happy."""

REPEATS = 1
"""Sec. 4.1.2 speaks of one run a fold."""

PAPER_PROTOCOL = LeaveOneSessionOut("none")
"""Sec. 4.1.2: one session tests; no validation part is named, so the last epoch stays."""

HONEST_PROTOCOL = LeaveOneSessionOut("session")
"""The next session validates and chooses the epochs; three sessions are learnt from."""

ROWS = {
    "ce": ("CE", {"pseudo_labels": False, "loss": "ce"}),
    "ams": ("AM-softmax", {"pseudo_labels": False, "loss": "am_softmax"}),
    "gmp-ce": ("Pseudo-labels, CE", {"loss": "ce"}),
}
"""Table 3 by rising numbers (its check marks are lost in our text, see README.md); the last row is Table 2's."""

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
    """The row with epochs chosen on another session."""
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
        if layer != GmpConfig.layer:  # that one is Table 2's row
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
    """Where a checkpoint is: a folder, or what `ser fetch` brought; None if the public one is not here.

    Raises:
        UserError: a folder that holds none.
    """
    if name == CHECKPOINT:
        from data_prep.fetching.sources import SOURCES, source_folder

        source = SOURCES["hubert-base-ls960"]
        folder = source_folder(source)
        return folder if (folder / source.holds).is_file() else None
    folder = Path(os.path.expanduser(name))
    if not (folder / "config.json").is_file():
        raise UserError(
            f"hubert={name}: there is no such folder with a HuBERT's config.json. Choose {CHECKPOINT}, a folder, "
            f"or {' or '.join(RANDOM)}."
        )
    return folder


def resolve(config: GmpConfig) -> tuple[GmpConfig, list[str]]:
    """The checkpoint where it is here, otherwise a random HuBERT and the flag that says so."""
    if config.hubert in RANDOM:
        return config, [f"random weights: HuBERT ({config.hubert}) never heard speech before"]
    if checkpoint_folder(config.hubert) is not None:
        return config, []
    flag = f"random weights: {CHECKPOINT} is not here (`ser fetch hubert-base-ls960` brings it)"
    return dataclasses.replace(config, hubert="random-base"), [flag]


PAPER = Paper(
    package=__package__,
    title=(
        "GMP-ATL: Gender-augmented Multi-scale Pseudo-label Enhanced Adaptive Transfer Learning for Speech Emotion "
        "Recognition via HuBERT"
    ),
    reference="Pan, Yang, Lu, Ma, Zhao 2024, Interspeech",
    experiments=_experiments(),
    cost="cost:work",
    resolve="experiments:resolve",
    scaled=SCALED,
    demo=("2",),
)
