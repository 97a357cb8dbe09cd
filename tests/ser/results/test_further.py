"""An experiment that is declared within another one is measured in that one's trials, without trials of its own."""

import dataclasses

import numpy as np
import pytest

from common.contract import Further
from common.results import Cell
from ser import api, registry
from ser.results.comparing import compare
from ser.results.condition import condition_of
from ser.results.reading import best_runs, read_experiment, read_run, read_runs
from tests.helpers import toy

ROW = toy.PAPER.experiments[0]
POINT = dataclasses.replace(
    ROW, id="toy/fig1/toy/shifted", title="Shifted", config=toy.ToyConfig(shift=0.25), within=(ROW.id, "shifted")
)
PAPER = dataclasses.replace(toy.PAPER, experiments=(ROW, POINT))


class Fitted(toy.Fitted):
    """Tries two classifiers and offers the predictions of the one that was not chosen, which is always wrong."""

    def further(self, part):
        columns = self.predict(part)
        yield Further("shifted", {"p_angry": columns["p_sad"], "p_sad": columns["p_angry"]}, ("tried as well",))
        yield Further("broken", {"p_angry": columns["p_sad"] * np.nan, "p_sad": columns["p_angry"]})


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    monkeypatch.setattr("common.training.clear_models", lambda: None)
    plain = toy.fit

    def fit(config, train, validation, context):
        (context.scratch / "large").write_text("weights")
        context.flags.append("the chosen one")
        fitted = plain(config, train, validation, context)
        return Fitted(fitted.means, fitted.seed)

    monkeypatch.setattr(toy, "fit", fit)


def make(results, **changes):
    run = dataclasses.replace(toy.run(**changes), paper=PAPER)
    toy.execute([run], results)
    return run.folder(results)


def test_further_predictions_become_the_run_of_the_other_experiment(tmp_path):
    folder = make(tmp_path, flags=("synthetic corpus: toy",))
    runs = {run.run["experiment"]: run for run in read_runs(PAPER, tmp_path)}
    assert list(runs) == [ROW.id, POINT.id]
    row, point = runs[ROW.id], runs[POINT.id]
    assert len(point.trials) == len(row.trials) == 8
    for own, other in zip(point.predictions, row.predictions, strict=True):
        np.testing.assert_array_equal(own["p_angry"], other["p_sad"])
        assert list(own.columns) == list(other.columns) and (own["label"] == other["label"]).all()
    assert point.run["title"] == "Shifted" and point.run["config"]["shift"] == 0.25
    assert {"synthetic corpus: toy", "tried as well"} == set(point.flags)
    assert "the chosen one" in row.flags and "broken diverged, and its predictions are left out" in row.flags
    # What the whole fit cost is not what this one of its networks costs.
    assert not {"seconds", "peak_memory_mib"} & point.trials[0].keys() and "seconds" in row.trials[0]
    assert condition_of(point, PAPER).as_declared and condition_of(row, PAPER).as_declared
    cells = [Cell(one.id, "1", "r", "c", "wa/2class/folds", np.nan, np.nan, one.id, "") for one in (ROW, POINT)]
    measured = [one.measured.value for one in compare(PAPER, cells, best_runs(PAPER, runs.values()))]
    assert measured[0] + measured[1] == pytest.approx(100) and measured[0] > 80
    # One may be read without the other, and by the folder of the run that was performed.
    assert [run.run["experiment"] for run in read_runs(PAPER, tmp_path, {POINT.id})] == [POINT.id]
    assert read_experiment(PAPER, POINT, {ROW.id: folder}).run == point.run
    assert read_experiment(PAPER, POINT, {}) is None


def test_further_predictions_that_are_damaged_are_left_out(tmp_path):
    folder = make(tmp_path)
    files = sorted(folder.glob("*/further/shifted.parquet"))
    assert len(files) == 8 and not list(folder.glob("*/further/broken.parquet"))
    files[0].write_bytes(b"damaged")
    files[1].unlink()
    assert len(read_experiment(PAPER, POINT, {ROW.id: folder}).trials) == 6
    assert len(read_run(folder).trials) == 8


def test_a_run_of_the_experiment_itself_counts_as_well(tmp_path):
    """The row is scaled here, and so is what it says about the other experiment; its own run is as declared."""
    make(tmp_path, config=toy.ToyConfig(shift=0.5), folds=2)
    own = dataclasses.replace(toy.run(config=POINT.config), paper=PAPER, experiment=POINT)
    toy.execute([own], tmp_path)
    assert best_runs(PAPER, read_runs(PAPER, tmp_path))[POINT.id].folders[0].parent == own.folder(tmp_path)


def test_large_files_of_a_fit_are_removed_unless_the_process_is_killed(tmp_path, monkeypatch):
    folder = make(tmp_path)
    assert not list(folder.rglob("large"))

    def killed(config, train, validation, context):
        (context.scratch / "large").write_text("weights")
        raise KeyboardInterrupt

    other = tmp_path / "other"
    monkeypatch.setattr(toy, "fit", killed)
    with pytest.raises(KeyboardInterrupt):
        make(other)
    assert len(list(other.rglob(".scratch/speaker-A--1/large"))) == 1
    found = []

    def continued(config, train, validation, context):
        found.append((context.scratch / "large").is_file())
        raise ValueError("this fit fails")

    monkeypatch.setattr(toy, "fit", continued)
    make(other)
    assert found[0] and not list(other.rglob("large"))


def test_whole_tables_are_performed_by_the_other_experiment():
    assert registry.performed(PAPER, [POINT]) == registry.performed(PAPER, [POINT, ROW]) == [ROW]


def test_a_table_is_reproduced_by_the_trials_of_the_other_experiments_and_a_claim_by_its_own(monkeypatch):
    asked = []

    class Session:
        def __init__(self, options, observer):
            self.failures = []

        def run_all(self, chosen):
            asked.extend(experiment.id for _, experiments in chosen for experiment in experiments)
            return {}, {asked[0]: "its corpus is not here"}

    monkeypatch.setattr("ser.session.Session", Session)
    report = api.reproduce("quaternion_at", ["fig2"])
    assert len(asked) == 24 and asked[0] == "quaternion_at/table1/iemocap/real-s/rnd"
    verdicts = [one.verdict for section in report.sections for one in section.comparisons if one.cell.table == "fig2"]
    assert verdicts[:13] == ["corpus absent"] * 13 and len(verdicts) >= 312
    asked.clear()
    api.reproduce("quaternion_at", claims=["early-layer-helps-quaternion"])
    assert "quaternion_at/fig2/iemocap/quat-s/rnd/layer02" in asked and len(asked) == 12 + 6
