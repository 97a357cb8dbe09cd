"""Bands of results: scaled stages on the embedded corpus (slow tier), and runs on EMODB (corpus tier).

A small random HuBERT learns little, so most bounds are for the training part: a stage reaches them only if frames,
labels and weights arrive in the right order.
"""

import json
import math
import os
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import data_prep
from common.artefacts import Artefacts
from common.contract import Context, Part, override
from common.corpus import gender_numbers
from common.features.store import FeatureStore
from common.metrics import confusion, ua
from papers.gmp_atl import data
from papers.gmp_atl.config import SCALED, GmpConfig
from papers.gmp_atl.experiments import PAPER, PAPER_PROTOCOL
from papers.gmp_atl.pseudo_labels import read_labels
from papers.gmp_atl.train import fit
from ser import cli
from ser.results.report import build
from tests.helpers import ROOT

CHANGES = {
    "longest_s": 1.0,
    "batch_size": 8,
    "epochs1": 8,
    "epochs2": 5,
    "epochs3": 10,
    "loss": "ce",
    "hubert_dropout": 0.0,
    "layerdrop": 0.0,
    "learning_rate": 2e-3,
    "tune": "transformer",
    "masked_only": False,
    "augment_probability": 0.0,
}
"""Stage 2 trains on all frames and starts from the HuBERT that made the labels, so it must be able to predict them."""


def entropy(labels):
    """Cross-entropy of a constant prediction, the frequencies of the labels, in nats."""
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    return float(-(shares * np.log(shares)).sum())


@pytest.fixture(scope="module")
def fitted_on_demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    config = override(GmpConfig(), {**SCALED, **CHANGES})
    table = data_prep.load("demo", "4class-excited").table
    features = FeatureStore(folder / "features", jobs=1).get(table, data.features(config)["waveform"])
    whole = Part(table, {"waveform": features}, tuple(sorted(table["emotion"].unique())))
    fold = next(iter(PAPER_PROTOCOL(table)))
    train, test = whole.take(fold.train), whole.take(fold.test)
    context = Context(seed=1, artefacts=Artefacts(folder / "artefacts"))
    return train, test, fit(config, train, whole.take(()), context), context.history, folder


def recall(fitted, part):
    """UA in percent."""
    columns = fitted.predict(part.without_labels())
    answers = np.stack([columns[f"p_{emotion}"] for emotion in part.classes], axis=1).argmax(axis=1)
    return 100 * float(ua(confusion(part.labels, answers, len(part.classes))))


@pytest.mark.slow
def test_every_stage_learns_more_than_the_frequencies_of_its_labels(fitted_on_demo):
    """Seen: 1.25 of 1.31, 6.76 of 8.26 and 0.88 of 1.38 nats; with labels of other utterances, stage 2 gave 8.25."""
    train, _, _, history, folder = fitted_on_demo
    (file,) = folder.rglob("labels.npz")
    frames = np.concatenate(list(read_labels(file).values()))
    emotion, gender = entropy(train.labels), entropy(gender_numbers(train.table, ""))
    assert history["stage1/loss"][-1] < 0.975 * (0.9 * emotion + 0.1 * gender)
    assert history["stage2/loss"][-1] < 0.88 * sum(entropy(labels) for labels in frames.T)
    for clusters in (8, 16, 32):
        assert history[f"stage2/clusters_{clusters}_loss"][-1] < 0.92 * math.log(clusters)
    assert history["stage3/loss"][-1] < 0.85 * emotion


@pytest.mark.slow
def test_emotion_is_recognised_in_training_data_but_hardly_in_test_data(fitted_on_demo):
    """Chance is 25 %. Observed: UA of 63 % on the training part, 34 % on the test session; above 60 something leaks."""
    train, test, fitted, _, _ = fitted_on_demo
    assert recall(fitted, train) > 40
    assert 15 < recall(fitted, test) < 60


@pytest.mark.slow
def test_pseudo_labels_are_stable_over_time_and_agree_between_scales(fitted_on_demo):
    """Neighbours share a label more often than any two frames (usually 1.4 to 2.1 times), and scales agree."""
    from sklearn.metrics import adjusted_mutual_info_score

    (file,) = fitted_on_demo[-1].rglob("labels.npz")
    labels = read_labels(file)
    frames = np.concatenate(list(labels.values()))
    for number, clusters in enumerate((8, 16, 32)):
        shares = np.bincount(frames[:, number], minlength=clusters) / len(frames)
        assert len(shares) == clusters and shares.min() > 0
        neighbours = np.mean([(one[1:, number] == one[:-1, number]).mean() for one in labels.values()])
        assert neighbours > 1.25 * np.square(shares).sum()
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert adjusted_mutual_info_score(frames[:, one], frames[:, other]) > 0.3


# --- whole runs

KILLED = """
import os, signal, sys
from ser import cli
from papers.gmp_atl import stages

report = stages.TrainingStages._report_epoch


def killing(self, epoch, epochs, logs):
    report(self, epoch, epochs, logs)
    if self._epochs_done == self.config.epochs1 + 1:
        os.kill(os.getpid(), signal.SIGKILL)


if sys.argv[1] == "kill":
    stages.TrainingStages._report_epoch = killing
sys.exit(cli.main(sys.argv[2:]))
"""


def run(corpus, folder, kill=False):
    """Runs one fold in a process of its own; with `kill`, it dies after the first of stage 2's two epochs."""
    experiment = "public/emodb/gmp-ams" if corpus == "emodb" else "table2/iemocap/gmp-atl"
    command = [
        sys.executable, "-c", KILLED, "kill" if kill else "live", "run", f"gmp_atl/{experiment}", "--corpus", corpus,
        "--scaled", "--deterministic", "--folds", "1", "--no-yardstick", "--set", "epochs1=1", "--set", "epochs2=2",
        "--set", "epochs3=1", "--results", str(folder / "results"), "--cache", str(folder / "cache"),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900)
    assert done.returncode == (-signal.SIGKILL if kill else 0), done.stderr[-3000:]


@pytest.mark.parametrize(
    "corpus", [pytest.param("demo", marks=pytest.mark.slow), pytest.param("emodb", marks=pytest.mark.corpus)]
)
def test_a_run_killed_in_stage_2_ends_with_the_same_result(corpus, tmp_path):
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    run(corpus, unbroken)
    run(corpus, broken, kill=True)
    assert not list(broken.rglob("predictions.parquet"))
    finished = {file: file.stat().st_mtime_ns for file in broken.rglob("artefact.json")}
    assert {file.parts[-3] for file in finished} == {"stage1", "pseudo_labels"}
    run(corpus, broken)
    assert {file: file.stat().st_mtime_ns for file in finished} == finished  # not made anew
    (one,), (other,) = unbroken.rglob("predictions.parquet"), broken.rglob("predictions.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(one), pd.read_parquet(other))
    histories = [json.loads(file.with_name("trial.json").read_bytes())["history"] for file in (one, other)]
    assert histories[0] == histories[1] and len(histories[0]["stage2/loss"]) == 2


@pytest.mark.corpus
def test_two_folds_of_emodb_finish_and_state_random_weights(tmp_path):
    """Chance is 14 %, and constant answers were usual once; observed: 54 %. Above 75, something leaks."""
    arguments = ["reproduce", "gmp_atl", "--table", "public", "--scaled", "--no-yardstick", "--folds", "2"]
    folders = ["--results", str(tmp_path / "results"), "--cache", str(tmp_path / "cache")]
    assert cli.main([*arguments, *folders]) == 0
    measured = [
        one for one in build.from_results([PAPER], tmp_path / "results").sections[0].comparisons if one.measured
    ]
    assert {one.cell.column for one in measured} == {"WAR", "UAR"}
    for one in measured:
        assert one.verdict == "scaled run" and one.measured.folds == 2 and 30 < one.measured.value < 75
        assert "random weights: HuBERT (random-tiny) is not pretrained" in one.flags
    for file in (tmp_path / "results").rglob("trial.json"):
        history = json.loads(file.read_bytes())["history"]
        assert {quantity.split("/")[0] for quantity in history} == {"stage1", "stage2", "stage3"}
