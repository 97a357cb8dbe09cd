"""What parallel workers gain and cost: two workers compared with one, the overhead per trial, the driver's memory.

The gain is measured with real trials (mtap's small network on the embedded corpus), in turn with one and two workers,
without the time that each worker takes once to start TensorFlow. Overhead and memory are measured with a paper that
does nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import data_prep
from benchmarks.measure import NAN, Absent, Figure, figure, not_installed
from common.contract import Experiment, Paper, Part
from common.corpus import fingerprint
from common.machine import peak_bytes
from common.splits import LeaveOneSpeakerOut
from papers.mtap.experiments import PAPER
from ser.execution.executor import Event, Job, execute
from ser.execution.local import LocalProcesses
from ser.execution.resources import Request
from ser.options import Options
from ser.results.runs import Run
from ser.session import Session

TRIALS, EMPTY_TRIALS, SIMULATED_TRIALS = 8, 60, 10_000


class EndTimes:
    """An observer that records when trials ended."""

    def __init__(self):
        self.ended: list[float] = []

    def note(self, text):
        """See `ser.execution.executor.Observer`, also for the methods below."""

    def runs_planned(self, runs, results, *, redo=False):
        """Does nothing."""

    def features_extracted(self, name, done, total):
        """Does nothing."""

    def trial_started(self, trial):
        """Does nothing."""

    def epoch_ended(self, epoch, epochs, logs):
        """Does nothing."""

    def trial_locked(self, trial):
        """Does nothing."""

    def trial_finished(self, trial):
        """Records the time."""
        self.ended.append(time.perf_counter())

    def trial_failed(self, trial, message):
        """Stops the benchmark, which must not count failed trials."""
        raise RuntimeError(message)


@dataclasses.dataclass(frozen=True)
class EmptyConfig:
    """Config of a paper that does nothing."""

    number: int = 0


class Guess:
    """A fitted model that predicts all classes with the same probability."""

    def __init__(self, classes):
        self.classes = classes

    def predict(self, part):
        """Equal probabilities for all utterances."""
        return {f"p_{name}": np.full(len(part), 1 / len(self.classes)) for name in self.classes}


def fit(config, train, validation, context) -> Guess:
    """Trains nothing."""
    return Guess(train.classes)


@dataclasses.dataclass(frozen=True)
class TableOnly:
    """A data source without features."""

    def part(self, run, observer):
        """The utterance table."""
        from common.backend import start_backend

        start_backend()
        return Part(run.table, {}, run.classes)

    def auxiliary(self, run, observer):
        """No auxiliary data."""
        return None


def empty_run(repeats: int) -> Run:
    """A run whose trials do nothing, so that only the overhead of harness and workers is left."""
    loaded = data_prep.load("demo", "4class-improvised")
    experiment = Experiment(
        "nothing/table1/demo/row", "Row", "demo", "4class-improvised", LeaveOneSpeakerOut(), EmptyConfig(), repeats
    )
    paper = Paper("benchmarks.executors", "Nothing", "none", (experiment,), {}, fit=":fit")
    folds = tuple(experiment.protocol(loaded.table))
    return Run(
        paper=paper,
        experiment=experiment,
        protocol=experiment.protocol,
        config=experiment.config,
        corpus=loaded.corpus,
        subset=loaded.subset,
        table=loaded.table,
        fingerprint=fingerprint(loaded.table),
        folds=folds,
        chosen=tuple(fold.name for fold in folds),
        repeats=repeats,
        flags=(),
        changes=(),
    )


def seconds_of(workers: int, folder: Path, cache: Path) -> float:
    """Seconds per trial of so many single-threaded workers, without the start of the workers."""
    options = Options(
        corpus="demo", cache=cache, results=folder, scaled=True, repeats=TRIALS, folds="1", yardstick=False
    )
    observer = EndTimes()
    session = Session(options, observer)
    run = session.prepare(PAPER, PAPER.experiment("mtap/table3/iemocap/apfl"))
    with LocalProcesses(Request(workers=workers, cpus=1), TRIALS) as pool:
        # The first trial of each worker starts TensorFlow; the clock runs from the end of the last of these.
        execute([Job(run, session.data_source, folder)], lambda _: contextlib.nullcontext(pool), observer)
    return (observer.ended[-1] - observer.ended[workers - 1]) / (TRIALS - workers)


def gain() -> Figure:
    """Trials per hour of two workers, compared with one."""
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        cache = Path(name) / "cache"
        for turn in range(2):
            one, two = (seconds_of(workers, Path(name) / f"{turn}-{workers}", cache) for workers in (1, 2))
            ratios.append(one / two)
    return figure(
        "two local workers: trials per hour compared with one single-threaded worker", ratios, "times", 1.7, floor=True
    )


def overhead() -> list[Figure | Absent]:
    """Seconds that a local worker and Ray add to each trial, and that they take to start."""
    figures = []
    pools = {"a local worker": lambda folder, trials: LocalProcesses(Request(workers=1), trials)}
    if not not_installed("ray"):
        from ser.execution.cluster import RayCluster

        pools["Ray"] = lambda folder, trials: RayCluster(Request(workers=1), trials, folder)
    run = empty_run(EMPTY_TRIALS // 10)
    for name, start in pools.items():
        observer, started = EndTimes(), time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            job = Job(run, TableOnly(), Path(folder))
            execute([job], functools.partial(start, Path(folder)), observer)
        limit = 2.0 if name == "Ray" else NAN
        first = observer.ended[0] - started
        figures.append(figure(f"a trial that does nothing, by {name}", list(np.diff(observer.ended)), "s", limit))
        figures.append(figure(f"from the start to the end of the first trial, by {name}", [first], "s"))
    if "Ray" not in pools:
        figures.append(Absent("a trial that does nothing, by Ray", not_installed("ray")))
    return figures


class SimulatedPool:
    """A pool of workers that finish every task at once.

    Args:
        memory: gives the memory in use; called once, after 100 trials, for `early`.
    """

    def __init__(self, memory: Callable[[], int]):
        self.memory = memory
        self.tasks, self.done, self.early = [], 0, 0

    def free(self, tasks):
        """Up to 64 workers."""
        return [None] * (64 - len(self.tasks))

    def submit(self, task):
        """Keeps the task until `wait`."""
        self.tasks.append(task)

    def wait(self, handle):
        """Reports the events of finished tasks."""
        tasks, self.tasks = self.tasks, []
        for task in tasks:
            if task.trial:
                handle(Event(task, "epoch", (1, 1, {"loss": 0.5})))
                self.done += 1
                if self.done == 100:
                    self.early = self.memory()
            handle(Event(task, "done" if task.trial else "prepared"))


def memory() -> Figure:
    """How much the driver's peak memory grows from the hundredth trial to the last."""
    pool, run = SimulatedPool(peak_bytes), empty_run(SIMULATED_TRIALS // 10)
    with tempfile.TemporaryDirectory() as folder:
        execute([Job(run, TableOnly(), Path(folder))], lambda trials: contextlib.nullcontext(pool), EndTimes())
    grown = (peak_bytes() - pool.early) / 2**20
    return figure(f"growth of the driver's memory over {SIMULATED_TRIALS:,} simulated trials", [grown], "MiB", 1.0)


def main() -> list[Figure | Absent]:
    """All figures."""
    return [memory(), *overhead(), gain()]
