"""What a run is, recomputed from what it stored: no edit of `changes`, and no mixture of trials, gives a verdict."""

import dataclasses
import json

import pytest

from common.artefacts import Artefacts
from common.checksums import Checksums
from common.contract import Pretraining
from common.results import Condition, RunResults
from ser import registry
from ser.options import Options
from ser.resolving import ConfigResolver
from ser.results.condition import alike, condition_of
from ser.results.report import build
from ser.results.reported import COLUMNS
from ser.results.runs import as_record
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


@pytest.mark.parametrize(
    "stored", [{"corpus": "other"}, {"subset": "other"}, {"auxiliary": {"corpus": "a", "subset": "b"}}]
)
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
    folder = make(results)
    config = json.loads((folder / "run.json").read_text())["config"]
    edit(folder / "run.json", config={**config, "start": "random"}, changes=[])
    assert shown(results, with_pretraining())[1].verdict == "random weights"


def with_pretraining():
    """The toy paper, whose experiment starts from the newest network of a pretraining."""
    config = dataclasses.make_dataclass("Config", [("start", str, "newest")], bases=(toy.ToyConfig,), frozen=True)()
    experiment = dataclasses.replace(toy.PAPER.experiments[0], config=config)
    pretraining = Pretraining("mean", "mean loudness", "start", "toy", "2class", ":make", ":features")
    return dataclasses.replace(toy.PAPER, experiments=(experiment,), pretrainings=(pretraining,))


def test_pretrained_files_and_runs_in_an_older_format_are_stated(results):
    folder = make(results)
    edit(folder / "run.json", pretrained=[{"title": "BERT", "name": "bert-base-uncased", "checksum": "0f" * 16}])
    old = make(results, config=toy.ToyConfig(shift=0.5))
    edit(old / "run.json", format=1)
    conditions = shown(results)[0].conditions
    assert f"From BERT: bert-base-uncased, checksum {'0f' * 16}" in conditions
    assert "Not read, because written in an older format: 1" in conditions


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


def stored(experiment, config=None, trials=1, **values):
    """A run of one fold and one repeat, as it is read from disk."""
    record = {
        "experiment": experiment.id, "corpus": experiment.corpus, "subset": experiment.subset, "folds": ["one"],
        "declared_repeats": experiment.repeats, "config": dataclasses.asdict(config or experiment.config),
        "protocol": as_record(experiment.protocol), "target": as_record(experiment.target), "auxiliary": None,
        "flags": [], "changes": [], "synthetic": False, **values,
    }  # fmt: skip
    finished = [{"fold": "one", "repeat": repeat, "flags": []} for repeat in range(1, trials + 1)]
    return RunResults(json.loads(json.dumps(record)), finished, [])


def test_several_words_can_hold_at_once():
    experiment = toy.PAPER.experiments[0]
    run = stored(experiment, toy.ToyConfig(0.5, 2.0), 0, corpus="demo", synthetic=True, flags=["partial: 1 of 2"])
    found = condition_of(run, toy.PAPER)
    assert found.kinds == ("synthetic", "scaled", "modified", "partial", "incomplete")
    assert found.label == "synthetic, scaled, modified, partial, incomplete (0 of 1)"
    assert found.sentences == (
        "Other corpus: demo instead of toy", "Scaled: shift = 0.5 instead of 0.0",
        "Modified: sleep_s = 2.0 instead of 0.0", "Incomplete: 0 of 1 trials", "Partial: 1 of 2",
    )  # fmt: skip
    declared = condition_of(stored(experiment, trials=2), toy.PAPER)
    assert declared.as_declared and declared.label == "as declared" and declared.sentences == ()
    half = condition_of(stored(experiment, trials=1), toy.PAPER)
    assert half.unchanged and not half.as_declared and half.label == "incomplete (1 of 2)"


@pytest.mark.parametrize(
    ("paper", "values", "scaled"),
    [
        ("mtap", {}, False),
        ("mtap", {"epochs": 20}, False),  # one field has the value of a scaled run by chance
        ("mtap", {"epochs": 1, "frames": 40}, True),  # set by hand, together with --scaled
        ("mtap", {"epochs": 10, "patience": 10}, True),  # the demonstration
    ],
)
def test_fields_that_are_set_by_hand_are_told_from_those_of_a_scaled_run(paper, values, scaled):
    paper = registry.paper(paper)
    experiment = paper.experiments[0]
    config = dataclasses.replace(experiment.config, **{**(paper.scaled if scaled else {}), **values})
    found = condition_of(stored(experiment, config), paper)
    assert bool(found.scaled) == scaled
    by_hand = {name for name in values if values[name] not in (paper.scaled[name], paper.demo_changes.get(name))}
    assert {text.split(" = ")[0] for text in found.modified} == (by_hand if scaled else set(values))


@pytest.mark.parametrize("name", registry.PAPERS)
def test_every_experiment_is_as_declared_or_scaled(name, tmp_path):
    paper = registry.paper(name)
    resolver = ConfigResolver(Options(scaled=True), Artefacts(tmp_path), Checksums(tmp_path))
    for experiment in paper.experiments:
        auxiliary = dict(zip(("corpus", "subset"), experiment.auxiliary.split("/"), strict=False)) or None
        auxiliary = auxiliary if experiment.auxiliary else None
        config = {**dataclasses.asdict(experiment.config)}
        config |= {one.field: "0" * 16 for one in paper.pretrainings if config[one.field] == "newest"}
        config = dataclasses.replace(experiment.config, **config)
        declared = condition_of(stored(experiment, config, experiment.repeats, auxiliary=auxiliary), paper)
        assert declared.as_declared, (experiment.id, declared)
        scaled = resolver.config(paper, experiment).config
        found = condition_of(stored(experiment, scaled, paper.scaled_repeats, auxiliary=auxiliary), paper)
        assert found.scaled and found.complete, (experiment.id, found)
        # Weights that are not on this machine are the only other difference.
        assert not found.modified and all("random" in text or "words = we" in text for text in found.random), found


def test_a_digest_is_what_newest_stands_for_and_problems_of_its_network_are_stated():
    paper = with_pretraining()
    (experiment,) = paper.experiments
    made = dataclasses.replace(experiment.config, start="0123456789abcdef")
    assert condition_of(stored(experiment, made, 2), paper).as_declared
    origin = "mean loudness 0123456789abcdef, trained on toy/2class"
    assert condition_of(stored(experiment, made, 2, flags=[origin]), paper).as_declared
    partial = condition_of(stored(experiment, made, 2, flags=[f"{origin}: partial: 4 of 535"]), paper)
    assert partial.modified == ("mean loudness not made as the paper's",)
    none = condition_of(stored(experiment, dataclasses.replace(made, start="none"), 2), paper)
    assert none.modified == ("start = none instead of newest",)


def test_a_control_with_random_weights_is_as_declared():
    paper = registry.paper("quaternion_at")
    control = paper.experiment("quaternion_at/table1/tess/quat-random/turn")
    run = stored(control, trials=control.repeats, flags=["random weights: RH-Emo"])
    assert condition_of(run, paper).as_declared
    other = stored(control, trials=control.repeats, flags=["random weights: another network"])
    assert condition_of(other, paper).kinds == ("random weights",)


def test_stored_changes_that_cannot_be_recomputed_stay():
    changes = ["epochs of another kind", "shift = 0.5 instead of 0.0", "on demo instead of toy"]
    found = condition_of(stored(toy.PAPER.experiments[0], trials=2, changes=changes), toy.PAPER)
    assert found.modified == ("epochs of another kind",) and not found.corpus
    flags = ["random weights, because these are not here: a file (`ser fetch it`)"]
    assert condition_of(stored(toy.PAPER.experiments[0], trials=2, flags=flags), toy.PAPER).random == tuple(flags)


def test_runs_are_alike_if_they_deviate_in_the_same_way():
    one = Condition(
        corpus="demo instead of emodb",
        scaled=("frames = 300 instead of 400", "epochs = 20 instead of 50"),
        modified=("bins = 40 instead of 400",),
    )
    other = Condition(
        corpus="demo instead of savee", scaled=("frames = 300 instead of 500",), modified=("bins = 40 instead of 300",)
    )
    assert alike(one, other) and alike(one, dataclasses.replace(one, trials=1, of_trials=5))
    assert one.deviation == other.deviation
    for change in (
        {"corpus": ""}, {"scaled": ()}, {"scaled": ("frames = 200 instead of 400",)}, {"partial": ("partial",)},
        {"modified": ("bins = 50 instead of 400",)},
    ):  # fmt: skip
        assert not alike(one, dataclasses.replace(one, **change))
