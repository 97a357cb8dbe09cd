"""What a run is, recomputed from what it stored: no edit of `changes`, and no mixture of trials, gives a verdict."""

import dataclasses
import json

import pytest

from common.contract import Pretraining
from ser.results.report import build
from ser.results.reported import COLUMNS
from tests.helpers import toy

VERDICTS = {"agrees", "differs", "undecided"}
SCALED = toy.ToyConfig(shift=0.5)


@pytest.fixture(autouse=True)
def _no_models(monkeypatch):
    """These papers make no Keras models; looking for some after each trial takes a second in a process that is full."""
    monkeypatch.setattr("common.training.clear_models", lambda: None)


@pytest.fixture(autouse=True)
def _reported(tmp_path, monkeypatch):
    lines = [",".join(COLUMNS), "t1/row/wa,1,Row,WA,wa/2class/folds,83.33,0.05,toy/table1/toy/row,"]
    (tmp_path / "reported.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(type(toy.PAPER), "reported", property(lambda self: tmp_path / "reported.csv"))


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results"


def make(results, run=None, **keywords):
    run = run or toy.run(**keywords)
    toy.execute([run], results)
    return run.folder(results)


def edit(file, **values):
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def shown(results, paper=toy.PAPER):
    """The report's section, and its first comparison."""
    (section,) = build.from_results([paper], results).sections
    return section, section.comparisons[0]


def test_a_run_as_declared_gets_a_verdict(results):
    make(results)
    assert shown(results)[1].verdict == "agrees"


def test_emptied_changes_give_no_verdict(results):
    edit(make(results, config=SCALED, changes=["shift = 0.5 instead of 0.0"]) / "run.json", changes=[])
    assert shown(results)[1].verdict not in VERDICTS


@pytest.mark.parametrize("stored", [{"corpus": "other"}, {"subset": "other"}, {"auxiliary": {"corpus": "a", "subset": "b"}}])
def test_data_that_are_not_the_declared_ones_give_no_verdict(results, stored):
    edit(make(results) / "run.json", **stored)
    assert shown(results)[1].verdict not in VERDICTS


def test_a_protocol_that_is_not_the_declared_one_gives_no_verdict(results):
    run = toy.run()
    make(results, dataclasses.replace(run, protocol=type(run.protocol)("none")))
    assert shown(results)[1].verdict not in VERDICTS


def test_a_run_whose_declaration_has_changed_gives_no_verdict(results):
    folder = make(results)
    config = json.loads((folder / "run.json").read_text())["config"]
    edit(folder / "run.json", config={**config, "gone": 1})
    assert shown(results)[1].verdict not in VERDICTS


def test_random_weights_in_the_place_of_a_pretrained_network_give_no_verdict(results):
    """The config still says "newest", as declared; only `changes` says that there was none."""
    folder = make(results)
    config = json.loads((folder / "run.json").read_text())["config"]
    edit(folder / "run.json", config={**config, "start": "newest"})
    assert shown(results, with_pretraining())[1].verdict not in VERDICTS


def with_pretraining():
    """The toy paper, whose experiment starts from the newest network of a pretraining."""
    config = dataclasses.make_dataclass("Config", [("start", str, "newest")], bases=(toy.ToyConfig,), frozen=True)()
    experiment = dataclasses.replace(toy.PAPER.experiments[0], config=config)
    pretraining = Pretraining("mean", "mean loudness", "start", "toy", "2class", ":make", ":features")
    return dataclasses.replace(toy.PAPER, experiments=(experiment,), pretrainings=(pretraining,))


def test_folds_of_two_backends_are_not_averaged(results):
    folder = make(results, repeats=1)
    file = folder / "speaker-A--1" / "trial.json"
    versions = json.loads(file.read_text())["versions"]
    edit(file, versions={**versions, "backend": "jax"})
    section, first = shown(results)
    assert first.measured.folds == 3 and first.verdict not in VERDICTS
    assert any("1 trial left out: backend jax instead of" in line for line in section.conditions)


def test_the_report_says_that_it_leaves_runs_out(results):
    make(results, config=SCALED)
    make(results)
    line = "1 other run of this experiment is not shown: `ser report --runs toy/table1/toy/row`"
    assert any(line in condition for condition in shown(results)[0].conditions)
