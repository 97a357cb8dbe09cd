"""The pretrained weights of a run: looked for before anything is trained, and the same ones for every worker."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common.artefacts import Artefact, Artefacts
from common.checksums import Checksums
from common.contract import Paper, PretrainedWeights, Pretraining
from common.errors import UserError

Record = Mapping[str, str]
"""Title, name and checksum of what a run starts from, as `run.json` and `trial.json` keep it."""


class MissingWeights(UserError):
    """Pretrained weights that a config asks for are not on this machine.

    Args:
        missing: what is missing and how to get it, one phrase for each.
    """

    def __init__(self, missing: Iterable[str]):
        self.missing = tuple(dict.fromkeys(missing))
        super().__init__(
            f"Pretrained weights are not here: {'; '.join(self.missing)}. Get them, or continue with random weights: "
            "--allow-random-weights (every result will then say so)."
        )


def weights_of(paper: Paper, config: Any) -> list[PretrainedWeights]:
    """The weights and word vectors that a config asks for."""
    return paper.function(paper.pretrained)(config) if paper.pretrained else []


def how_to_get(weights: PretrainedWeights) -> str:
    """What is missing: its title, file and size, and the command that downloads it."""
    from data_prep.fetching.sources import SOURCES

    if weights.source not in SOURCES:
        return f"{weights.title} (no download is known)"
    source = SOURCES[weights.source]
    return f"{weights.title} ({source.holds}, {source.size / 1e6:,.0f} MB; `ser fetch {source.name}`)"


def how_to_make(paper: Paper, pretraining: Pretraining) -> str:
    """The same for a network that `ser pretrain` makes."""
    return f"{pretraining.title} (`ser pretrain {paper.name} {pretraining.name}`)"


def record_of(weights: PretrainedWeights, checksums: Checksums) -> Record:
    """Title, name and checksum of weights that are here."""
    if weights.preset:
        return {"title": weights.title, "name": weights.preset, "checksum": f"preset {weights.preset}"}
    path = Path(weights.path)
    return {"title": weights.title, "name": path.name, "checksum": checksums.of_pretrained(path)}


def record_of_artefact(pretraining: Pretraining, artefact: Artefact) -> Record:
    """The same for a network that `ser pretrain` made."""
    return {"title": pretraining.title, "name": artefact.digest, "checksum": artefact.checksum}


def records(paper: Paper, config: Any, artefacts: Artefacts | None, checksums: Checksums) -> list[Record]:
    """Everything pretrained that a resolved config starts from and that is on this machine."""
    found = [record_of(one, checksums) for one in weights_of(paper, config) if not one.random and not one.missing]
    for pretraining in paper.pretrainings:
        digest = getattr(config, pretraining.field)
        artefact = artefacts.find(f"{paper.name}/{pretraining.name}", digest) if artefacts is not None else None
        if artefact is not None:
            found.append(record_of_artefact(pretraining, artefact))
    return found


def check_same(
    expected: Iterable[Record], paper: Paper, config: Any, artefacts: Artefacts | None, checksums: Checksums
) -> None:
    """Checks that a worker has the pretrained weights that the driver of the command has.

    Raises:
        UserError: Some are missing, or others.
    """
    here = {record["title"]: record["checksum"] for record in records(paper, config, artefacts, checksums)}
    for record in expected:
        if here.get(record["title"]) != record["checksum"]:
            what = f"{record['title']} ({record['name']})"
            problem = f"has another file of {what}" if record["title"] in here else f"lacks {what}"
            raise UserError(
                f"The machine {os.uname().nodename} {problem} than the one that started the command; put the same "
                "file on every machine."
            )
