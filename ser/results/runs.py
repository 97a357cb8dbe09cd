"""An experiment as it will really run, and its trials.

The id of a run is a hash of everything that can change its numbers: the resolved config, the corpus's fingerprint
(labels and audio), the subset, the protocol, the target, the auxiliary data, the feature extractors and their versions,
the pretrained files, the backend and its settings, determinism, and the version of the suite. Runs with different ids
have different folders.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.backend import FLOATX, IMAGE_DATA_FORMAT, backend_name
from common.files import checksum
from ser.results.environment import environment, suite_version

if TYPE_CHECKING:
    import pandas as pd

    from common.contract import Experiment, Paper
    from common.corpus import Corpus, Subset
    from common.splits import Fold
    from common.targets import Target

FORMAT = 3
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
        features: hash of each feature extractor and its settings, by the feature's name.
        pretrained: title, name and checksum of each pretrained file (see `ser.pretrained`).
        backend: Keras' backend.
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
    features: Mapping[str, str] = field(default_factory=dict)
    pretrained: tuple[Mapping[str, str], ...] = ()
    backend: str = field(default_factory=backend_name)

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
            **self.made_with,
        }
        return hashlib.blake2b(json.dumps(everything, sort_keys=True).encode(), digest_size=5).hexdigest()

    @property
    def made_with(self) -> dict[str, Any]:
        """What the numbers depend on besides data and settings, for the id and for `run.json`."""
        return {
            "version": suite_version(),
            "backend": self.backend,
            "floatx": FLOATX,
            "image_data_format": IMAGE_DATA_FORMAT,
            "features": dict(self.features),
            "pretrained": list(self.pretrained),
        }

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

    def record(self, results: Path) -> dict | None:
        """Content of `trial.json` if the trial is complete and its predictions are intact; otherwise None."""
        folder = self.folder(results)
        try:
            record = json.loads((folder / "trial.json").read_bytes())
            return record if record["predictions"] == checksum(folder / "predictions.parquet") else None
        except (OSError, ValueError, KeyError):
            return None

    def is_done(self, results: Path, *, redo: bool = False) -> bool:
        """True if the trial is complete and intact; with `redo`, only if the present versions made it."""
        record = self.record(results)
        return record is not None and not (redo and other_versions(record))


def further_file(folder: Path, name: str) -> Path:
    """Where a trial's folder holds further predictions of that name (see `common.contract.Further`)."""
    return folder / "further" / f"{name}.parquet"


def other_versions(record: Mapping[str, Any]) -> list[str]:
    """How the versions that made a trial differ from the present ones, in words; the device is not compared."""
    made_with = record.get("versions", {})
    return [
        f"{name} {made_with.get(name, 'unknown')} instead of {version}"
        for name, version in environment().items()
        if made_with.get(name) != version
    ]


def as_record(thing: Any) -> dict:
    """Class name and settings of a protocol or a target, for JSON."""
    return {"kind": type(thing).__name__, **dataclasses.asdict(thing)}
