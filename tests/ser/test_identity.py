"""A run is what it was made of: other audio, extractors, weights or backends make another run, or stop it."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from common.artefacts import Artefacts
from common.checksums import Checksums
from common.contract import PretrainedWeights
from common.errors import UserError
from common.features.store import FeatureStore
from data_prep.readers import emodb
from papers.mtap.experiments import PAPER as MTAP
from ser import cli, models, pretrained, registry
from ser.options import Options
from ser.progress import Progress
from ser.results.environment import environment
from ser.session import Session
from tests.helpers import ROOT, crash

ROW = crash.PAPER.experiments[0]


@pytest.fixture(autouse=True)
def _no_models(monkeypatch):
    """This paper makes no Keras models; looking for some after each trial takes a second in a process that is full."""
    monkeypatch.setattr("common.training.clear_models", lambda: None)


@pytest.fixture
def folder(tmp_path):
    crash.corpus(tmp_path)
    for file in (tmp_path / "emodb" / "wav").glob("*.wav"):
        os.utime(file, (1e9, 1e9))
    return tmp_path


def perform(folder, paper=crash.PAPER, **options):
    """Runs one fold of the row; returns its run and how many trials were done and found."""
    options = Options(
        root=folder / "emodb", results=folder / "results", cache=folder / "cache", partial=True, yardstick=False,
        jobs=1, executor="here", folds="1", **{"repeats": 1, **options},
    )  # fmt: skip
    with Progress() as observer:
        session = Session(options, observer)
        run = session.prepare(paper, paper.experiments[0])
        outcome = session.perform([run])
    return run, (outcome.done, outcome.found)


def test_audio_that_was_replaced_by_noise_is_another_run(folder):
    run, counts = perform(folder)
    assert counts == (1, 0) and perform(folder)[1] == (0, 1)
    for number, file in enumerate(sorted((folder / "emodb" / "wav").glob("*.wav"))):
        size = file.stat().st_size
        noise = np.random.default_rng(number).normal(0, 0.1, 4000)
        soundfile.write(file, noise, 16000, subtype="PCM_16")
        os.utime(file, (1e9, 1e9))
        assert file.stat().st_size == size
    other, counts = perform(folder)
    assert other.id != run.id and counts == (1, 0)


def test_known_checksums_are_used_until_a_file_changes(tmp_path, monkeypatch):
    files = [tmp_path / name for name in "ab"]
    for file in files:
        file.write_bytes(file.name.encode())
    monkeypatch.setattr("common.checksums.SETTLED_S", -1.0)
    found = Checksums(tmp_path / "kept").of("group", files)
    assert found == Checksums(tmp_path / "kept").of("group", files) and len(set(found)) == 2
    with monkeypatch.context() as patched:
        patched.setattr("common.checksums.checksum", lambda file: pytest.fail("read again"))
        assert Checksums(tmp_path / "kept").of("group", reversed(files)) == found[::-1]
    files[0].write_bytes(b"c")
    os.utime(files[0], (1e9, 1e9))
    changed = Checksums(tmp_path / "kept").of("group", [*files, tmp_path / "none"])
    assert changed[0] != found[0] and changed[1:] == [found[1], ""]


def test_a_file_that_has_just_changed_is_read_again(tmp_path):
    """File systems have coarse clocks: a change right after could leave the same size and times."""
    file = tmp_path / "a"
    file.write_bytes(b"a")
    Checksums(tmp_path / "kept").of("group", [file])
    assert not (tmp_path / "kept").exists()


def test_features_come_from_the_bytes_that_their_key_names(folder):
    table = emodb.read(folder / "emodb")
    table = table.assign(audio=Checksums(folder / "kept").of("emodb", table["path"]))
    file = folder / "emodb" / "wav" / f"{table['utterance'][0]}.wav"
    soundfile.write(file, np.full(4000, 0.1), 16000, subtype="PCM_16")
    (extractor,) = crash.features(crash.Config()).values()
    with pytest.raises(UserError, match="changed while the command was running"):
        FeatureStore(folder / "cache", 1).get(table, extractor)


def test_another_version_of_an_extractor_is_another_run(folder, monkeypatch):
    run, _ = perform(folder)
    (extractor,) = crash.features(crash.Config()).values()
    monkeypatch.setattr(type(extractor), "version", 2)
    other, counts = perform(folder)
    assert other.id != run.id and counts == (1, 0)


def test_backends_and_versions_of_the_suite_are_different_runs(folder, monkeypatch):
    run, _ = perform(folder)
    assert run.made_with["floatx"] == "float32" and run.made_with["image_data_format"] == "channels_last"
    assert dataclasses.replace(run, backend="jax").id != run.id
    monkeypatch.setattr("ser.results.runs.suite_version", lambda: "9.9")
    assert dataclasses.replace(run).id != run.id


def test_a_worker_on_another_backend_refuses_the_trial(folder, monkeypatch):
    monkeypatch.setattr("ser.execution.worker.backend_name", lambda: "jax")
    with pytest.raises(UserError, match=r"runs Keras on jax, .* KERAS_BACKEND="):
        perform(folder)


def test_settings_of_keras_json_change_nothing(tmp_path):
    """It says float64, channels first and one epoch; networks are float32 and have their channels last."""
    (tmp_path / "keras.json").write_text(
        json.dumps(
            {"floatx": "float64", "image_data_format": "channels_first", "epsilon": 0.1, "backend": "tensorflow"}
        )
    )
    program = (
        "from common.backend import start_backend; start_backend(); import keras\n"
        "print(keras.layers.Dense(1).compute_dtype, keras.layers.Conv2D(1, 1).data_format, keras.config.epsilon())\n"
        "print(getattr(keras.src.backend.config, 'max_epochs', lambda: None)())"
    )
    environment = {**os.environ, "KERAS_HOME": str(tmp_path), "KERAS_MAX_EPOCHS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.split() == ["float32", "channels_last", "1e-07", "None"], done.stderr


def test_trials_state_versions_code_and_weights(folder):
    run, _ = perform(folder)
    (file,) = run.folder(folder / "results").glob("*/trial.json")
    trial = json.loads(file.read_bytes())
    assert trial["versions"] == {**environment(), "device": "CPU"} and len(trial["versions"]["code"]) == 16
    if (ROOT / ".git").exists():
        assert len(trial["commit"]) == 40 and isinstance(trial["modified"], bool)
    assert trial["pretrained"] == []


def test_redo_repeats_the_trials_of_other_versions(folder, capsys):
    run, _ = perform(folder)
    (file,) = run.folder(folder / "results").glob("*/trial.json")
    trial = json.loads(file.read_bytes())
    trial["versions"]["numpy"] = "1.0"
    file.write_text(json.dumps(trial))
    assert perform(folder)[1] == (0, 1)
    assert perform(folder, redo=True)[1] == (1, 0)
    assert perform(folder, redo=True)[1] == (0, 1)
    file.write_text(json.dumps(trial))
    perform(folder, repeats=2)
    assert "1 of 2 trials were made with numpy 1.0 instead of" in " ".join(capsys.readouterr().err.split())


def test_missing_weights_stop_a_run_before_any_training(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SER_MODELS", str(tmp_path / "models"))
    words = ["run", "mtap/table3/iemocap/apfl", "--corpus", "demo", "--results", str(tmp_path / "results")]
    assert cli.main([*words, "--cache", str(tmp_path / "cache"), "--set", "backbone=resnet50"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "ImageNet weights of resnet50 (resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5, 95 MB; " in said
    assert "`ser fetch resnet50-imagenet`" in said and "--allow-random-weights" in said
    assert not list(tmp_path.rglob("trial.json")) and not list(tmp_path.rglob("*.npy"))


def test_a_worker_with_another_file_fails_the_trial_with_one_sentence(tmp_path):
    file = tmp_path / "vectors.txt"
    file.write_text("a 1")
    weights = PretrainedWeights("word vectors", file)
    paper = dataclasses.replace(MTAP, pretrained="", pretrainings=())
    checksums = Checksums(tmp_path / "kept")
    record = pretrained.record_of(weights, checksums)
    assert record["name"] == "vectors.txt"
    with pytest.raises(UserError, match=r"^The machine \S+ lacks word vectors \(vectors.txt\)"):
        pretrained.check_same([record], paper, None, Artefacts(tmp_path), checksums)

    class Here(type(paper)):
        def function(self, name):
            return lambda config: [weights]

    here = Here(**{item.name: getattr(paper, item.name) for item in dataclasses.fields(paper)} | {"pretrained": "a:b"})
    pretrained.check_same([record], here, None, Artefacts(tmp_path), checksums)
    file.write_text("b 2")
    with pytest.raises(UserError, match=r"has another file of word vectors \(vectors.txt\)"):
        pretrained.check_same([record], here, None, Artefacts(tmp_path), checksums)


@pytest.mark.parametrize(
    ("experiment", "setting"),
    [
        ("mtap/table1/emodb/softmax", "gamma=2"),
        ("mtap/table1/emodb/apfl", "bert=random"),
        ("dimensional_mtl/table3/iemocap/lstm-paa-hsf", "vectors=FILE"),
        ("mtl_aae/table2/iemocap/cnn", "prior=uniform"),
        ("gmp_atl/table2/iemocap/gmp-atl", "patience=3"),
        ("quaternion_at/table1/iemocap/real/act", "at_beta=2"),
    ],
)
def test_settings_without_effect_are_refused(tmp_path, capsys, experiment, setting):
    words = ["run", experiment, "--corpus", "demo", "--scaled", "--set", setting, "--auxiliary", "none"]
    words += ["--results", str(tmp_path / "results"), "--cache", str(tmp_path / "cache")]
    assert cli.main(words) == 2
    assert f"--set {setting} has no effect here" in capsys.readouterr().err
    assert not list(tmp_path.rglob("trial.json"))


def test_a_setting_that_some_rows_use_is_no_difference_of_the_others(tmp_path):
    options = Options(scaled=True, settings={"gamma": "2"}, results=tmp_path, cache=tmp_path)
    with Progress() as observer:
        resolver = Session(options, observer).resolver
    softmax, apfl = (resolver.config(MTAP, MTAP.experiment(f"mtap/table1/emodb/{row}")) for row in ("softmax", "apfl"))
    assert softmax.config.gamma == 0.0 and not any("gamma" in change for change in softmax.changes)
    assert apfl.config.gamma == 2.0 and "gamma = 2.0 instead of 0.1" in apfl.changes
    resolver.check_settings()


def test_a_kept_model_that_was_changed_is_refused(folder, monkeypatch):
    monkeypatch.setattr(registry, "paper", lambda name: crash.PAPER)
    run, _ = perform(folder, keep_models=True)
    (model,) = run.folder(folder / "results").glob("*/model")
    monkeypatch.setattr(crash, "load", lambda folder: "loaded", raising=False)
    assert models.load_model(model).fitted == "loaded"
    (model / "model.json").write_text("[0, 0]")
    with pytest.raises(UserError, match=r"model\.json is not the file that the trial wrote"):
        models.load_model(model)
