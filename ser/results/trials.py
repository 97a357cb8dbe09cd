"""Performing a trial (one experiment, one fold, one seed) and writing what it leaves on disk.

    RESULTS/<paper>/<table>/<corpus>/<row>/<run>/run.json             what was run: config, corpus, folds, flags
                                                /<fold>--<repeat>/trial.json, predictions.parquet
                                                                 [, further/NAME.parquet] [, model/]

A trial's folder appears by one rename when it is complete. So a killed run leaves finished trials and nothing else
that counts, and the same command continues from there. A trial is locked while it runs: two processes that share a
results folder share the work, and the operating system releases the lock of a process that is killed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.contract import Context, Part
from common.files import checksum, write_json
from common.machine import peak_bytes, reset_peak
from ser.results import health
from ser.results.environment import checkout, device, environment
from ser.results.runs import FORMAT, Run, Trial, as_record, further_file

if TYPE_CHECKING:
    from common.artefacts import Artefacts


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
            "own": run.corpus.own is not None,
            "subset": run.subset.name,
            "classes": list(run.classes),
            "dimensions": list(run.target.dimensions),
            "target": as_record(run.target),
            "auxiliary": run.auxiliary,
            "fingerprint": run.fingerprint,
            "utterances": len(run.table),
            "protocol": as_record(run.protocol),
            "protocol_name": run.protocol.name,
            "folds": [fold.name for fold in run.folds],
            "declared_repeats": run.experiment.repeats,
            "config": dataclasses.asdict(run.config),
            "flags": list(run.flags),
            "changes": list(run.changes),
            "deterministic": run.deterministic,
            **run.made_with,
        },
    )


def lock(trial: Trial, results: Path, timeout_s: float):
    """The lock of a trial, which one process at a time can hold.

    Args:
        trial: which trial.
        results: results folder.
        timeout_s: how long to wait for it; 0 gives up at once, -1 waits for ever.

    Raises:
        filelock.Timeout: Another process holds it.
    """
    from filelock import FileLock

    folder = trial.run.folder(results) / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{trial.name}.lock", timeout=timeout_s)


def run_trial(
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
    """Trains, predicts and writes one trial. The caller holds its lock.

    Args:
        trial: which trial.
        data: all utterances of the run, with features and labels.
        results: results folder.
        audit: what the fold's parts share (see `common.audit.audit`).
        auxiliary: the auxiliary data.
        artefacts: where products of training stages are kept.
        keep_model: also keep the fitted model, for `ser predict`.
        on_epoch: called after each epoch, for progress.

    Raises:
        UserError: Training diverged (see `ser.results.health`); nothing is written.
    """
    from common.backend import start_backend
    from common.training import clear_models, seed_everything

    run = trial.run
    start_backend()
    started = time.perf_counter()
    clear_models()
    reset_peak()
    present = set(data.table["utterance"])
    fold = {
        part: tuple(utterance for utterance in getattr(trial.fold, part) if utterance in present)
        for part in ("train", "validation", "test")
    }
    if run.classes:
        data = dataclasses.replace(data, labeller=run.target.labeller(data.take(fold["train"]).table, run.classes))
    test = data.take(fold["test"])
    with _scratch(trial, results) as scratch:
        context = Context(trial.seed, on_epoch, auxiliary=auxiliary, artefacts=artefacts, scratch=scratch)
        seed_everything(trial.seed, deterministic=run.deterministic)
        fit = run.paper.function(run.paper.fit)
        fitted = fit(run.config, data.take(fold["train"]), data.take(fold["validation"]), context)
        columns = fitted.predict(test.without_labels())
        activations = fitted.activations(test.without_labels()) if hasattr(fitted, "activations") else {}
        further = list(fitted.further(test.without_labels())) if hasattr(fitted, "further") else []
    health.refuse_divergence(f"{run.experiment.id}, {trial.name}", fitted, context.history, columns)
    context.flags += health.suspicions(context.history, columns, run.classes)

    with _whole_folder(trial, results) as temporary:
        truth = test.table[["utterance", "speaker", "emotion", "valence", "arousal", "dominance"]].copy()
        if run.classes:
            truth.insert(3, "label", np.array(run.classes, object)[test.labels])
        if activations:
            np.savez_compressed(temporary / "activations.npz", **activations)
        truth.assign(**columns).to_parquet(temporary / "predictions.parquet", index=False)
        further_records = {}
        for one in further:
            if not all(np.isfinite(values).all() for values in one.columns.values()):
                context.flags.append(f"{one.name} diverged, and its predictions are left out")
                continue
            file = further_file(temporary, one.name)
            file.parent.mkdir(exist_ok=True)
            truth.assign(**one.columns).to_parquet(file, index=False)
            own = [*run.flags, *data.flags, *one.flags, *health.suspicions({}, one.columns, run.classes)]
            further_records[one.name] = {"predictions": checksum(file), "flags": own}
        model_files = {}
        if keep_model:
            (temporary / "model").mkdir()
            fitted.save(temporary / "model")
            models = sorted((temporary / "model").rglob("*"))
            model_files = {
                file.relative_to(temporary / "model").as_posix(): checksum(file) for file in models if file.is_file()
            }
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
                "versions": {**environment(), "device": device()},
                **checkout(),
                "pretrained": list(run.pretrained),
                "seconds": {
                    **{name: round(value, 3) for name, value in context.seconds.items()},
                    "total": round(time.perf_counter() - started, 3),
                },
                "peak_memory_mib": peak_bytes() // 2**20,
                "parameters": health.parameters(fitted),
                # A loss that was not finite is written as null: JSON has no such number, and the trial is not lost.
                "history": {
                    name: [value if math.isfinite(value) else None for value in values]
                    for name, values in context.history.items()
                },
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "predictions": checksum(temporary / "predictions.parquet"),
                "further": further_records,
                "model": model_files,
            },
        )
    failure_file(trial, results).unlink(missing_ok=True)


@contextlib.contextmanager
def _scratch(trial: Trial, results: Path) -> Iterator[Path]:
    """A folder for large files of a fit, which only a killed process leaves behind, for the trial's continuation."""
    folder = trial.run.folder(results) / ".scratch" / trial.name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    except Exception:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _whole_folder(trial: Trial, results: Path) -> Iterator[Path]:
    """A temporary folder that takes the trial's place once everything is written, and disappears if something fails.

    What a killed process left of this trial is removed first. That is safe, because this process holds the lock.
    """
    final = trial.folder(results)
    for leftover in final.parent.glob(f".tmp-{trial.name}-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary = final.with_name(f".tmp-{trial.name}-{os.getpid()}")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        shutil.rmtree(final, ignore_errors=True)  # a damaged trial: a good one would not be done again
        os.rename(temporary, final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def failure_file(trial: Trial, results: Path) -> Path:
    """Where the traceback of a failed trial is kept until the trial succeeds."""
    return trial.run.folder(results) / ".failed" / f"{trial.name}.txt"
