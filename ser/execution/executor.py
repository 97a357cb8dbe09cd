"""Where trials run: the driver's side.

A driver hands tasks to a pool of workers: this process, processes of this machine, or actors of a Ray cluster. The
worker that did a trial writes its results itself, completely or not at all (`ser.results.trials.run_trial`), under a
lock that all drivers of one results folder share. So nothing is lost when a driver or a worker dies, and nothing is
done twice. The task of a lost worker is given to another one. A trial that fails is reported, and the others continue.
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
from common.errors import UserError
from common.files import write_text
from ser.results.runs import Run, Trial
from ser.results.trials import failure_file, write_run

if TYPE_CHECKING:
    from common.contract import Part

RETRIES = 2
"""How often a task is given to another worker after its worker was lost."""


class Observer(Protocol):
    """What is told while trials run; each method may do nothing."""

    def note(self, text: str) -> None:
        """Something worth a line."""

    def features_extracted(self, name: str, done: int, total: int) -> None:
        """One more utterance has its features."""

    def trial_started(self, trial: Trial) -> None:
        """A trial begins, or waits for a process of another driver that holds it."""

    def epoch_ended(self, epoch: int, epochs: int, logs: Mapping[str, float]) -> None:
        """An epoch of a running trial is over."""

    def trial_finished(self, trial: Trial) -> None:
        """A trial was written."""

    def trial_elsewhere(self, trial: Trial) -> None:
        """A process of another driver holds the trial; it is waited for at the end."""

    def trial_failed(self, trial: Trial, message: str) -> None:
        """A trial failed and was not written."""


class Source(Protocol):
    """Where a worker gets the data of a run from; must survive pickling."""

    def part(self, run: Run, observer: Observer) -> Part:
        """All utterances of the run, with features and labels; slow only if features have to be extracted."""

    def auxiliary(self, run: Run, observer: Observer) -> Part | None:
        """The utterances to learn from besides, with features."""


@dataclass(frozen=True)
class Job:
    """A run to perform.

    Attributes:
        run: what to run.
        source: where its data come from.
        results: results folder.
        artefacts: where products of stages are kept.
        keep_models: keep the fitted models.
    """

    run: Run
    source: Source
    results: Path
    artefacts: Artefacts | None = None
    keep_models: bool = False

    @property
    def key(self) -> str:
        """Tells jobs of one command apart."""
        return f"{self.run.experiment.id}/{self.run.id}"

    def task(self, trial: tuple[str, int] | None, wait: bool) -> Task:
        """The task of a trial's fold and repeat (see `Task.named`); a worker that has the job needs no more."""
        return Task(self, self.run.trial(*trial) if trial else None, wait)


@dataclass(frozen=True)
class Task:
    """What a worker does next: a trial of a job, or, without a trial, the extraction of the job's features.

    Attributes:
        job: the job.
        trial: the trial.
        wait: wait for a trial that another driver's worker holds, instead of leaving it.
    """

    job: Job
    trial: Trial | None = None
    wait: bool = False

    @property
    def named(self) -> tuple[str, int] | None:
        """Fold and repeat of the trial."""
        return (self.trial.fold.name, self.trial.repeat) if self.trial else None


@dataclass(frozen=True)
class Event:
    """What a pool tells.

    Attributes:
        task: of which task; None: the pool's own note.
        kind: "epoch", "features" or "note" while it runs; then one of "prepared", "done", "found" (it was there
            already), "elsewhere", "failed", "full" (a disk is full) and "lost" (its worker is gone).
        content: arguments of the observer's method; of "failed" and "full", the message and the traceback ("" for
            what a person can mend); of "lost", why.
    """

    task: Task | None
    kind: str
    content: tuple = ()


class Pool(Protocol):
    """Workers. A pool remembers which job a free worker has loaded, and takes its size from what is there."""

    def free(self, tasks: int) -> Sequence[str | None]:
        """For each worker that could take a task now, the key of the job it has loaded.

        Args:
            tasks: how many there are to give away; no more workers are started for them.
        """

    def submit(self, task: Task) -> None:
        """Gives a task to a free worker, to one that has the job loaded if there is such a one."""

    def wait(self, take: Callable[[Event], None]) -> None:
        """Waits until something happens, or for a second, and tells it."""


@dataclass(frozen=True)
class Failure:
    """A trial that could not be done.

    Attributes:
        trial: which.
        message: why, in one or two sentences.
    """

    trial: Trial
    message: str


@dataclass
class Outcome:
    """How many trials were done now, how many were there already (or done by another driver), and which failed."""

    done: int = 0
    found: int = 0
    failures: list[Failure] = field(default_factory=list)


class _Lot:
    """A job with what is left of it."""

    def __init__(self, job: Job, trials: list[Trial]):
        self.job = job
        self.trials = deque(trials)
        self.state = "new"  # "preparing" while a worker extracts its features, then "ready"


def execute(jobs: Sequence[Job], pool: Callable[[int], AbstractContextManager[Pool]], observer: Observer) -> Outcome:
    """Performs every trial of some runs that is not done yet.

    Args:
        jobs: the runs, in the order in which they are begun.
        pool: gives workers for so many trials; called only if there is something to do.
        observer: is told of the progress.

    Returns:
        What was done, and which trials failed; all others are complete.

    Raises:
        UserError: a disk is full; finished trials are kept.
    """
    outcome = Outcome()
    lots = []
    for job in jobs:
        trials = list(job.run.trials())
        pending = [trial for trial in trials if not trial.is_done(job.results)]
        outcome.found += len(trials) - len(pending)
        if pending or not (job.run.folder(job.results) / "run.json").exists():
            _guarded_write(job)
        if pending:
            lots.append(_Lot(job, pending))
    if lots:
        with pool(sum(len(lot.trials) for lot in lots)) as workers:
            _Driver(lots, workers, observer, outcome).drive()
    return outcome


def _guarded_write(job: Job) -> None:
    try:
        write_run(job.run, job.results)
    except OSError as error:
        told = UserError(f"The results folder {job.results} cannot be written ({error}). Choose another --results.")
        raise full_disk(error) or told from None


def full_disk(error: OSError) -> UserError | None:
    """What to say if an error means that a disk is full; None for any other error."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    where = error.filename or "the results or the cache folder"
    return UserError(
        f"The disk of {where} is full. Finished trials are kept: make room, or choose another --results or --cache, "
        "and start the same command again."
    )


class _Driver:
    """Gives tasks to workers until none is left."""

    def __init__(self, lots: list[_Lot], pool: Pool, observer: Observer, outcome: Outcome):
        self.lots = lots
        self.pool = pool
        self.observer = observer
        self.outcome = outcome
        self.elsewhere: deque[Task] = deque()
        self.running = 0
        self.losses: dict[tuple[str, str], int] = {}

    def drive(self) -> None:
        while left := self._left() + self.running:
            for loaded in self.pool.free(left - self.running):
                task = self._next(loaded)
                if task is None:
                    break
                if task.trial is not None and not task.wait:
                    self.observer.trial_started(task.trial)
                self.running += 1
                self.pool.submit(task)
            self.pool.wait(self._take)

    def _left(self) -> int:
        """Tasks that no worker has."""
        new = sum(lot.state == "new" for lot in self.lots)
        return new + sum(len(lot.trials) for lot in self.lots) + len(self.elsewhere)

    def _next(self, loaded: str | None) -> Task | None:
        ready = [lot for lot in self.lots if lot.state == "ready" and lot.trials]
        for lot in sorted(ready, key=lambda lot: lot.job.key != loaded):
            return Task(lot.job, lot.trials.popleft())
        # One at a time: runs mostly share their features, and extraction uses all cores by itself.
        if not any(lot.state == "preparing" for lot in self.lots):
            for lot in self.lots:
                if lot.state == "new":
                    lot.state = "preparing"
                    return Task(lot.job)
            if self.elsewhere:
                return self.elsewhere.popleft()
        return None

    def _take(self, event: Event) -> None:
        task = event.task
        told = {"epoch": "epoch_ended", "features": "features_extracted", "note": "note"}.get(event.kind)
        if told:
            # Every worker loads the data of a job; what is to be said of them was said when they were extracted.
            if event.kind == "epoch" or task is None or task.trial is None:
                getattr(self.observer, told)(*event.content)
            return
        self.running -= 1
        lot = next(lot for lot in self.lots if lot.job is task.job)
        if event.kind == "prepared":
            lot.state = "ready"
        elif event.kind == "done":
            self.outcome.done += 1
            self.observer.trial_finished(task.trial)
        elif event.kind == "found":
            self.outcome.found += 1
        elif event.kind == "elsewhere":
            self.observer.trial_elsewhere(task.trial)
            self.elsewhere.append(Task(task.job, task.trial, wait=True))
        elif event.kind == "full":
            raise UserError(event.content[0])
        elif event.kind == "lost":
            self._lost(lot, task, *event.content)
        else:
            self._failed(lot, task, *event.content)

    def _lost(self, lot: _Lot, task: Task, why: str) -> None:
        key = task.job.key, task.trial.name if task.trial else ""
        self.losses[key] = self.losses.get(key, 0) + 1
        if self.losses[key] > RETRIES:
            self._failed(lot, task, f"its worker was lost {self.losses[key]} times, the last time {why}", "")
            return
        self.observer.note(f"A worker was lost ({why}); what it did is done again")
        if task.trial is None:
            lot.state = "new"
        elif task.wait:
            self.elsewhere.append(task)
        else:
            lot.trials.appendleft(task.trial)

    def _failed(self, lot: _Lot, task: Task, message: str, traceback: str) -> None:
        """Keeps the traceback of an error that no person can mend where the trial would be."""
        failed = [task.trial] if task.trial else list(lot.trials)
        if task.trial is None:
            lot.state = "ready"
            lot.trials.clear()
        for trial in failed:
            if traceback:
                file = failure_file(trial, task.job.results)
                write_text(file, traceback)
            told = f"{message} (details: {file})" if traceback else message
            self.outcome.failures.append(Failure(trial, told))
            self.observer.trial_failed(trial, told)
