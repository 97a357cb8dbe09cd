"""Performs trials in a pool of workers.

The driver (the process of the command) hands tasks to a pool of workers: this process itself, processes on this
machine, or actors on a Ray cluster. A worker writes the results of its trial to disk itself, completely or not at all
(`ser.results.trials.run_trial`), and meanwhile holds a lock that the workers of all drivers respect. So no result is
lost when a driver or a worker dies, and no trial is done twice. If a worker is lost, its task is given to another one.
If a trial fails, it is reported, and the other trials continue.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from common.artefacts import Artefacts
from common.checksums import Checksums
from common.errors import UserError
from common.files import write_text
from ser.results.runs import Run, Trial, other_versions
from ser.results.trials import failure_file, write_run

if TYPE_CHECKING:
    from common.contract import Part

RETRIES = 2
"""How often a task is given to another worker after its worker was lost."""


class Observer(Protocol):
    """Receives the progress of a command; methods may do nothing."""

    def note(self, text: str) -> None:
        """Called with a message for the user."""

    def runs_planned(self, runs: Sequence[Run], results: Path, *, redo: bool = False) -> None:
        """Called when all runs of a command are known, before the first trial."""

    def features_extracted(self, name: str, done: int, total: int) -> None:
        """Called when the features of one more utterance were extracted."""

    def trial_started(self, trial: Trial) -> None:
        """Called when a trial is given to a worker."""

    def epoch_ended(self, epoch: int, epochs: int, logs: Mapping[str, float]) -> None:
        """Called after an epoch of a running trial."""

    def trial_finished(self, trial: Trial) -> None:
        """Called when a trial was written."""

    def trial_locked(self, trial: Trial) -> None:
        """Called when a worker of another driver runs the trial; this driver will wait for it at the end."""

    def trial_failed(self, trial: Trial, message: str) -> None:
        """Called when a trial failed and was not written."""


class DataSource(Protocol):
    """Gives workers the data of a run; must be picklable."""

    def part(self, run: Run, observer: Observer) -> Part:
        """All utterances of the run with features and labels; slow only if features have to be extracted."""

    def auxiliary(self, run: Run, observer: Observer) -> Part | None:
        """The auxiliary data of the run with features; None if it has none."""


@dataclass(frozen=True)
class Job:
    """A run to perform, and what workers need for it.

    Attributes:
        run: what to run.
        data_source: gives the run's data.
        results: results folder.
        artefacts: where products of training stages are kept.
        keep_models: keep the fitted models.
        checksums: of pretrained files; None: workers do not check theirs.
        redo: do trials again that other versions made.
    """

    run: Run
    data_source: DataSource
    results: Path
    artefacts: Artefacts | None = None
    keep_models: bool = False
    checksums: Checksums | None = None
    redo: bool = False

    @property
    def key(self) -> str:
        """Identifies the job among the jobs of one command."""
        return f"{self.run.experiment.id}/{self.run.id}"

    def task(self, fold_and_repeat: tuple[str, int] | None, wait: bool) -> Task:
        """A task of this job, from what is sent to a worker that already has the job (see `Task.fold_and_repeat`)."""
        return Task(self, self.run.trial(*fold_and_repeat) if fold_and_repeat else None, wait)


@dataclass(frozen=True)
class Task:
    """What a worker does next: a trial, or the extraction of a run's features.

    Attributes:
        job: the job that the task belongs to.
        trial: the trial to run; None: extract the features.
        wait: if another driver's worker holds the trial, wait for it instead of returning.
    """

    job: Job
    trial: Trial | None = None
    wait: bool = False

    @property
    def fold_and_repeat(self) -> tuple[str, int] | None:
        """Identifies the trial within the job; None without a trial."""
        return (self.trial.fold.name, self.trial.repeat) if self.trial else None


@dataclass(frozen=True)
class Event:
    """A report from a pool about one of its tasks.

    Attributes:
        task: the task; None for a note about the pool itself.
        kind: while the task runs, "epoch", "features" or "note". At its end one of "prepared" (features extracted),
            "done", "found" (the trial was already done), "locked" (a worker of another driver runs it), "failed",
            "disk full", and "lost" (the worker died).
        content: for "epoch", "features" and "note", the arguments of the observer's method; for "failed" and
            "disk full", the message and the traceback ("" for errors that the user can fix); for "lost", the reason.
    """

    task: Task | None
    kind: str
    content: tuple = ()


class Pool(Protocol):
    """Some workers. A pool chooses their number and remembers which job each worker has loaded."""

    def free(self, tasks: int) -> Sequence[str | None]:
        """For each worker that can take a task now, the key of the job that it has loaded, or None.

        Args:
            tasks: how many tasks are waiting; the pool does not start more workers than that.
        """

    def submit(self, task: Task) -> None:
        """Gives a task to a free worker, preferably one that has loaded the job."""

    def wait(self, handle: Callable[[Event], None]) -> None:
        """Waits until there are events, but not much longer than a second, and handles them."""


@dataclass(frozen=True)
class Failure:
    """A trial that failed.

    Attributes:
        trial: the trial.
        message: the reason, in one or two sentences.
    """

    trial: Trial
    message: str


@dataclass
class Outcome:
    """Result of `execute`.

    Attributes:
        done: how many trials were done now.
        found: how many trials were already done, or were done by another driver meanwhile.
        failures: the trials that failed.
    """

    done: int = 0
    found: int = 0
    failures: list[Failure] = field(default_factory=list)


class _PendingRun:
    """A job with its unfinished trials."""

    def __init__(self, job: Job, trials: list[Trial]):
        self.job = job
        self.trials = deque(trials)
        self.state = "new"  # "preparing" while a worker extracts its features, then "ready"


def execute(
    jobs: Sequence[Job], make_pool: Callable[[int], AbstractContextManager[Pool]], observer: Observer
) -> Outcome:
    """Performs all trials of some runs that are not done yet.

    Args:
        jobs: the runs, in the order in which to start them.
        make_pool: makes a pool for a number of trials; called only if there is something to do.
        observer: receives the progress.

    Returns:
        How many trials were done, and which failed.

    Raises:
        UserError: A disk is full, or the results folder cannot be written. Finished trials are kept.
    """
    outcome = Outcome()
    pending_runs = []
    for job in jobs:
        trials = list(job.run.trials())
        records = {trial.name: trial.record(job.results) for trial in trials}
        others = {name: other_versions(record) for name, record in records.items() if record is not None}
        others = {name: differences for name, differences in others.items() if differences}
        pending = [one for one in trials if records[one.name] is None or (job.redo and one.name in others)]
        outcome.found += len(trials) - len(pending)
        if others and pending and not job.redo:
            observer.note(
                f"{len(others)} of {len(trials)} trials were made with {', '.join(next(iter(others.values())))}; they "
                "are not averaged with new ones. --redo does them again"
            )
        if pending or not (job.run.folder(job.results) / "run.json").exists():
            _write_run(job)
        if pending:
            pending_runs.append(_PendingRun(job, pending))
    if pending_runs:
        with make_pool(sum(len(one.trials) for one in pending_runs)) as pool:
            _Driver(pending_runs, pool, observer, outcome).run()
    return outcome


def _write_run(job: Job) -> None:
    try:
        write_run(job.run, job.results)
    except OSError as error:
        message = f"The results folder {job.results} cannot be written ({error}). Choose another --results."
        raise disk_full_error(error) or UserError(message) from None


def disk_full_error(error: OSError) -> UserError | None:
    """The error for the user if a disk is full; None for any other `OSError`."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    where = error.filename or "the results or the cache folder"
    return UserError(
        f"The disk of {where} is full. Finished trials are kept: make room, or choose another --results or --cache, "
        "and start the same command again."
    )


class _Driver:
    """Gives tasks to the workers of a pool until none is left."""

    def __init__(self, pending_runs: list[_PendingRun], pool: Pool, observer: Observer, outcome: Outcome):
        self.pending_runs = pending_runs
        self.pool = pool
        self.observer = observer
        self.outcome = outcome
        self.locked: deque[Task] = deque()  # trials that workers of other drivers run
        self.running = 0
        self.losses: dict[tuple[str, str], int] = {}

    def run(self) -> None:
        while (waiting := self._waiting()) or self.running:
            for loaded in self.pool.free(waiting):
                task = self._next_task(loaded)
                if task is None:
                    break
                if task.trial is not None and not task.wait:
                    self.observer.trial_started(task.trial)
                self.running += 1
                self.pool.submit(task)
            self.pool.wait(self._handle)

    def _waiting(self) -> int:
        """How many tasks no worker has."""
        new = sum(one.state == "new" for one in self.pending_runs)
        return new + sum(len(one.trials) for one in self.pending_runs) + len(self.locked)

    def _next_task(self, loaded: str | None) -> Task | None:
        """The next task for a worker, preferably of the job that it has loaded."""
        ready = [one for one in self.pending_runs if one.state == "ready" and one.trials]
        if ready:
            chosen = min(ready, key=lambda one: one.job.key != loaded)
            return Task(chosen.job, chosen.trials.popleft())
        # Only one run at a time is prepared: runs often share features, and extraction itself uses all cores.
        if any(one.state == "preparing" for one in self.pending_runs):
            return None
        for one in self.pending_runs:
            if one.state == "new":
                one.state = "preparing"
                return Task(one.job)
        return self.locked.popleft() if self.locked else None

    def _handle(self, event: Event) -> None:
        task = event.task
        method = {"epoch": "epoch_ended", "features": "features_extracted", "note": "note"}.get(event.kind)
        if method:
            # Each worker that loads a run's data repeats the notes of the task that extracted its features.
            if event.kind == "epoch" or task is None or task.trial is None:
                getattr(self.observer, method)(*event.content)
            return
        self.running -= 1
        pending = next(one for one in self.pending_runs if one.job is task.job)
        if event.kind == "prepared":
            pending.state = "ready"
        elif event.kind == "done":
            self.outcome.done += 1
            self.observer.trial_finished(task.trial)
        elif event.kind == "found":
            self.outcome.found += 1
        elif event.kind == "locked":
            self.observer.trial_locked(task.trial)
            self.locked.append(Task(task.job, task.trial, wait=True))
        elif event.kind == "disk full":
            raise UserError(event.content[0])
        elif event.kind == "lost":
            self._handle_lost_worker(pending, task, *event.content)
        else:
            self._handle_failure(pending, task, *event.content)

    def _handle_lost_worker(self, pending: _PendingRun, task: Task, reason: str) -> None:
        key = task.job.key, task.trial.name if task.trial else ""
        self.losses[key] = self.losses.get(key, 0) + 1
        if self.losses[key] > RETRIES:
            message = f"its worker was lost {self.losses[key]} times, the last time {reason}"
            self._handle_failure(pending, task, message, "")
            return
        self.observer.note(f"A worker was lost ({reason}); its task is done again")
        if task.trial is None:
            pending.state = "new"
        elif task.wait:
            self.locked.append(task)
        else:
            pending.trials.appendleft(task.trial)

    def _handle_failure(self, pending: _PendingRun, task: Task, message: str, traceback: str) -> None:
        """Reports a failed trial, or all trials of a run whose features cannot be extracted; keeps the traceback."""
        failed = [task.trial] if task.trial else list(pending.trials)
        if task.trial is None:
            pending.state = "ready"
            pending.trials.clear()
        for trial in failed:
            reason = message
            if traceback:
                file = failure_file(trial, task.job.results)
                write_text(file, traceback)
                reason = f"{message} (details: {file})"
            self.outcome.failures.append(Failure(trial, reason))
            self.observer.trial_failed(trial, reason)
