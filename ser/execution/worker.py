"""What a worker does with a task, in any process.

A worker keeps the data of one job loaded. An error in a trial does not end it: the error becomes part of the event that
reports the end of the task (see `ser.execution.executor.Event`). By then, all results are on disk.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from common.backend import backend_name
from common.errors import UserError
from ser.execution.executor import Task, disk_full_error
from ser.pretrained import check_same

EPOCH_REPORT_S = 0.2
"""Minimum time between two reports of epochs, which may take only milliseconds each."""


class Worker:
    """Runs tasks one after another.

    Args:
        report: called with the kind and content of each event while a task runs.
    """

    def __init__(self, report: Callable[[str, tuple], None]):
        self.report = report
        self._loaded: tuple[str, Any, Any, dict] | None = None
        self._reported_s = 0.0

    def run_task(self, task: Task) -> tuple[str, tuple]:
        """Runs a task.

        Returns:
            Kind and content of the event that ends it.
        """
        try:
            if task.trial is None:
                self._load(task)
                return "prepared", ()
            return self._run_trial(task), ()
        except UserError as error:
            return "failed", (str(error), "")
        except Exception as error:
            disk_full = _disk_full_cause(error)
            if disk_full is not None:
                return "disk full", (str(disk_full), "")
            return "failed", (f"{type(error).__name__}: {error}", traceback.format_exc())

    def _run_trial(self, task: Task) -> str:
        from filelock import Timeout

        from ser.results.trials import lock, run_trial

        trial, job = task.trial, task.job
        try:
            with lock(trial, job.results, -1 if task.wait else 0):
                if trial.is_done(job.results, redo=job.redo):
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
            return "locked"

    def _load(self, task: Task) -> tuple[Any, Any, dict]:
        """The data, the auxiliary data and the audits of a job's folds; loaded if the worker has another job's."""
        from common.audit import audit

        job = task.job
        if self._loaded is None or self._loaded[0] != job.key:
            self._loaded = None  # frees the data of the last job first
            _check_worker(job)
            data, auxiliary = job.data_source.part(job.run, self), job.data_source.auxiliary(job.run, self)
            audits = {fold.name: audit(job.run.table, fold) for fold in job.run.folds if fold.name in job.run.chosen}
            self._loaded = job.key, data, auxiliary, audits
        return self._loaded[1:]

    # The methods of `ser.execution.executor.Observer` that loading and training call.

    def epoch_ended(self, epoch: int, epochs: int, logs: Mapping[str, float]) -> None:
        """Reports an epoch, unless another one was reported just before; the last epoch is always reported."""
        if time.monotonic() - self._reported_s >= EPOCH_REPORT_S or epoch == epochs:
            self._reported_s = time.monotonic()
            self.report("epoch", (epoch, epochs, dict(logs)))

    def features_extracted(self, name: str, done: int, total: int) -> None:
        """Reports the progress of an extraction."""
        self.report("features", (name, done, total))

    def note(self, text: str) -> None:
        """Reports a message for the user."""
        self.report("note", (text,))


def _check_worker(job: Any) -> None:
    """Checks that this process computes as the driver expects.

    Raises:
        UserError: It has another backend, or lacks a pretrained file or has another one.
    """
    run = job.run
    if backend_name() != run.backend:
        raise UserError(
            f"The machine {os.uname().nodename} runs Keras on {backend_name()}, and the command was started with "
            f"{run.backend}. Set KERAS_BACKEND={run.backend} there."
        )
    if job.checksums is not None and run.pretrained:
        check_same(run.pretrained, run.paper, run.config, job.artefacts, job.checksums)


def _disk_full_cause(error: BaseException | None) -> UserError | None:
    """The error for the user if an error, or the cause of one, is a full disk; otherwise None."""
    while error is not None:
        if isinstance(error, OSError) and (found := disk_full_error(error)):
            return found
        error = error.__cause__ or error.__context__
    return None
