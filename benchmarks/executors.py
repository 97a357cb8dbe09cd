"""What workers gain and what they cost: two against one on two cores, Ray's overhead, the driver's memory.

The gain is of real trials (mtap's small network on the embedded corpus), from the first trial's start to the last one's
end, in turns; starting TensorFlow, which both do once a worker, is told apart. Overhead is measured with a paper that
does nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import data_prep
from benchmarks.measure import Absent, Figure, figure
from common.contract import Experiment, Paper, Part
from common.corpus import fingerprint
from common.splits import LeaveOneSpeakerOut
from papers.mtap.experiments import PAPER
from ser.execution.executor import Event, Job, execute
from ser.execution.local import LocalProcesses
from ser.execution.resources import Request
from ser.options import Options
from ser.results.runs import Run
from ser.session import Session

TRIALS, NOTHINGS, SIMULATED = 8, 60, 10_000


class Watch:
    """An observer that remembers when trials ended."""

    def __init__(self):
        self.ended: list[float] = []

    def note(self, text):
        """See `ser.execution.executor.Observer`, as the methods below."""

    def runs_planned(self, runs, results):
        """Nothing."""

    def features_extracted(self, name, done, total):
        """Nothing."""

    def trial_started(self, trial):
        """Nothing."""

    def epoch_ended(self, epoch, epochs, logs):
        """Nothing."""

    def trial_locked(self, trial):
        """Nothing."""

    def trial_finished(self, trial):
        """Remembers."""
        self.ended.append(time.perf_counter())

    def trial_failed(self, trial, message):
        """A benchmark must not count trials that were not done."""
        raise RuntimeError(message)


@dataclasses.dataclass(frozen=True)
class Nothing:
    """Settings of a paper that does nothing."""

    number: int = 0


class Guess:
    """A fitted model that knows nothing."""

    def __init__(self, classes):
        self.classes = classes

    def predict(self, part):
        """The same for all."""
        return {f"p_{name}": np.full(len(part), 1 / len(self.classes)) for name in self.classes}


def fit(config, train, validation, context) -> Guess:
    """Nothing is learnt."""
    return Guess(train.classes)


@dataclasses.dataclass(frozen=True)
class Bare:
    """A source of utterances without features."""

    def part(self, run, observer):
        """The table alone."""
        from common.backend import start_backend

        start_backend()
        return Part(run.table, {}, run.classes)

    def auxiliary(self, run, observer):
        """None."""
        return None


def nothing(repeats: int) -> Run:
    """Trials that cost nothing but what the harness and the pool add."""
    loaded = data_prep.load("demo", "4class-improvised")
    experiment = Experiment(
        "nothing/table1/demo/row", "Row", "demo", "4class-improvised", LeaveOneSpeakerOut(), Nothing(), repeats
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
    """Seconds that so many single-threaded workers take for the trials, without the start of the workers."""
    options = Options(
        corpus="demo", cache=cache, results=folder, scaled=True, repeats=TRIALS, folds="1", yardstick=False
    )
    watch = Watch()
    session = Session(options, watch)
    run = session.prepare(PAPER, PAPER.experiment("mtap/table3/iemocap/apfl"))
    with LocalProcesses(Request(workers=workers, cpus=1), TRIALS) as pool:
        # The first trial of each worker starts TensorFlow; the clock runs from the end of the last of these.
        execute([Job(run, session.data_source, folder)], lambda _: contextlib.nullcontext(pool), watch)
    return (watch.ended[-1] - watch.ended[workers - 1]) / (TRIALS - workers)


def gain() -> Figure:
    """Trials an hour of two workers over one."""
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        cache = Path(name) / "cache"
        for turn in range(2):
            one, two = (seconds_of(workers, Path(name) / f"{turn}-{workers}", cache) for workers in (1, 2))
            ratios.append(one / two)
    return figure(
        "two local workers, trials an hour over one single-threaded worker's", ratios, "times", 1.7, floor=True
    )


def overhead() -> list[Figure | Absent]:
    """Seconds that Ray and local workers add to a trial, and take to start."""
    figures = []
    pools = {"a local worker": lambda folder, trials: LocalProcesses(Request(workers=1), trials)}
    if importlib.util.find_spec("ray"):
        from ser.execution.cluster import RayCluster

        pools["Ray"] = lambda folder, trials: RayCluster(Request(workers=1), trials, folder)
    run = nothing(NOTHINGS // 10)
    for name, pool in pools.items():
        with tempfile.TemporaryDirectory() as folder:
            watch, started = Watch(), time.perf_counter()
            execute([Job(run, Bare(), Path(folder))], lambda n, pool=pool, folder=folder: pool(Path(folder), n), watch)
        between = np.diff(watch.ended)
        limit = 2.0 if name == "Ray" else float("nan")
        figures.append(figure(f"a trial that does nothing, in {name}", list(between), "s", limit))
        figures.append(figure(f"from the command to the first trial's end, in {name}", [watch.ended[0] - started], "s"))
    if "Ray" not in pools:
        figures.append(Absent("a trial that does nothing, in Ray", "not run: ray is not installed"))
    return figures


class Simulated:
    """A pool whose workers finish every task at once.

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


def peak_kib() -> int:
    """Highest memory use of this process since its start."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def memory() -> Figure:
    """Growth of the driver's peak memory from the hundredth trial to the last."""
    pool, run = Simulated(peak_kib), nothing(SIMULATED // 10)
    with tempfile.TemporaryDirectory() as folder:
        execute([Job(run, Bare(), Path(folder))], lambda trials: contextlib.nullcontext(pool), Watch())
    grown = (peak_kib() - pool.early) / 1024
    return figure(f"the driver's memory, growth over {SIMULATED:,} simulated trials", [grown], "MiB", 1.0)


def main() -> list[Figure | Absent]:
    """All figures; the gain must be at least 1.7 and has no upper limit."""
    return [memory(), *overhead(), gain()]
