"""An experiment as it will really run, and its trials.

A run's id is a hash of everything that could change its numbers: the resolved config, the corpus's fingerprint, the
subset, the protocol and determinism. Runs that differ in any of these lie in different folders.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.files import checksum

if TYPE_CHECKING:
    import pandas as pd

    from common.contract import Experiment, Paper
    from common.corpus import Corpus, Subset
    from common.splits import Fold
    from common.targets import Target

FORMAT = 2
"""Raised when trials written before can no longer be compared with trials written now."""


@dataclass(frozen=True)
class Run:
    """An experiment as it will really run: config resolved, data read, folds cut.

    Attributes:
        paper: the paper.
        experiment: the experiment as the paper declares it.
        protocol: the protocol that cuts the folds.
        config: the config that runs.
        corpus: the corpus that is run on; may be another than the experiment's.
        subset: its subset.
        table: the subset's utterances.
        fingerprint: of the table (see `common.corpus.fingerprint`).
        folds: all folds of the protocol.
        chosen: names of the folds to run.
        repeats: runs a fold.
        flags: what every result must carry.
        changes: how this differs from the experiment as declared, in words; empty: it is what the paper reports.
        deterministic: same seed, same bytes.
        auxiliary: which utterances there are to learn from besides: corpus, subset and fingerprint; None: none.
    """

    paper: Paper
    experiment: Experiment
    protocol: Any
    config: Any
    corpus: Corpus
    subset: Subset
    table: pd.DataFrame
    fingerprint: str
    folds: tuple[Fold, ...]
    chosen: tuple[str, ...]
    repeats: int
    flags: tuple[str, ...]
    changes: tuple[str, ...]
    deterministic: bool = False
    auxiliary: Mapping[str, str] | None = None

    @property
    def target(self) -> Target:
        """What is predicted."""
        return self.experiment.target

    @property
    def classes(self) -> tuple[str, ...]:
        """What is told apart: the target's own classes, or the subset's emotions; empty for a regression."""
        return () if self.target.dimensions else self.target.classes or self.subset.classes

    @property
    def id(self) -> str:
        """Hash of everything that could change the numbers; repeats and chosen folds only add trials."""
        everything = {
            "format": FORMAT,
            "experiment": self.experiment.id,
            "config": dataclasses.asdict(self.config),
            "corpus": self.corpus.name,
            "subset": self.subset.name,
            "fingerprint": self.fingerprint,
            "protocol": as_record(self.protocol),
            "target": as_record(self.target),
            "auxiliary": self.auxiliary,
            "deterministic": self.deterministic,
        }
        return hashlib.blake2b(json.dumps(everything, sort_keys=True).encode(), digest_size=5).hexdigest()

    def folder(self, results: Path) -> Path:
        """Where the run's trials are."""
        return results / self.experiment.id / self.id

    def trials(self) -> Iterator[Trial]:
        """All trials, repeat by repeat, so that an unfinished run has whole repeats."""
        for repeat in range(1, self.repeats + 1):
            for fold in self.folds:
                if fold.name in self.chosen:
                    yield self.trial(fold.name, repeat)

    def trial(self, fold: str, repeat: int) -> Trial:
        """The trial of a fold and repeat; its seed depends on nothing else."""
        number = next(number for number, one in enumerate(self.folds, start=1) if one.name == fold)
        return Trial(self, self.folds[number - 1], repeat, seed=1000 * repeat + number)


@dataclass(frozen=True)
class Trial:
    """One fold of a run with one seed."""

    run: Run
    fold: Fold
    repeat: int
    seed: int

    @property
    def name(self) -> str:
        """The trial's folder within its run."""
        return f"{self.fold.name}--{self.repeat}"

    def folder(self, results: Path) -> Path:
        """Where the trial's files are once it is complete."""
        return self.run.folder(results) / self.name

    def is_done(self, results: Path) -> bool:
        """True if the trial is complete and its predictions are what was written."""
        folder = self.folder(results)
        try:
            record = json.loads((folder / "trial.json").read_bytes())
            return record["predictions"] == checksum(folder / "predictions.parquet")
        except (OSError, ValueError, KeyError):
            return False


def as_record(thing: Any) -> dict:
    """Class and settings of a protocol or a target."""
    return {"kind": type(thing).__name__, **dataclasses.asdict(thing)}
