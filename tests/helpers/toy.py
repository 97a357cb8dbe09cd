"""A tiny paper for tests of the application: a nearest-mean classifier on one number per utterance."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pandas as pd

from common import backend
from common.contract import Experiment, Paper, Part
from common.corpus import Corpus, Subset, build_table, fingerprint
from common.errors import UserError
from common.files import find
from common.splits import LeaveOneSpeakerOut
from ser.results import trials
from ser.results.runs import Run
from tests.helpers import ROOT


def without_keras(set_item, set_attribute):
    """Keeps Keras, which takes seconds to import in each process, out of trials that do not need it.

    Args:
        set_item: `dict.__setitem__`, or `MonkeyPatch.setitem` for the time of a test.
        set_attribute: `setattr`, or `MonkeyPatch.setattr`.
    """
    training = types.ModuleType("common.training")
    training.clear_models, training.seed_everything = lambda: None, lambda seed, deterministic: None
    set_item(sys.modules, "common.training", training)
    set_attribute(backend, "start_backend", lambda: None)
    set_attribute(trials, "device", lambda: "CPU")


if os.environ.get("TOY_LIGHT"):
    without_keras(dict.__setitem__, setattr)

CLASSES = ("angry", "sad")
SUBSET = Subset("2class", {"angry": 12, "sad": 12})
CORPUS = Corpus(
    "toy",
    "Toy corpus",
    "none",
    "none",
    "made in a test.",
    "none",
    (SUBSET,),
    "2class",
    24,
    4,
    synthetic=True,
)


@dataclasses.dataclass(frozen=True)
class ToyConfig:
    shift: float = 0.0
    sleep_s: float = 0.0
    fails: int = 0
    """Seed of the trial that fails."""
    dies: int = 0
    """Seed of the trial whose process dies."""


class Fitted:
    def __init__(self, means, seed):
        self.means = means
        self.seed = seed

    def predict(self, part):
        assert part.table["emotion"].isna().all(), "a model saw the test labels"
        assert part.table[["valence", "arousal", "dominance"]].isna().all(axis=None)
        values = np.array([part.features["number"][u] for u in part.table["utterance"]])
        near = -np.abs(values[:, None] - self.means[None, :])
        noise = np.random.default_rng(self.seed).normal(0, 1e-3, near.shape)
        return {f"p_{name}": near[:, k] + noise[:, k] for k, name in enumerate(CLASSES)}

    def save(self, folder: Path):
        (folder / "means.json").write_text(json.dumps(self.means.tolist()))


def fit(config, train, validation, context):
    log = os.environ.get("SER_TOY_LOG")
    if log:
        with open(log, "a") as file:
            file.write(f"{os.getpid()} {context.seed}\n")
    with context.timed("fit"):
        time.sleep(config.sleep_s)
        if context.seed == config.fails:
            raise RuntimeError("this trial always fails")
        if context.seed == config.dies:
            os.kill(os.getpid(), signal.SIGKILL)
        values = np.array([train.features["number"][u] for u in train.table["utterance"]])
        means = np.array([values[train.labels == k].mean() for k in range(len(CLASSES))]) + config.shift
    context.history["loss"] = [1.0, 0.5]
    return Fitted(means, context.seed)


PAPER = Paper(
    package=__name__,
    title="A toy",
    reference="nobody, never",
    experiments=(
        Experiment("toy/table1/toy/row", "Row", "toy", "2class", LeaveOneSpeakerOut(), ToyConfig(), repeats=2),
    ),
    features=":features",
    fit=":fit",
    load=":load",
    scaled={"shift": 0.5},
)


def table() -> pd.DataFrame:
    rows = []
    for speaker in "ABCD":
        for number in range(6):
            rows.append(
                {
                    "utterance": f"{speaker}{number}",
                    "path": f"/nowhere/{speaker}{number}.wav",
                    "speaker": speaker,
                    "gender": "female",
                    "emotion": CLASSES[number % 2],
                    "valence": 1.0 + number,
                    "duration": 1.0,
                }
            )
    return build_table(rows, "toy")


def run(config: ToyConfig | None = None, repeats: int = 2, folds: int = 4, changes=(), flags=()) -> Run:
    experiment = PAPER.experiments[0]
    utterances = table()
    cut = tuple(experiment.protocol(utterances))
    return Run(
        paper=PAPER,
        experiment=experiment,
        protocol=experiment.protocol,
        config=config or experiment.config,
        corpus=CORPUS,
        subset=SUBSET,
        table=utterances,
        fingerprint=fingerprint(utterances),
        folds=cut,
        chosen=tuple(fold.name for fold in cut[:folds]),
        repeats=repeats,
        flags=tuple(flags),
        changes=tuple(changes),
    )


def data() -> Part:
    utterances = table()
    # Angry is 1 and sad is 0, except for one utterance of each speaker.
    numbers = {
        row.utterance: float((row.emotion == "angry") != row.utterance.endswith("5")) for row in utterances.itertuples()
    }
    return Part(utterances, {"number": numbers}, CLASSES)


class Recorder:
    """An observer that records what it is called with."""

    def __init__(self):
        self.finished, self.locked, self.failed, self.notes = [], [], [], []

    def note(self, text):
        self.notes.append(text)

    def features_extracted(self, name, done, total):
        pass

    def trial_started(self, trial):
        pass

    def epoch_ended(self, epoch, epochs, logs):
        pass

    def trial_finished(self, trial):
        self.finished.append(trial.name)

    def trial_locked(self, trial):
        self.locked.append(trial.name)

    def trial_failed(self, trial, message):
        self.failed.append((trial.name, message))


@dataclasses.dataclass(frozen=True)
class ToyData:
    """A data source that gives the same data for every run."""

    def part(self, run, observer):
        return data()

    def auxiliary(self, run, observer):
        return None


def execute(runs, results, pool=None, observer=None, data_source=None, **keywords):
    """Performs runs in a pool, by default in this process; returns outcome and observer."""
    from ser.execution import executor
    from ser.execution.in_process import InProcess

    observer = observer or Recorder()
    jobs = [executor.Job(run, data_source or ToyData(), results, **keywords) for run in runs]
    return executor.execute(jobs, pool or (lambda trials: InProcess()), observer), observer


def pool_of(kind: str, results: Path, workers: int | None = None, gpus: float | None = None):
    """A function that makes a pool: "here", "local", or "ray" at RAY_ADDRESS."""
    from ser.execution.resources import Request

    request = Request(workers=workers, gpus=gpus)
    if kind == "local":
        from ser.execution.local import LocalProcesses

        return lambda trials: LocalProcesses(request, trials)
    if kind == "ray":
        from ser.execution.cluster import RayCluster

        return lambda trials: RayCluster(request, trials, results)
    return None


def main():
    """Runs all trials as the JSON on the command line says; for tests that kill the process."""
    request = json.loads(sys.argv[1])
    results, config = Path(request["results"]), ToyConfig(**request.get("config", {}))
    pool = pool_of(request.get("pool", "here"), results, request.get("workers"), request.get("gpus"))
    try:
        outcome, observer = execute([run(config, request.get("repeats", 2))], results, pool)
    except UserError as error:
        sys.exit(str(error))
    failures = [f"{failure.trial.name}: {failure.message}" for failure in outcome.failures]
    print(json.dumps({"done": outcome.done, "found": outcome.found, "failures": failures, "notes": observer.notes}))


def start(request: dict, log: Path, **environment):
    """Starts `main` in another process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SER_TOY_LOG": str(log), "TOY_LIGHT": "1", **environment}
    return subprocess.Popen(
        [sys.executable, "-c", "from tests.helpers import toy; toy.main()", json.dumps(request, default=str)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result_of(process, code: int = 0) -> dict:
    """Waits for a process of `start`; returns what it printed, or its error message."""
    out, err = process.communicate(timeout=180)
    assert process.returncode == code, err
    # Ray prints messages about lost nodes to standard output.
    return json.loads(out.splitlines()[-1]) if code == 0 else {"error": err}


def trial_names(results: Path) -> list[str]:
    """Finished trials."""
    return sorted(file.parent.name for file in find(results, "trial.json"))


def wait_for_trials(results: Path, number: int) -> None:
    """Waits until a number of trials are finished."""
    deadline = time.monotonic() + 90
    while len(trial_names(results)) < number:
        assert time.monotonic() < deadline, f"no {number} trials in time"
        time.sleep(0.02)


def wait_for_workers(log: Path, number: int) -> None:
    """Waits until a number of processes have started a trial."""
    deadline = time.monotonic() + 90
    while not log.exists() or len({line.split()[0] for line in log.read_text().splitlines()}) < number:
        assert time.monotonic() < deadline, f"no {number} workers in time"
        time.sleep(0.02)


def contents(results: Path) -> dict[str, bytes]:
    """Predictions of all finished trials."""
    folders = [file.parent for file in find(results, "trial.json")]
    return {folder.name: (folder / "predictions.parquet").read_bytes() for folder in folders}
