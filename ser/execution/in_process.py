"""A pool of one worker that is this very process: for a debugger, for tests, and where processes cannot be started."""

from __future__ import annotations

from collections.abc import Callable

from ser.execution.executor import Event, Task
from ser.execution.worker import Worker


class InProcess:
    """A context manager; does a task when it is waited for."""

    def __init__(self):
        self._task: Task | None = None
        self._loaded: str | None = None

    def __enter__(self) -> InProcess:
        self._worker = Worker(lambda kind, content: self._take(Event(self._task, kind, content)))
        return self

    def __exit__(self, *exception) -> None:
        del self._worker

    def free(self, tasks: int) -> list[str | None]:
        """The one worker, unless it has a task."""
        return [] if self._task else [self._loaded]

    def submit(self, task: Task) -> None:
        """Takes the task."""
        self._task = task

    def wait(self, take: Callable[[Event], None]) -> None:
        """Does the task, and tells what happens as it happens."""
        self._take = take
        task, (kind, content) = self._task, self._worker.do(self._task)
        self._task, self._loaded = None, task.job.key
        take(Event(task, kind, content))
