"""A pool of actors on a Ray cluster.

Each node needs this suite installed, and the same paths for corpora, results and cache: a file system that all nodes
mount (this is checked before the first trial on a node). As on one machine, workers write their results there
themselves. If a node is lost, its tasks are done again on another one. If the driver dies, its actors die with it, and
the same command continues.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import write_text
from ser.execution.executor import Event, Task
from ser.execution.resources import Request, threads_environment

CAPACITY_CHECK_S = 5.0
"""How often the size of the cluster is checked; nodes may join and leave."""

FORWARDED = ("SER_", "KERAS_", "TF_", "JAX_", "XLA_")
"""Prefixes of the environment variables that workers get from the driver."""

START_PAUSE_S = 2.0
"""Pause after an actor could not start; a node that is going down would refuse many a second."""

WARNING_S = 60.0
"""After how long without any worker the user gets a warning."""


class Actor:
    """A worker in a process that Ray starts.

    Args:
        environment: environment variables to set.
        shared: path of a file in the results folder, which the node must be able to see.
    """

    def __init__(self, environment: dict[str, str], shared: str):
        os.environ.update(environment)
        from ser.execution.worker import Worker

        self.shared = Path(shared)
        self.notes: list[tuple[str, tuple]] = []
        self.worker = Worker(self._report)
        self.job: tuple[str, Any] = ("", None)

    def ready(self) -> bool:
        """Returns once the process has started."""
        return True

    def run_task(
        self, key: str, job: Any, fold_and_repeat: tuple[str, int] | None, wait: bool
    ) -> tuple[str, tuple, list]:
        """Runs a task (see `ser.execution.worker.Worker.run_task`); also returns its notes."""
        if not self.shared.exists():
            message = (
                f"The node {os.uname().nodename} does not see {self.shared.parent}. Put --results, --cache and the "
                "corpora on a file system that all nodes mount at the same path."
            )
            return "failed", (message, ""), []
        if self.job[0] != key:
            self.job = key, job
        self.notes.clear()
        kind, content = self.worker.run_task(self.job[1].task(fold_and_repeat, wait))
        return kind, content, list(self.notes)

    def _report(self, kind: str, content: tuple) -> None:
        """Keeps notes until the task ends; epochs are not reported, since they would arrive too late to be useful."""
        if kind == "note":
            self.notes.append((kind, content))


class RayCluster:
    """The pool, a context manager; it connects to a cluster, or starts one on this machine.

    Args:
        request: the resources that the user asks for.
        trials: how many trials are to be done.
        results: the results folder.
        address: of the cluster, "auto" for the one that this machine belongs to; None: RAY_ADDRESS, or a new one here,
            even if another cluster runs on this machine.

    Raises:
        UserError: Ray is not installed, there is no cluster at the address, or no node has what a trial needs.
    """

    def __init__(self, request: Request, trials: int, results: Path, address: str | None = None):
        self.request, self.trials, self.results, self.address = request, trials, results, address
        self._starting: dict[Any, Any] = {}
        self._free: list[tuple[Any, str | None]] = []
        self._busy: dict[Any, tuple[Any, Task]] = {}
        self._job: tuple[str, Any] = ("", None)
        self._size, self._size_checked_s = 0, 0.0
        self._start_after_s = 0.0
        self._waiting_since_s: float | None = time.monotonic()

    def __enter__(self) -> RayCluster:
        self.ray = _connect(self.address)
        gpus = self.request.gpus
        if gpus is None:
            gpus = 1.0 if self.ray.cluster_resources().get("GPU", 0) else 0.0
        self.needs = {"CPU": float(self.request.cpus or 1), "GPU": gpus}
        if not self._capacity():
            self.ray.shutdown()
            needs = ", ".join(f"{amount:g} {name}" for name, amount in self.needs.items() if amount)
            raise UserError(f"No node of the cluster has what a trial needs: {needs}.")
        # A node sees this file only if it has the same results folder.
        self.shared = (self.results / f".cluster-{secrets.token_hex(8)}").absolute()
        write_text(self.shared, "")
        return self

    def __exit__(self, *exception) -> None:
        for actor in [*self._starting.values(), *(actor for actor, _ in (*self._free, *self._busy.values()))]:
            self._kill(actor)
        self.shared.unlink(missing_ok=True)
        self.ray.shutdown()

    def free(self, tasks: int) -> list[str | None]:
        """See `ser.execution.executor.Pool`; starts actors while the cluster has capacity and there are tasks."""
        if time.monotonic() - self._size_checked_s > CAPACITY_CHECK_S:
            self._size = min(self._capacity(), self.request.workers or self.trials)
            self._size_checked_s = time.monotonic()
        started = len(self._free) + len(self._busy)
        wanted = min(self._size, len(self._busy) + tasks) - started
        while len(self._starting) < wanted and time.monotonic() >= self._start_after_s:
            actor = self._start_actor()
            self._starting[actor.ready.remote()] = actor
        # An actor that can no longer start because its node is gone must not take the place of another one.
        while len(self._starting) > max(0, wanted):
            self._kill(self._starting.popitem()[1])
        return [key for _, key in self._free]

    def submit(self, task: Task) -> None:
        """Gives a task to an idle actor, preferably one that has loaded the job."""
        key = task.job.key
        if self._job[0] != key:
            self._job = key, self.ray.put(task.job)
        chosen = min(self._free, key=lambda pair: pair[1] != key)
        self._free.remove(chosen)
        actor = chosen[0]
        self._busy[actor.run_task.remote(key, self._job[1], task.fold_and_repeat, task.wait)] = actor, task

    def wait(self, handle: Callable[[Event], None]) -> None:
        """Handles the ends of tasks, and the loss of actors."""
        pending = [*self._busy, *self._starting]
        if not pending:
            time.sleep(0.2)  # no node has any capacity at the moment
            return
        for reference in self.ray.wait(pending, timeout=1.0)[0]:
            actor, task = (
                self._busy.pop(reference) if reference in self._busy else (self._starting.pop(reference), None)
            )
            try:
                result = self.ray.get(reference)
            except self.ray.exceptions.RayError as error:
                self._kill(actor)
                self._size_checked_s = 0.0  # its node may be gone
                if task is None:
                    self._start_after_s = time.monotonic() + START_PAUSE_S
                else:
                    handle(Event(task, "lost", (f"its process or node died: {type(error).__name__}",)))
                continue
            self._waiting_since_s = None
            self._free.append((actor, task.job.key if task else None))
            if task is not None:
                kind, content, notes = result
                for note in notes:
                    handle(Event(task, *note))
                handle(Event(task, kind, content))
        if self._waiting_since_s is not None and time.monotonic() - self._waiting_since_s > WARNING_S:
            self._waiting_since_s = None
            message = "No worker has started yet: the nodes of the cluster are busy, or this suite is not installed"
            handle(Event(None, "note", (message,)))

    def _kill(self, actor) -> None:
        with contextlib.suppress(Exception):
            self.ray.kill(actor)

    def _start_actor(self):
        threads = 1 if self.request.deterministic else self.request.cpus or 1
        options = {
            "num_cpus": self.needs["CPU"],
            "num_gpus": self.needs["GPU"],
            "max_restarts": 0,
            "max_task_retries": 0,
        }
        environment = threads_environment(threads)
        environment.update((name, value) for name, value in os.environ.items() if name.startswith(FORWARDED))
        return self.ray.remote(Actor).options(**options).remote(environment, str(self.shared))

    def _capacity(self) -> int:
        """How many actors fit on the nodes that are alive."""
        actors = 0
        for node in self.ray.nodes():
            if node["Alive"]:
                available = node["Resources"]
                actors += min(int(available.get(name, 0) / need) for name, need in self.needs.items() if need)
        return actors


def _connect(address: str | None):
    """Connects to a cluster, or starts one.

    Returns:
        The module `ray`.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise UserError(
            "--executor ray needs Ray: pip install -c constraints.txt -e '.[ray]', on every node of the cluster."
        ) from None
    # Without an address Ray would join any cluster that somebody has started on this machine.
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    _check_address(address)
    with _sigterm_handler_kept():
        try:
            ray.init(address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except ConnectionError as error:
            raise UserError(
                f"There is no Ray cluster at {address}: {str(error).splitlines()[0]} Start one with `ray start --head`."
            ) from None
    return ray


def _check_address(address: str) -> None:
    """Checks that something listens at an address; Ray itself would try for minutes.

    Raises:
        UserError: Nothing listens there.
    """
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "/" not in host:
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise UserError(
                f"There is no Ray cluster at {host}:{port} ({error}). Start one with `ray start --head`, and use the "
                "address that it prints."
            ) from None


@contextlib.contextmanager
def _sigterm_handler_kept() -> Iterator[None]:
    """Restores the handler of SIGTERM, which Ray replaces: the message of `ser` says what to do next."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # not in the main thread, where Ray sets no handler
            signal.signal(signal.SIGTERM, before)
