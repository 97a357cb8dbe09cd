"""A paper small enough to test the harness with: a nearest-mean classifier on one number an utterance."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd

from common.corpus import Corpus, Subset, build_table, fingerprint
from common.experiments import Experiment, Paper, Part
from common.splits import LeaveOneSpeakerOut
from common.trials import Run

CLASSES = ("angry", "sad")
SUBSET = Subset("2class", {"angry": 12, "sad": 12})
CORPUS = Corpus(
    "toy",
    "Toy corpus",
    "none",
    "none",
    "made in a test.",
    "none",
    "toy:read",
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
    log = os.environ.get("TOY_LOG")
    if log:
        with open(log, "a") as file:
            file.write(f"{os.getpid()} {context.seed}\n")
    with context.timed("fit"):
        time.sleep(config.sleep_s)
        values = np.array([train.features["number"][u] for u in train.table["utterance"]])
        means = np.array([values[train.labels == k].mean() for k in range(len(CLASSES))]) + config.shift
    context.history["loss"] = [1.0, 0.5]
    return Fitted(means, context.seed)


PAPER = Paper(
    name="toy",
    title="A toy",
    reference="nobody, never",
    experiments=(
        Experiment("toy/table1/toy/row", "Row", "toy", "2class", LeaveOneSpeakerOut(), ToyConfig(), repeats=2),
    ),
    features="toy:features",
    fit="toy:fit",
    load="toy:load",
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
    # Angry is 1, sad is 0; one utterance of each speaker lies on the wrong side.
    numbers = {
        row.utterance: float((row.emotion == "angry") != row.utterance.endswith("5")) for row in utterances.itertuples()
    }
    return Part(utterances, {"number": numbers}, CLASSES)


class Quiet:
    """An observer that remembers."""

    def __init__(self):
        self.finished, self.elsewhere = [], []

    def trial_started(self, trial):
        pass

    def epoch_ended(self, epoch, epochs, logs):
        pass

    def trial_finished(self, trial):
        self.finished.append(trial.name)

    def trial_elsewhere(self, trial):
        self.elsewhere.append(trial.name)


def main():
    """Runs all trials into the folder named on the command line; used by tests that kill it."""
    import sys

    from common.executor import execute

    outcome = execute(run(ToyConfig(sleep_s=float(sys.argv[2]))), data, Path(sys.argv[1]), Quiet())
    print(json.dumps({"done": outcome.done, "found": outcome.found}))


if __name__ == "__main__":
    main()
