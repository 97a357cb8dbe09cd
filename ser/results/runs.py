"""An experiment as it will really run, and its trials.

The id of a run is a hash of everything that can change its numbers: the resolved config, the corpus's fingerprint, the
subset, the protocol, the target, the auxiliary data and determinism. Runs with different ids have different folders.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
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
"""Version of what is written; increased when older trials can no longer be compared with new ones."""


@dataclass(frozen=True)
class Run:
    """An experiment as it will really run: config resolved, corpus read, folds cut.

    Attributes:
        paper: the paper.
        experiment: the experiment as the paper declares it.
        protocol: the protocol that cuts the folds.
        config: the resolved config.
        corpus: the corpus to run on, which may differ from the experiment's.
        subset: its subset.
        table: the utterances of the subset.
        fingerprint: of the table (see `common.corpus.fingerprint`).
        folds: all folds of the protocol.
        chosen: names of the folds to run.
        repeats: runs per fold.
        flags: conditions that every result must state.
        changes: how the run differs from the experiment as declared, in words; empty if it does not.
        deterministic: same seed, same bytes.
        auxiliary: corpus, subset and fingerprint of the auxiliary data; None: there are none.
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
        """The classes to predict: the target's own, or the emotions of the subset; empty for a regression."""
        return () if self.target.dimensions else self.target.classes or self.subset.classes

    @cached_property
    def id(self) -> str:
        """Hash of everything that can change the numbers; repeats and chosen folds only add trials."""
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
        """The folder with the run's trials."""
        return results / self.experiment.id / self.id

    def trials(self) -> Iterator[Trial]:
        """Yields all trials, repeat by repeat, so that an unfinished run has complete repeats."""
        for repeat in range(1, self.repeats + 1):
            for fold in self.folds:
                if fold.name in self.chosen:
                    yield self.trial(fold.name, repeat)

    def trial(self, fold: str, repeat: int) -> Trial:
        """The trial of a fold and a repeat, on which alone its seed depends."""
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
        """Name of the trial's folder within the folder of the run."""
        return f"{self.fold.name}--{self.repeat}"

    def folder(self, results: Path) -> Path:
        """The folder with the trial's files, which exists once the trial is complete."""
        return self.run.folder(results) / self.name

    def is_done(self, results: Path) -> bool:
        """True if the trial is complete and its predictions are intact."""
        folder = self.folder(results)
        try:
            record = json.loads((folder / "trial.json").read_bytes())
            return record["predictions"] == checksum(folder / "predictions.parquet")
        except (OSError, ValueError, KeyError):
            return False


def as_record(thing: Any) -> dict:
    """Class name and settings of a protocol or a target, for JSON."""
    return {"kind": type(thing).__name__, **dataclasses.asdict(thing)}
