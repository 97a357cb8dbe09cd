"""Which trials of a run are used, and which of several runs."""

import json

import pandas as pd
import pytest

from common.errors import UserError
from ser.results.reading import best_runs, differing_versions, read_run, read_runs, runs_of
from tests.helpers import toy

VERSIONS = {"python": "3.12.1", "keras": "3.12.0", "backend": "tensorflow", "tensorflow": "2.20.0", "suite": "1.0"}


@pytest.fixture(autouse=True)
def _no_models(monkeypatch):
    monkeypatch.setattr("common.training.clear_models", lambda: None)


def make(results, **keywords):
    run = toy.run(**keywords)
    toy.execute([run], results)
    return run.folder(results)


def edit(file, **values):
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def with_versions(folder, versions, **changes):
    """Writes versions into all trials; those of the named speakers get other ones."""
    for file in folder.glob("*/trial.json"):
        speaker = file.parent.name[len("speaker-")]
        edit(file, versions={**versions, **changes.get(speaker, {})}, finished=f"2024-01-01T00:0{speaker == 'A'}:00")


@pytest.mark.parametrize(
    ("changes", "used", "left_out"),
    [
        ({}, "ABCD", ()),
        ({"A": {"keras": "3.9.0"}}, "BCD", ("1 trial left out: keras 3.9.0 instead of 3.12.0",)),
        (
            {name: {"backend": "jax", "jax": "0.8.0"} for name in "BCD"},
            "BCD",
            ("1 trial left out: backend tensorflow instead of jax",),
        ),
        # Of groups of one size, the one that was finished last.
        (
            {"A": {"suite": "1.1", "code": "ab"}, "B": {"suite": "1.1", "code": "ab"}},
            "AB",
            ("2 trials left out: suite 1.0 instead of 1.1",),
        ),
        (
            {"A": {"device": "CPU"}, "B": {"device": "1 GPU"}},
            "CD",
            (
                "1 trial left out: device CPU instead of unknown",
                "1 trial left out: device 1 GPU instead of unknown",
            ),
        ),
    ],
)
def test_only_trials_of_equal_versions_are_used(tmp_path, changes, used, left_out):
    folder = make(tmp_path, repeats=1)
    with_versions(folder, VERSIONS, **changes)
    run = read_run(folder)
    assert "".join(trial["fold"][-1] for trial in run.trials) == used
    assert run.left_out == left_out
    assert [one["speaker"].unique().tolist() for one in run.predictions] == [[name] for name in used]
    assert [one.name[-4] for one in run.folders] == list(used)


def test_a_library_of_one_side_alone_is_named_if_nothing_else_differs():
    assert differing_versions({"versions": {**VERSIONS, "device": "CPU"}}, {"versions": VERSIONS}) == [
        "device CPU instead of unknown"
    ]
    assert differing_versions({}, {"versions": {"keras": "3"}}) == ["keras unknown instead of 3"]


def test_predictions_are_those_that_were_written(tmp_path):
    folder = make(tmp_path, repeats=1)
    run = read_run(folder)
    for trial, table in zip(run.folders, run.predictions, strict=True):
        pd.testing.assert_frame_equal(table, pd.read_parquet(trial / "predictions.parquet"))


def test_the_best_run_is_as_declared_then_complete_then_new(tmp_path):
    def best():
        return best_runs(toy.PAPER, read_runs(toy.PAPER, tmp_path))["toy/table1/toy/row"].folders[0].parent

    whole = make(tmp_path, config=toy.ToyConfig(sleep_s=1e-9))
    assert best() == whole
    part = make(tmp_path, config=toy.ToyConfig(sleep_s=2e-9), folds=3)
    assert best() == whole  # the newer one is incomplete
    newer = make(tmp_path, config=toy.ToyConfig(sleep_s=3e-9))
    assert best() == newer
    declared = make(tmp_path, folds=1)
    assert best() == declared  # though trials are missing
    edit(part / "run.json", changes=[])
    assert best() == declared
    assert set(runs_of("toy/table1/toy/row", tmp_path)) == {whole, part, newer, declared}


def test_runs_of_another_format_are_left_out_unless_there_is_no_other(tmp_path):
    old = make(tmp_path, config=toy.ToyConfig(shift=0.5))
    edit(old / "run.json", format=1)
    with pytest.raises(UserError, match="format 1"):
        read_runs(toy.PAPER, tmp_path)
    make(tmp_path)
    (run,) = read_runs(toy.PAPER, tmp_path)
    assert run.folders[0].parent != old and read_runs(toy.PAPER, tmp_path, {"toy/table1/toy/other"}) == []
    name = "toy/table1/toy/row"
    assert runs_of(name, tmp_path) == [run.folders[0].parent] and runs_of(name, tmp_path, outdated=True) == [old]
