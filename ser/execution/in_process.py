"""A pool with one worker, which is this process: for debugging, for tests, and where no processes can be started."""

from __future__ import annotations

from collections.abc import Callable

from ser.execution.executor import Event, Task
from ser.execution.worker import Worker


class InProcess:
    """The pool, a context manager; it runs a task when `wait` is called."""

    def __init__(self):
        self._task: Task | None = None
        self._loaded: str | None = None

    def __enter__(self) -> InProcess:
        self._worker = Worker(lambda kind, content: self._handle(Event(self._task, kind, content)))
        return self

    def __exit__(self, *exception) -> None:
        del self._worker

    def free(self, tasks: int) -> list[str | None]:
        """See `ser.execution.executor.Pool`, also for the other methods."""
        return [] if self._task else [self._loaded]

    def submit(self, task: Task) -> None:
        """Keeps the task until `wait`."""
        self._task = task

    def wait(self, handle: Callable[[Event], None]) -> None:
        """Runs the task."""
        self._handle = handle
        task, (kind, content) = self._task, self._worker.run_task(self._task)
        self._task, self._loaded = None, task.job.key
        handle(Event(task, kind, content))
