"""What a worker does with a task, in whatever process it lives.

A worker keeps the data of one job loaded. It never raises for what a trial does wrong: it answers with an event's kind
and content (see `ser.execution.executor.Event`), and everything that matters is on disk by then.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from common.errors import UserError
from ser.execution.executor import Task, full_disk

EPOCH_S = 0.2
"""Epochs are told at most so often; some last milliseconds, and only the last one matters to a person."""

Tell = Callable[[str, tuple], None]
"""Takes the kind and content of an event of the running task."""


class Worker:
    """Does tasks one after another.

    Args:
        tell: is given what happens while a task runs.
    """

    def __init__(self, tell: Tell):
        self.tell = tell
        self._loaded: tuple[str, Any, Any, dict] | None = None
        self._told = 0.0

    def do(self, task: Task) -> tuple[str, tuple]:
        """Does a task; returns the kind and content of the event that ends it."""
        try:
            if task.trial is None:
                self._load(task)
                return "prepared", ()
            return self._attempt(task), ()
        except UserError as error:
            return "failed", (str(error), "")
        except Exception as error:
            full = _full_disk_behind(error)
            if full is not None:
                return "full", (str(full), "")
            return "failed", (f"{type(error).__name__}: {error}", traceback.format_exc())

    def _attempt(self, task: Task) -> str:
        from filelock import Timeout

        from ser.results.trials import lock, run_trial

        trial, job = task.trial, task.job
        try:
            with lock(trial, job.results, -1 if task.wait else 0):
                if trial.is_done(job.results):
                    return "found"
                data, auxiliary, audits = self._load(task)
                run_trial(
                    trial,
                    data,
                    job.results,
                    audit=audits[trial.fold.name],
                    auxiliary=auxiliary,
                    artefacts=job.artefacts,
                    keep_model=job.keep_models,
                    on_epoch=self.epoch_ended,
                )
                return "done"
        except Timeout:
            return "elsewhere"

    def _load(self, task: Task) -> tuple[Any, Any, dict]:
        from common.audit import audit

        job = task.job
        if self._loaded is None or self._loaded[0] != job.key:
            self._loaded = None  # frees the last job's data before the next one's are read
            data, auxiliary = job.source.part(job.run, self), job.source.auxiliary(job.run, self)
            audits = {fold.name: audit(job.run.table, fold) for fold in job.run.folds if fold.name in job.run.chosen}
            self._loaded = job.key, data, auxiliary, audits
        return self._loaded[1:]

    def epoch_ended(self, epoch: int, epochs: int, logs: Mapping[str, float]) -> None:
        """An epoch is over (see `ser.execution.executor.Observer`, as the methods below)."""
        if time.monotonic() - self._told >= EPOCH_S or epoch == epochs:
            self._told = time.monotonic()
            self.tell("epoch", (epoch, epochs, dict(logs)))

    def features_extracted(self, name: str, done: int, total: int) -> None:
        """One more utterance has its features."""
        self.tell("features", (name, done, total))

    def note(self, text: str) -> None:
        """Something worth a line."""
        self.tell("note", (text,))


def _full_disk_behind(error: BaseException | None) -> UserError | None:
    """What to say if an error, or one that it was raised from, means that a disk is full."""
    while error is not None:
        if isinstance(error, OSError) and (found := full_disk(error)):
            return found
        error = error.__cause__ or error.__context__
    return None
