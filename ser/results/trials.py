"""Trials: one experiment, one fold, one seed, and what it leaves on disk.

    RESULTS/<paper>/<table>/<corpus>/<row>/<run>/run.json             what was run: config, corpus, folds, flags
                                                /<fold>--<repeat>/trial.json, predictions.parquet [, model/]

`<run>` is a hash of everything that could change the numbers: the resolved config, the corpus' fingerprint, subset,
protocol and determinism. A trial's folder appears by one rename when it is complete; so a killed run leaves finished
trials and nothing else that counts, and the same command goes on. Trials are locked while they run; two processes on
one results folder share the work, and the lock of a killed process is released by the operating system.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.backend import forget_peak, peak_bytes
from common.errors import UserError
from common.experiments import Context, Experiment, Paper, Part
from common.files import checksum, find, write_json

if TYPE_CHECKING:
    import pandas as pd

    from common.artefacts import Artefacts
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
            "protocol": described(self.protocol),
            "target": described(self.target),
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


def described(thing: Any) -> dict:
    """Class and settings of a protocol or a target."""
    return {"kind": type(thing).__name__, **dataclasses.asdict(thing)}


def write_run(run: Run, results: Path) -> None:
    """Writes `run.json`, which tells a report what the trials beside it are."""
    write_json(
        run.folder(results) / "run.json",
        {
            "format": FORMAT,
            "paper": run.paper.name,
            "experiment": run.experiment.id,
            "title": run.experiment.title,
            "corpus": run.corpus.name,
            "synthetic": run.corpus.synthetic,
            "subset": run.subset.name,
            "classes": list(run.classes),
            "dimensions": list(run.target.dimensions),
            "target": described(run.target),
            "auxiliary": run.auxiliary,
            "fingerprint": run.fingerprint,
            "utterances": len(run.table),
            "protocol": described(run.protocol),
            "protocol_name": run.protocol.name,
            "folds": [fold.name for fold in run.folds],
            "declared_repeats": run.experiment.repeats,
            "config": dataclasses.asdict(run.config),
            "flags": list(run.flags),
            "changes": list(run.changes),
            "deterministic": run.deterministic,
        },
    )


def lock(trial: Trial, results: Path, timeout_s: float):
    """The trial's lock, held by one process at a time.

    Args:
        trial: which.
        results: results folder.
        timeout_s: how long to wait; 0 gives up at once, -1 waits for ever.

    Raises:
        filelock.Timeout: another process holds it.
    """
    from filelock import FileLock

    folder = trial.run.folder(results) / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{trial.name}.lock", timeout=timeout_s)


def perform(
    trial: Trial,
    data: Part,
    results: Path,
    *,
    audit: Mapping[str, int],
    auxiliary: Part | None = None,
    artefacts: Artefacts | None = None,
    keep_model: bool = False,
    on_epoch: Callable[[int, int, Mapping[str, float]], None] | None = None,
) -> None:
    """Fits, predicts and writes one trial. The caller holds its lock.

    Args:
        trial: what to do.
        data: all utterances of the run, with features and labels.
        results: results folder.
        audit: what the fold's parts share (see `common.audit.audit`).
        auxiliary: utterances to learn from besides.
        artefacts: where products of stages are kept.
        keep_model: also keep the fitted model, for `ser predict`.
        on_epoch: progress.
    """
    from common.training import forget_models, seed_everything

    run = trial.run
    started = time.perf_counter()
    forget_models()
    forget_peak()
    present = set(data.table["utterance"])
    fold = {
        part: tuple(utterance for utterance in getattr(trial.fold, part) if utterance in present)
        for part in ("train", "validation", "test")
    }
    if run.classes:
        data = dataclasses.replace(data, labeller=run.target.labeller(data.take(fold["train"]).table, run.classes))
    test = data.take(fold["test"])
    context = Context(seed=trial.seed, on_epoch=on_epoch, auxiliary=auxiliary, artefacts=artefacts)
    seed_everything(trial.seed, deterministic=run.deterministic)
    fitted = run.paper.call("fit")(run.config, data.take(fold["train"]), data.take(fold["validation"]), context)
    columns = fitted.predict(test.without_labels())
    activations = fitted.activations(test.without_labels()) if hasattr(fitted, "activations") else {}
    if not all(np.isfinite(values).all() for values in columns.values()):
        raise UserError(
            f"{run.experiment.id}, {trial.name}: the predictions are not finite numbers, so training diverged. "
            "Lower the learning rate or use float32; the trial was not written."
        )

    with _whole(trial, results) as temporary:
        predictions = test.table[["utterance", "speaker", "emotion", "valence", "arousal", "dominance"]].assign(
            **columns
        )
        if run.classes:
            predictions.insert(3, "label", np.array(run.classes, object)[test.labels])
        if activations:
            np.savez_compressed(temporary / "activations.npz", **activations)
        predictions.to_parquet(temporary / "predictions.parquet", index=False)
        if keep_model:
            (temporary / "model").mkdir()
            fitted.save(temporary / "model")
        write_json(
            temporary / "trial.json",
            {
                "format": FORMAT,
                "paper": run.paper.name,
                "experiment": run.experiment.id,
                "run": run.id,
                "fold": trial.fold.name,
                "repeat": trial.repeat,
                "seed": trial.seed,
                "utterances": {part: len(ids) for part, ids in fold.items()},
                "audit": dict(audit),
                "flags": [*run.flags, *data.flags, *context.flags],
                "config": dataclasses.asdict(run.config),
                "fingerprint": run.fingerprint,
                "versions": versions(),
                "seconds": {
                    **{name: round(value, 3) for name, value in context.seconds.items()},
                    "total": round(time.perf_counter() - started, 3),
                },
                "peak_memory_mib": peak_bytes() // 2**20,
                # A loss that was not finite is written as null: JSON has no such number, and the trial is not lost.
                "history": {
                    name: [value if math.isfinite(value) else None for value in values]
                    for name, values in context.history.items()
                },
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "predictions": checksum(temporary / "predictions.parquet"),
            },
        )
    failure_file(trial, results).unlink(missing_ok=True)


@contextlib.contextmanager
def _whole(trial: Trial, results: Path) -> Iterator[Path]:
    """A folder that takes the trial's place when all is written, and is gone if something fails.

    What a killed process left of this trial is removed first; that is safe, since this process holds the trial's lock.
    """
    final = trial.folder(results)
    for leftover in final.parent.glob(f".tmp-{trial.name}-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary = final.with_name(f".tmp-{trial.name}-{os.getpid()}")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        shutil.rmtree(final, ignore_errors=True)  # a damaged trial, or it would not have been done again
        os.rename(temporary, final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def failure_file(trial: Trial, results: Path) -> Path:
    """Where the traceback of a trial that failed is kept, until the trial succeeds."""
    return trial.run.folder(results) / ".failed" / f"{trial.name}.txt"


def versions() -> dict[str, str]:
    """Versions and device behind a number."""
    import importlib.metadata

    import keras

    found = {"python": platform.python_version(), "machine": platform.machine(), "backend": keras.backend.backend()}
    backends = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}
    for package in ("keras", "numpy", backends[found["backend"]]):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "unknown"
    if found["backend"] == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        found["device"] = f"{len(gpus)} GPU" if gpus else "CPU"
    return found


@dataclass(frozen=True)
class Measured:
    """Trials of one run, read back from disk.

    Attributes:
        run: content of `run.json`.
        trials: contents of the `trial.json`s, by fold and repeat.
        predictions: their predictions, in the same order.
        folders: where they are, in the same order.
    """

    run: dict
    trials: list[dict]
    predictions: list[pd.DataFrame]
    folders: list[Path] = dataclasses.field(default_factory=list)

    def activations(self, trial: int) -> dict[str, np.ndarray]:
        """What the fitted model of the trial with this number kept for figures; empty if nothing."""
        try:
            with np.load(self.folders[trial] / "activations.npz", allow_pickle=False) as stored:
                return dict(stored)
        except (OSError, ValueError):
            return {}

    @property
    def complete(self) -> bool:
        """True if every fold was run in as many repeats as the experiment declares."""
        wanted = {(fold, r) for fold in self.run["folds"] for r in range(1, self.run["declared_repeats"] + 1)}
        return wanted <= {(trial["fold"], trial["repeat"]) for trial in self.trials}


def read_run(folder: Path) -> Measured:
    """Reads a run's finished trials; damaged ones are left out.

    Raises:
        UserError: the folder holds no run, or one of another format.
    """
    import pandas as pd

    try:
        run = json.loads((folder / "run.json").read_bytes())
    except (OSError, ValueError):
        raise UserError(f"{folder} holds no run (no readable run.json).") from None
    if run.get("format") != FORMAT:
        raise UserError(
            f"{folder} was written in format {run.get('format')}; this version reads {FORMAT}. Run it again."
        )
    trials, predictions, folders = [], [], []
    for file in find(folder, "trial.json"):
        try:
            trial = json.loads(file.read_bytes())
            table = file.with_name("predictions.parquet")
            if trial["predictions"] == checksum(table):
                predictions.append(pd.read_parquet(table))
                trials.append(trial)
                folders.append(file.parent)
        except (OSError, ValueError, KeyError):
            continue
    return Measured(run, trials, predictions, folders)


def find_runs(results: Path, prefix: str = "") -> list[Path]:
    """Folders of all runs below a results folder whose experiment id starts with `prefix`, newest last."""
    folders = [file.parent for file in find(results, "run.json")]
    folders = [folder for folder in folders if folder.relative_to(results).as_posix().startswith(prefix)]
    return sorted(folders, key=lambda folder: (folder / "run.json").stat().st_mtime)
