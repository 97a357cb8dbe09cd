"""Where trials run: here, in this process, one after another, shared with any other process on the same folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from common.artefacts import Artefacts
from common.audit import audit
from common.experiments import Part
from common.trials import Run, Trial, lock, perform, write_run


class Observer(Protocol):
    """What is told while trials run; each method may do nothing."""

    def trial_started(self, trial: Trial) -> None:
        """A trial begins."""

    def epoch_ended(self, epoch: int, epochs: int, logs: Mapping[str, float]) -> None:
        """An epoch of the running trial is over."""

    def trial_finished(self, trial: Trial) -> None:
        """A trial was written."""

    def trial_elsewhere(self, trial: Trial) -> None:
        """Another process holds the trial; it is waited for at the end."""


class Paused(Exception):
    """Trials are left, and the process should be replaced before they run (see `execute`)."""


@dataclass
class Outcome:
    """How many trials were done now, and how many were there already (or were done by another process)."""

    done: int = 0
    found: int = 0


def execute(
    run: Run,
    load_data: Callable[[], Part],
    results: Path,
    observer: Observer,
    *,
    load_auxiliary: Callable[[], Part | None] = lambda: None,
    artefacts: Artefacts | None = None,
    keep_models: bool = False,
    pause: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Performs every trial of a run that is not done yet.

    Args:
        run: what to run.
        load_data: gives utterances with features; called only if there is something to do.
        results: results folder.
        observer: is told of the progress.
        load_auxiliary: gives the utterances to learn from besides, with features; called as `load_data` is.
        artefacts: where products of stages are kept.
        keep_models: keep the fitted models.
        pause: asked after each trial; True if this process had better end before the next one.

    Raises:
        Paused: `pause` said so; what was finished is kept.
    """
    from filelock import Timeout

    outcome = Outcome()
    pending = [trial for trial in run.trials() if not trial.is_done(results)]
    outcome.found = sum(1 for _ in run.trials()) - len(pending)
    if pending or not (run.folder(results) / "run.json").exists():
        write_run(run, results)
    if not pending:
        return outcome
    data, auxiliary = load_data(), load_auxiliary()
    audits = {fold.name: audit(run.table, fold) for fold in run.folds if fold.name in run.chosen}

    def attempt(trial: Trial, timeout_s: float) -> None:
        with lock(trial, results, timeout_s):
            if trial.is_done(results):
                outcome.found += 1
                return
            observer.trial_started(trial)
            perform(
                trial,
                data,
                results,
                audit=audits[trial.fold.name],
                auxiliary=auxiliary,
                artefacts=artefacts,
                keep_model=keep_models,
                on_epoch=observer.epoch_ended,
            )
            outcome.done += 1
            observer.trial_finished(trial)

    elsewhere = []
    for trial in pending:
        try:
            attempt(trial, 0)
        except Timeout:
            elsewhere.append(trial)
        if outcome.done and pause():
            raise Paused
    for trial in elsewhere:
        observer.trial_elsewhere(trial)
        # The other process finishes it, or dies and leaves it to us.
        attempt(trial, -1)
    return outcome
