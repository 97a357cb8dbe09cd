"""What a person sees while trials run: a bar with an honest time left on a terminal, a line a trial in a log."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars


class Progress:
    """Observer of a command (see `ser.execution.executor.Observer`); a context manager.

    The time left is the time since the first trial began, divided by the trials done, times the trials left: not shown
    before the first trial is done, and right for several workers.

    Args:
        console: where to write; None: standard error, so that results alone go to standard output.
    """

    def __init__(self, console: Console | None = None):
        self.console = console or Console(stderr=True, highlight=False)
        self.bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.trials = None
        self.total = self.done = 0
        self.started: dict[tuple[str, str], float] = {}
        self.began = 0.0
        self._features: dict[str, object] = {}

    def __enter__(self) -> Progress:
        self.bars.start()
        return self

    def __exit__(self, *exception) -> None:
        self.bars.stop()

    def note(self, text: str) -> None:
        """Something worth a line."""
        self.console.print(text, style="dim")

    def planned(self, runs: Sequence, results: Path) -> None:
        """All runs of the command are known."""
        trials = [trial for run in runs for trial in run.trials()]
        found = sum(trial.is_done(results) for trial in trials)
        # A command may plan one paper after another: what is done so far stays counted.
        self.total = self.done + len(trials) - found
        already = f", {found} already done" if found else ""
        self.console.print(f"{counted(len(runs), 'experiment')}, {counted(len(trials), 'trial')}{already}")
        if self.trials is not None:
            self.bars.update(self.trials, total=self.total)
        elif self.total:
            self.trials = self.bars.add_task("trials", total=self.total, left="")

    def features_extracted(self, name: str, done: int, total: int) -> None:
        """One more utterance has its features."""
        if name not in self._features:
            self._features[name] = self.bars.add_task(f"features: {name}", total=total, left="")
            self.console.print(f"Extracting {name} of {total} utterances", style="dim")
        self.bars.update(self._features[name], completed=done, total=total, visible=done < total)

    def trial_started(self, trial) -> None:
        """A trial begins."""
        now = time.perf_counter()
        self.began = self.began or now
        self.started[trial.run.experiment.id, trial.name] = now
        self._describe(f"{trial.run.experiment.id} {trial.fold.name} run {trial.repeat}")

    def epoch_ended(self, epoch: int, epochs: int, logs: Mapping[str, float]) -> None:
        """An epoch of the running trial is over."""
        if self.trials is not None:
            task = self.bars.tasks[self.bars.task_ids.index(self.trials)]
            base = task.description.split("  epoch")[0]
            self._describe(f"{base}  epoch {epoch}/{epochs}")

    def trial_finished(self, trial) -> None:
        """A trial was written."""
        self._ended(trial, "")

    def trial_failed(self, trial, message: str) -> None:
        """A trial failed; why is told at the end, and at once in a log."""
        self._ended(trial, f"failed: {message}")

    def _ended(self, trial, how: str) -> None:
        now = time.perf_counter()
        self.began = self.began or now
        # A worker that is lost before its trial began never told so.
        seconds = now - self.started.pop((trial.run.experiment.id, trial.name), now)
        self.done += 1
        left = self._left()
        if self.trials is not None:
            self.bars.update(self.trials, completed=self.done, left=left)
        if not self.console.is_terminal:
            self.console.print(
                f"[{self.done}/{self.total}] {trial.run.experiment.id} {trial.fold.name} run {trial.repeat}: "
                f"{how or f'{seconds:.0f} s'}{', ' + left if left else ''}",
                markup=False,
            )

    def trial_elsewhere(self, trial) -> None:
        """Another process holds the trial."""
        self.note(f"{trial.run.experiment.id} {trial.name} is being run by another process; waiting for it")

    def _left(self) -> str:
        remaining = max(0, self.total - self.done)
        if not remaining:
            return ""
        spent = time.perf_counter() - self.began
        return f"about {in_words(remaining * spent / self.done)} left"

    def _describe(self, text: str) -> None:
        if self.trials is not None:
            self.bars.update(self.trials, description=text)


def counted(number: int, thing: str) -> str:
    """A number of things, for example "1 trial" or "40 trials"."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def in_words(seconds: float) -> str:
    """A duration with two significant units at the most: "40 s", "12 min", "3 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
