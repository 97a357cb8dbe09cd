"""A pool of processes on this machine, each with its share of the cores and GPUs.

A worker is a new Python interpreter in its own process group. It ends when the driver ends, for whatever reason, and
with it all processes that it has started. TensorFlow keeps some memory of every traced step; a worker with too much
memory of finished trials is replaced between two trials.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from common.machine import machine_bytes, peak_bytes, resident_bytes
from ser.execution.executor import Event, Job, Task
from ser.execution.resources import MEMORY_SHARE, Plan, Request, plan

LEFTOVER_SHARE = 0.25
"""Share of a worker's memory that finished trials may leave behind before the worker is replaced."""

POLL_S = 0.5
"""How often a worker checks that its driver is alive."""


@dataclass
class _Process:
    """The process of a worker, as the driver sees it.

    Attributes:
        number: number of the worker, from 0.
        process: the process.
        connection: the driver's end of the pipe.
        task: the task that it runs; None: it is idle.
        loaded: key of the job that it has loaded.
        after_first: its memory after the first task, in bytes; 0 before that.
    """

    number: int
    process: multiprocessing.process.BaseProcess
    connection: multiprocessing.connection.Connection
    task: Task | None = None
    loaded: str | None = None
    after_first: int = 0


class LocalProcesses:
    """The pool, a context manager; it starts a process when there is a task for it.

    Args:
        request: the resources that the user asks for.
        trials: how many trials are to be done.
    """

    def __init__(self, request: Request, trials: int):
        self.plan: Plan = plan(request, trials)
        self.size = self.plan.workers
        self.fixed_size = request.workers is not None
        self._workers: dict[int, _Process] = {}
        self._pickled: tuple[str, bytes] = ("", b"")

    def __enter__(self) -> LocalProcesses:
        return self

    def __exit__(self, *exception) -> None:
        for worker in self._workers.values():
            _kill(worker)

    def free(self, tasks: int) -> list[str | None]:
        """See `ser.execution.executor.Pool`; includes workers that can be started."""
        idle = [worker.loaded for worker in self._workers.values() if worker.task is None]
        busy = len(self._workers) - len(idle)
        return (idle + [None] * self.size)[: max(0, self.size - busy)]

    def submit(self, task: Task) -> None:
        """Gives a task to an idle worker, preferably one that has loaded the job, or to a new one."""
        key = task.job.key
        idle = [worker for worker in self._workers.values() if worker.task is None]
        worker = min(idle, key=lambda worker: worker.loaded != key, default=None)
        if worker is None or (worker.loaded not in (None, key) and len(self._workers) < self.size):
            worker = self._start()
        worker.task = task
        if self._pickled[0] != key:
            self._pickled = key, pickle.dumps(task.job)
        job = None if worker.loaded == key else self._pickled[1]
        worker.loaded = key
        with contextlib.suppress(OSError):  # the worker has just died, which `wait` will find out
            worker.connection.send((job, task.fold_and_repeat, task.wait))

    def wait(self, handle: Callable[[Event], None]) -> None:
        """Handles what workers report, and the loss of workers."""
        workers = {worker.connection: worker for worker in self._workers.values()}
        for connection in multiprocessing.connection.wait(list(workers), timeout=1.0):
            worker = workers[connection]
            task = worker.task
            try:
                kind, content, memory = connection.recv()
            except (EOFError, OSError):
                reason = self._remove_dead(worker)
                if task is not None:
                    handle(Event(task, "lost", (reason,)))
                continue
            if memory is not None:
                worker.task = None
                self._check_memory(worker, *memory)
            handle(Event(task, kind, content))

    def _start(self) -> _Process:
        number = next(number for number in range(self.size) if number not in self._workers)
        spawn = multiprocessing.get_context("spawn")
        connection, worker_connection = spawn.Pipe()
        with _environment(self.plan.environment(number)), _without_main():
            process = spawn.Process(
                target=_worker_main, args=(worker_connection, os.getpid()), name=f"ser worker {number + 1}"
            )
            process.start()
        worker_connection.close()
        self._workers[number] = _Process(number, process, connection)
        return self._workers[number]

    def _remove_dead(self, worker: _Process) -> str:
        """Removes a worker that died; returns the reason of its death."""
        worker.process.join(timeout=10)
        code = worker.process.exitcode
        self._stop(worker)
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            return f"killed by {name}" + (", possibly because memory ran out" if name == "SIGKILL" else "")
        return f"exit code {code}"

    def _check_memory(self, worker: _Process, resident: int, peak: int) -> None:
        """Stops a worker that keeps too much memory; reduces the number of workers if a trial needs too much."""
        worker.after_first = worker.after_first or resident
        share = MEMORY_SHARE * machine_bytes() / self.size
        if resident - worker.after_first > LEFTOVER_SHARE * share:
            self._stop(worker)
        if not self.fixed_size and peak > share and self.size > 1:
            self.size = max(1, int(MEMORY_SHARE * machine_bytes() / peak))
        if len(self._workers) > self.size and worker.number in self._workers:
            self._stop(worker)

    def _stop(self, worker: _Process) -> None:
        _kill(worker)
        del self._workers[worker.number]


def _kill(worker: _Process) -> None:
    """Kills a process and all processes that it has started. An unfinished trial leaves no results."""
    worker.connection.close()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(worker.process.pid, signal.SIGKILL)
    worker.process.kill()
    worker.process.join(timeout=10)


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Keeps processes that are started meanwhile from importing the main script.

    `multiprocessing` would import it, and a script that calls `ser.run` outside an `if __name__ == "__main__"` block
    would then start the whole run again in each worker.
    """
    main = sys.modules["__main__"]
    hidden = {name: main.__dict__.pop(name) for name in ("__file__", "__spec__") if name in main.__dict__}
    main.__spec__ = None
    try:
        yield
    finally:
        main.__dict__.update(hidden)


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Sets environment variables for processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _worker_main(connection: multiprocessing.connection.Connection, driver: int) -> None:
    """Runs tasks from the driver until it closes the connection."""
    # In its own process group, it does not get Ctrl-C, which the driver handles, and its children can be killed too.
    os.setpgid(0, 0)
    threading.Thread(target=_exit_with_driver, args=(driver,), daemon=True).start()
    from ser.execution.worker import Worker

    worker = Worker(lambda kind, content: connection.send((kind, content, None)))
    job: Job | None = None
    with contextlib.suppress(EOFError, OSError):
        while True:
            pickled_job, fold_and_repeat, wait = connection.recv()
            if pickled_job is not None:
                job = pickle.loads(pickled_job)
            kind, content = worker.run_task(job.task(fold_and_repeat, wait))
            connection.send((kind, content, (resident_bytes(), peak_bytes())))


def _exit_with_driver(driver: int) -> None:
    while os.getppid() == driver:
        time.sleep(POLL_S)
    os.killpg(0, signal.SIGKILL)
