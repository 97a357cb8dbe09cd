"""Stages: kept ones are not trained again, a killed run ends with the same result, codebooks use training data only."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.artefacts import Artefacts
from common.contract import Context, Part
from common.corpus import COLUMNS
from papers.gmp_atl.config import GmpConfig
from papers.gmp_atl.pseudo_labels import read_labels
from papers.gmp_atl.stages import TrainingStages
from papers.gmp_atl.train import fit
from papers.gmp_atl.waveforms import frame_count
from tests.helpers import ROOT, gmp_atl_data
from tests.helpers.eagerly import eagerly

eager = pytest.fixture(scope="module")(eagerly)

DROPOUT = {name: getattr(GmpConfig(), name) for name in ("layerdrop", "hubert_dropout")}
"""Switched on: a resumed run must draw the same random numbers as an unbroken one."""

KILLED = """
import sys, pathlib
import tensorflow as tf
tf.config.run_functions_eagerly(True)
from tests.papers.gmp_atl import test_stages
test_stages.run(pathlib.Path(sys.argv[1]), sys.argv[2])
"""


def part(count, seed):
    generator = np.random.default_rng(seed)
    table = pd.DataFrame({"utterance": [f"u{seed}-{k}" for k in range(count)]}).reindex(columns=list(COLUMNS))
    table["emotion"] = [("angry", "sad")[k % 2] for k in range(count)]
    table["gender"], table["path"] = "female", "nowhere.wav"
    waveforms = {u: generator.normal(size=3000 + 400 * k).astype("f4") for k, u in enumerate(table["utterance"])}
    return Part(table, {"waveform": waveforms}, ("angry", "sad"))


class WatchedArtefacts(Artefacts):
    """Records which artefacts are made, and may kill the process before one is stored."""

    def __init__(self, root: Path, kill_in: str):
        super().__init__(root)
        self.kill_in, self.made = kill_in, []

    def get(self, name, made_of, make):
        def recorded(folder):
            if name.endswith(self.kill_in):
                make(folder)  # the worst moment: the work is done, but the artefact does not exist yet
                os.kill(os.getpid(), signal.SIGKILL)
            self.made.append(name.split("/")[1])
            return make(folder)

        return super().get(name, made_of, recorded)


def run(root, kill_in="nowhere", test_seed=2):
    artefacts = WatchedArtefacts(root, kill_in)
    context = Context(seed=5, artefacts=artefacts)
    config = gmp_atl_data.reduced(batch_size=6, pooling="mean", stage2_start="stage1", **DROPOUT)
    fitted = fit(config, part(6, 0), part(0, 1), context)
    columns = fitted.predict(part(4, test_seed).without_labels())
    return {"made": artefacts.made, "angry": columns["p_angry"].tolist(), "history": context.history}


def run_killed(root, kill_in):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    command = [sys.executable, "-c", KILLED, str(root), kill_in]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, cwd=ROOT)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, eager):
    root = tmp_path_factory.mktemp("whole")
    return root, run(root)


def test_a_killed_run_continues_after_the_last_finished_stage_and_ends_the_same(whole, tmp_path):
    _, unbroken = whole
    assert unbroken["made"] == ["stage1", "pseudo_labels", "stage2", "stage3"]
    run_killed(tmp_path, "stage2")
    resumed = run(tmp_path)
    assert resumed["made"] == ["stage2", "stage3"]
    assert resumed["history"] == unbroken["history"] and resumed["angry"] == unbroken["angry"]


def test_stages_do_not_depend_on_test_data(whole):
    """With another test part, every stage is found again and none is made."""
    root, first = whole
    books = {file: file.read_bytes() for file in root.rglob("codebook-*.npy")}
    assert sorted(file.name for file in books) == ["codebook-3.npy", "codebook-5.npy", "codebook-6.npy"]
    other = run(root, test_seed=9)
    assert other["made"] == [] and other["angry"] != first["angry"]
    assert {file: file.read_bytes() for file in root.rglob("codebook-*.npy")} == books


def test_every_frame_of_the_training_part_has_labels(whole):
    root, _ = whole
    (file,) = root.rglob("labels.npz")
    labels = read_labels(file)
    assert {u: len(frames) for u, frames in labels.items()} == {
        f"u0-{k}": frame_count(3000 + 400 * k) for k in range(6)
    }
    assert (np.concatenate(list(labels.values())).max(axis=0) <= [2, 4, 5]).all()
    assert not list(root.rglob("frames.f16"))  # 1.9 GB at full size
    for clusters in (3, 5, 6):
        (book,) = root.rglob(f"codebook-{clusters}.npy")
        assert np.load(book).shape == (clusters, 32)


def test_a_stage_s_key_contains_everything_that_can_change_it(tmp_path):
    class Recording(Artefacts):
        def get(self, name, made_of, make):
            raise StopIteration(json.dumps(made_of, sort_keys=True))

    config, train = gmp_atl_data.reduced(), gmp_atl_data.part(3)

    def key(stage, config=config, train=train, seed=1):
        stages = TrainingStages(config, train, train.take(()), Context(seed), Recording(tmp_path))
        with pytest.raises(StopIteration) as raised:
            stages._artefact(stage, [], None)
        return raised.value.value

    # The rows of Table 4 share stage 1, but not the pseudo-labels.
    deeper = dataclasses.replace(config, layer=-2)
    assert key("stage1", deeper) == key("stage1") and key("pseudo_labels", deeper) != key("pseudo_labels")
    # The rows of Table 3 with pseudo-labels share everything before stage 3.
    plain = dataclasses.replace(config, loss="ce")
    for stage in ("stage1", "pseudo_labels", "stage2"):
        assert key(stage, plain) == key(stage)
    assert key("stage3", plain) != key("stage3")
    assert key("stage1", seed=2) != key("stage1")
    assert key("pseudo_labels", train=train.take(("u0-0", "u0-1"))) != key("pseudo_labels")
