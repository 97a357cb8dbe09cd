"""A pool of actors on a Ray cluster.

Every node needs this suite installed, and the same paths for corpora, results and cache: a file system that all nodes
see (checked before the first trial on a node). Workers write their results there themselves, as they do on one machine.
What a lost node was doing is done again on another; a driver that dies takes its actors with it, and the same command
goes on.
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

GROWTH_S = 5.0
"""How often the size of the cluster is looked at; nodes may join and leave."""

FORWARDED = ("SER_", "KERAS_", "TF_", "JAX_", "XLA_")
"""Variables of the driver's environment that its workers get, by how they begin."""

PATIENCE_S = 60.0
"""After how long without a worker a person is told."""


class Actor:
    """A worker in a process of Ray's."""

    def __init__(self, environment: dict[str, str], shared: str):
        os.environ.update(environment)
        from ser.execution.worker import Worker

        self.shared = Path(shared)
        self.notes: list[tuple[str, tuple]] = []
        self.worker = Worker(self._tell)
        self.job: tuple[str, Any] = ("", None)

    def ready(self) -> bool:
        """Answers once the process is there."""
        return True

    def do(self, key: str, job: Any, trial: tuple[str, int] | None, wait: bool) -> tuple[str, tuple, list]:
        """Does a task (see `ser.execution.worker.Worker.do`); also returns its notes."""
        if not self.shared.exists():
            message = (
                f"The node {os.uname().nodename} does not see {self.shared.parent}. Put --results, --cache and the "
                "corpora on a file system that all nodes mount at the same place."
            )
            return "failed", (message, ""), []
        if self.job[0] != key:
            self.job = key, job
        self.notes.clear()
        kind, content = self.worker.do(self.job[1].task(trial, wait))
        return kind, content, list(self.notes)

    def _tell(self, kind: str, content: tuple) -> None:
        """Keeps what is told at the end: nobody hears of an epoch while it would matter."""
        if kind == "note":
            self.notes.append((kind, content))


class RayCluster:
    """A context manager; connects to a cluster, or starts one of this machine alone.

    Args:
        request: what a person asks for.
        trials: how many there are to do.
        results: the results folder.
        address: of the cluster, "auto" for the one this machine belongs to; None: RAY_ADDRESS, or a new one here.

    Raises:
        UserError: Ray is not installed, there is no cluster at the address, or no node has what a trial needs.
    """

    def __init__(self, request: Request, trials: int, results: Path, address: str | None = None):
        self.request, self.trials, self.results, self.address = request, trials, results, address
        self._starting: dict[Any, Any] = {}
        self._free: list[tuple[Any, str | None]] = []
        self._busy: dict[Any, tuple[Any, Task]] = {}
        self._jobs: tuple[str, Any] = ("", None)
        self._size, self._looked = 0, 0.0
        self._began: float | None = time.monotonic()

    def __enter__(self) -> RayCluster:
        self.ray = _connected(self.address)
        share = self.request.gpus
        if share is None:
            share = 1.0 if self.ray.cluster_resources().get("GPU", 0) else 0.0
        self.needs = {"CPU": float(self.request.cpus or 1), "GPU": share}
        if not self._room():
            self.ray.shutdown()
            needs = ", ".join(f"{amount:g} {name}" for name, amount in self.needs.items() if amount)
            raise UserError(f"No node of the cluster has what a trial needs: {needs}.")
        # A file that a node sees only if the results folder is the same one there.
        self.shared = (self.results / f".cluster-{secrets.token_hex(8)}").absolute()
        write_text(self.shared, "")
        return self

    def __exit__(self, *exception) -> None:
        for actor in [*self._starting.values(), *(one[0] for one in (*self._free, *self._busy.values()))]:
            self._kill(actor)
        self.shared.unlink(missing_ok=True)
        self.ray.shutdown()

    def free(self, tasks: int) -> list[str | None]:
        """Idle actors; starts more of them while the cluster has room and there are tasks for them."""
        if time.monotonic() - self._looked > GROWTH_S:
            self._size, self._looked = min(self._room(), self.request.workers or self.trials), time.monotonic()
        others = len(self._free) + len(self._busy)
        wanted = min(self._size, len(self._busy) + tasks) - others
        while len(self._starting) < wanted:
            actor = self._new()
            self._starting[actor.ready.remote()] = actor
        # One that cannot start any more, since its node is gone, must not keep what another could do.
        while len(self._starting) > max(0, wanted):
            self._kill(self._starting.popitem()[1])
        return [key for _, key in self._free]

    def submit(self, task: Task) -> None:
        """Gives a task to an idle actor, if possible to one that has the job loaded."""
        key = task.job.key
        if self._jobs[0] != key:
            self._jobs = key, self.ray.put(task.job)
        mine = min(self._free, key=lambda one: one[1] != key)
        self._free.remove(mine)
        self._busy[mine[0].do.remote(key, self._jobs[1], task.named, task.wait)] = mine[0], task

    def wait(self, take: Callable[[Event], None]) -> None:
        """Tells which tasks have ended."""
        pending = [*self._busy, *self._starting]
        if not pending:
            time.sleep(0.2)  # no node has room at the moment
            return
        for reference in self.ray.wait(pending, timeout=1.0)[0]:
            actor, task = (
                self._busy.pop(reference) if reference in self._busy else (self._starting.pop(reference), None)
            )
            try:
                answer = self.ray.get(reference)
            except self.ray.exceptions.RayError as error:
                self._kill(actor)
                self._looked = 0.0  # its node may be gone
                if task is not None:
                    take(Event(task, "lost", (f"its process or node died: {type(error).__name__}",)))
                continue
            self._began = None
            self._free.append((actor, task.job.key if task else None))
            if task is not None:
                kind, content, told = answer
                for one in told:
                    take(Event(task, *one))
                take(Event(task, kind, content))
        if self._began is not None and time.monotonic() - self._began > PATIENCE_S:
            self._began = None
            take(Event(None, "note", ("No worker has started yet: the cluster's nodes are busy, or lack this suite",)))

    def _kill(self, actor) -> None:
        with contextlib.suppress(Exception):
            self.ray.kill(actor)

    def _new(self):
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

    def _room(self) -> int:
        """Actors that fit on the nodes that are alive."""
        fits = 0
        for node in self.ray.nodes():
            if node["Alive"]:
                has = node["Resources"]
                fits += min(int(has.get(name, 0) / need) for name, need in self.needs.items() if need)
        return fits


def _connected(address: str | None):
    """The module `ray`, connected."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise UserError(
            "--executor ray needs Ray: pip install -c constraints.txt -e '.[ray]', on every node of the cluster."
        ) from None
    _reachable(address)
    with _kept_signals():
        try:
            ray.init(address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except ConnectionError as error:
            raise UserError(
                f"There is no Ray cluster at {address}: {str(error).splitlines()[0]} Start one with `ray start --head`."
            ) from None
    return ray


def _reachable(address: str | None) -> None:
    """Refuses an address where nothing listens: Ray itself would try for minutes.

    Raises:
        UserError: nothing listens there.
    """
    host, _, port = (address or os.environ.get("RAY_ADDRESS", "")).rpartition(":")
    if host and port.isdigit() and "/" not in host:
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise UserError(
                f"There is no Ray cluster at {host}:{port} ({error}). Start one with `ray start --head`, and give the "
                "address that it prints."
            ) from None


@contextlib.contextmanager
def _kept_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself; a person who ends a command should read what `ser` says about it."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # not in the main thread: Ray took nothing
            signal.signal(signal.SIGTERM, before)
