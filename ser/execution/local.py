"""A pool of processes on this machine, each with its share of the cores and GPUs.

A worker is a fresh interpreter with its own process group. It ends with the driver, however that ends, and takes with
it what it started. One that has kept too much memory of finished trials (TensorFlow keeps some of every traced step) is
replaced between two trials.
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
"""Of a worker's share of the memory: what finished trials may leave behind before it is replaced."""

POLL_S = 0.5
"""How soon a worker notices that its driver is gone."""


@dataclass
class _Process:
    """A worker's process as the driver sees it."""

    number: int
    process: multiprocessing.process.BaseProcess
    connection: multiprocessing.connection.Connection
    task: Task | None = None
    loaded: str | None = None
    after_first: int = 0


class LocalProcesses:
    """A context manager; starts a process when there is a task for it.

    Args:
        request: what a person asks for.
        trials: how many there are to do.
    """

    def __init__(self, request: Request, trials: int):
        self.plan: Plan = plan(request, trials)
        self.size = self.plan.workers
        self.fixed = request.workers is not None
        self._processes: dict[int, _Process] = {}
        self._pickled: tuple[str, bytes] = ("", b"")

    def __enter__(self) -> LocalProcesses:
        return self

    def __exit__(self, *exception) -> None:
        for one in self._processes.values():
            _end(one)

    def free(self, tasks: int) -> list[str | None]:
        """Idle workers, and those not started yet."""
        idle = [one.loaded for one in self._processes.values() if one.task is None]
        busy = len(self._processes) - len(idle)
        return (idle + [None] * self.size)[: max(0, self.size - busy)]

    def submit(self, task: Task) -> None:
        """Gives a task to an idle process, if possible to one that has the job loaded, or to a new one."""
        idle = [one for one in self._processes.values() if one.task is None]
        one = min(idle, key=lambda one: one.loaded != task.job.key, default=None)
        if one is None or (one.loaded not in (None, task.job.key) and len(self._processes) < self.size):
            one = self._start()
        one.task = task
        key = task.job.key
        if self._pickled[0] != key:
            self._pickled = key, pickle.dumps(task.job)
        job = None if one.loaded == key else self._pickled[1]
        one.loaded = key
        with contextlib.suppress(OSError):  # it has just died: `wait` finds out
            one.connection.send((job, task.named, task.wait))

    def wait(self, take: Callable[[Event], None]) -> None:
        """Tells what processes say, and which are gone."""
        connections = {one.connection: one for one in self._processes.values()}
        for connection in multiprocessing.connection.wait(list(connections), timeout=1.0):
            one = connections[connection]
            task = one.task
            try:
                kind, content, memory = connection.recv()
            except (EOFError, OSError):
                why = self._gone(one)
                if task is not None:
                    take(Event(task, "lost", (why,)))
                continue
            if memory is not None:
                one.task = None
                self._judge(one, *memory)
            take(Event(task, kind, content))

    def _start(self) -> _Process:
        number = next(number for number in range(self.size) if number not in self._processes)
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        with _environment(self.plan.environment(number)), _without_main():
            process = spawn.Process(target=_work, args=(theirs, os.getpid()), name=f"ser worker {number + 1}")
            process.start()
        theirs.close()
        self._processes[number] = _Process(number, process, ours)
        return self._processes[number]

    def _gone(self, one: _Process) -> str:
        one.process.join(timeout=10)
        code = one.process.exitcode
        self._retire(one)
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            return f"killed by {name}" + (", maybe for want of memory" if name == "SIGKILL" else "")
        return f"exit code {code}"

    def _judge(self, one: _Process, resident: int, peak: int) -> None:
        """Replaces a worker that keeps too much, and has fewer of them if they need more than the machine has."""
        one.after_first = one.after_first or resident
        share = MEMORY_SHARE * machine_bytes() / self.size
        if resident - one.after_first > LEFTOVER_SHARE * share:
            self._retire(one)
        if not self.fixed and peak > share and self.size > 1:
            self.size = max(1, int(MEMORY_SHARE * machine_bytes() / peak))
        if len(self._processes) > self.size and one.number in self._processes:
            self._retire(one)

    def _retire(self, one: _Process) -> None:
        _end(one)
        del self._processes[one.number]


def _end(one: _Process) -> None:
    """Ends a process and what it started; what it had not finished stays undone."""
    one.connection.close()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(one.process.pid, signal.SIGKILL)
    one.process.kill()
    one.process.join(timeout=10)


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Keeps a process started meanwhile from importing the main script.

    `multiprocessing` would do so, and a script that calls `ser.run` without an `if __name__ == "__main__"` around it
    would start the whole run once more in every worker.
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
    """Variables that a process started meanwhile finds in its environment."""
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


def _work(connection: multiprocessing.connection.Connection, driver: int) -> None:
    """A worker's life: tasks from the driver until that closes the connection."""
    # A group of its own: Ctrl-C is the driver's to answer, and what this process starts ends with it.
    os.setpgid(0, 0)
    threading.Thread(target=_end_with, args=(driver,), daemon=True).start()
    from ser.execution.worker import Worker

    worker = Worker(lambda kind, content: connection.send((kind, content, None)))
    job: Job | None = None
    with contextlib.suppress(EOFError, OSError):
        while True:
            pickled, trial, wait = connection.recv()
            if pickled is not None:
                job = pickle.loads(pickled)
            kind, content = worker.do(job.task(trial, wait))
            connection.send((kind, content, (resident_bytes(), peak_bytes())))


def _end_with(driver: int) -> None:
    while os.getppid() == driver:
        time.sleep(POLL_S)
    os.killpg(0, signal.SIGKILL)
