"""Shows the progress of trials: a bar with the time left on a terminal, or one line per trial in a log."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars


class Progress:
    """Observer of a command (see `ser.execution.executor.Observer`); a context manager.

    The time left is the time since the first trial started, divided by the trials done, times the trials left. It is
    not shown before the first trial is done, and it is correct for any number of workers.

    Args:
        console: where to write; None: standard error, so that standard output contains only results.
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
        self.total = self.done = 0
        self._trials_bar = None
        self._feature_bars: dict[str, object] = {}
        self._description = "trials"
        self._started: dict[tuple[str, str], float] = {}
        self._first_started = 0.0

    def __enter__(self) -> Progress:
        self.bars.start()
        return self

    def __exit__(self, *exception) -> None:
        self.bars.stop()

    def note(self, text: str) -> None:
        """Prints a message for the user."""
        self.console.print(text, style="dim")

    def runs_planned(self, runs: Sequence, results: Path, *, redo: bool = False) -> None:
        """Prints how much there is to do."""
        trials = [trial for run in runs for trial in run.trials()]
        found = sum(trial.is_done(results, redo=redo) for trial in trials)
        # A command may plan its runs in several steps, so trials that are already done stay counted.
        self.total = self.done + len(trials) - found
        already = f", {found} already done" if found else ""
        self.console.print(f"{counted(len(runs), 'experiment')}, {counted(len(trials), 'trial')}{already}")
        if self._trials_bar is not None:
            self.bars.update(self._trials_bar, total=self.total)
        elif self.total:
            self._trials_bar = self.bars.add_task(self._description, total=self.total, left="")

    def features_extracted(self, name: str, done: int, total: int) -> None:
        """Shows the progress of an extraction."""
        if name not in self._feature_bars:
            self._feature_bars[name] = self.bars.add_task(f"features: {name}", total=total, left="")
            self.console.print(f"Extracting {name} features of {counted(total, 'utterance')}", style="dim")
        self.bars.update(self._feature_bars[name], completed=done, total=total, visible=done < total)

    def trial_started(self, trial) -> None:
        """Shows which trial runs."""
        now = time.perf_counter()
        self._first_started = self._first_started or now
        self._started[trial.run.experiment.id, trial.name] = now
        self._description = _trial_name(trial)
        self._describe(self._description)

    def epoch_ended(self, epoch: int, epochs: int, logs: Mapping[str, float]) -> None:
        """Shows the epoch of the trial that was started last."""
        self._describe(f"{self._description}  epoch {epoch}/{epochs}")

    def trial_finished(self, trial) -> None:
        """Counts the trial."""
        self._count(trial, "")

    def trial_failed(self, trial, message: str) -> None:
        """Counts the trial; a terminal shows the reason only at the end of the command, a log at once."""
        self._count(trial, f"failed: {message}")

    def trial_locked(self, trial) -> None:
        """Says that another process runs the trial."""
        self.note(f"{trial.run.experiment.id} {trial.name} is being run by another process; waiting for it")

    def _count(self, trial, failure: str) -> None:
        now = time.perf_counter()
        self._first_started = self._first_started or now
        # If all trials of a run fail with its features, they were never started.
        seconds = now - self._started.pop((trial.run.experiment.id, trial.name), now)
        self.done += 1
        left = self._time_left()
        if self._trials_bar is not None:
            self.bars.update(self._trials_bar, completed=self.done, left=left)
        if not self.console.is_terminal:
            outcome = failure or f"{seconds:.0f} s"
            after = f", {left}" if left else ""
            self.console.print(f"[{self.done}/{self.total}] {_trial_name(trial)}: {outcome}{after}", markup=False)

    def _time_left(self) -> str:
        remaining = max(0, self.total - self.done)
        if not remaining:
            return ""
        spent = time.perf_counter() - self._first_started
        return f"about {duration_in_words(remaining * spent / self.done)} left"

    def _describe(self, text: str) -> None:
        if self._trials_bar is not None:
            self.bars.update(self._trials_bar, description=text)


def _trial_name(trial) -> str:
    return f"{trial.run.experiment.id} {trial.fold.name} repeat {trial.repeat}"


def counted(number: int, thing: str) -> str:
    """A number of things, for example "1 trial" or "40 trials"."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def duration_in_words(seconds: float) -> str:
    """A duration in at most two units: "40 s", "12 min", "3 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
