"""`ser list --cost`: trials, hours on a core and GPU-hours, estimated, or measured if there are finished trials."""

import json
import math
import subprocess
import sys
from dataclasses import asdict, replace

import pandas as pd
import pytest

import data_prep
from benchmarks import steps
from common.costs import Speech, Work
from common.splits import FixedTestSession, HoldOut, LeaveOneSessionOut, LeaveOneSpeakerOut, StratifiedKFold
from ser import cli, costs, registry
from ser.resolving import differences, keep_declared
from ser.results.runs import FORMAT

PAPERS = {one.name: one for one in registry.all_papers()}

SECONDS = 10039 / 5531 * 419.3 * 60 / 10039
"""Mean duration of IEMOCAP's utterances: 4.55 s."""


class AllMeasured(dict):
    """Rows of a steps.csv in which every unit of every step takes one second."""

    def __init__(self):
        super().__init__({("any", "step", "cpu"): (1.0, "here")})

    def get(self, key, default=None):
        return 1.0, "here"


def work_of(name: str) -> list[Work]:
    paper = PAPERS[name.split("/")[0]]
    return costs.trial_work(paper, paper.experiment(name))


def test_every_experiment_and_pretraining_has_hours_if_its_steps_are_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "read_steps", AllMeasured)
    for paper in (one for one in PAPERS.values() if one.cost):
        for scaled in (False, True):
            found = costs.lines(paper, paper.experiments, tmp_path, scaled=scaled)
            names = {experiment.id for experiment in paper.experiments if experiment.within is None}
            assert names == {line.name for line in found if line.table != "pretraining"}
            for line in found:
                assert line.trials >= 1, line
                for hours in line.hours.values():
                    assert 0 < hours.least <= hours.most < 1e7 and not hours.measured, line


def test_a_training_stops_early_only_if_something_validates():
    assert Speech(90, 0).training("a", 90, 50, 10) == Work("a", 11 * 90, 50 * 90)
    assert Speech(90, 0).training("a", 90, 5, 10) == Work("a", 5 * 90, 5 * 90)
    for work in (Speech(90, 0, validated=False).training("a", 90, 50, 10), Speech(90, 0).training("a", 90, 50)):
        assert work == Work("a", 50 * 90, 50 * 90)


def test_mtap_by_hand():
    """Table 3: 2,280 utterances of 600 frames (6 s); four of five sessions train; at most 50 epochs, patience 10."""
    (work,) = work_of("mtap/table3/iemocap/apfl")
    assert work.step == "backbone=densenet169"
    assert (work.least, work.most) == pytest.approx((11 * 1824 * 6, 50 * 1824 * 6))


def test_dimensional_mtl_by_hand():
    """Nine choices of dropout, at most 50 epochs each; sessions 1 to 3 train."""
    (work,) = work_of("dimensional_mtl/table5/iemocap/lstm-lstm-chosen-dropout")
    assert work.step.startswith("modality=both acoustic_network=lstm text_network=lstm level=hsf")
    assert work.most == pytest.approx(9 * 50 * 0.6 * 10039)


def test_mtl_aae_by_hand():
    """Ten alphas, at most 100 epochs; eight of ten folds train; a batch has 32 utterances and 32 auxiliary ones."""
    (work,) = work_of("mtl_aae/table2/iemocap/aae")
    assert work == Work("model=aae rows=128 frames=256 tasks=several", *(10 * n * 139 * 64 for n in (21, 100)))
    (alone,) = work_of("mtl_aae/fig2/iemocap/emotion-cnn-single")
    assert alone.most == 100 * 139 * 32, "one alpha, no auxiliary utterances"


def test_gmp_atl_by_hand():
    """Four of five sessions train for 10, 20 and 20 epochs; k-means makes 100 passes over 50 frames per second."""
    first, start, step, second, third = work_of("gmp_atl/table2/iemocap/gmp-atl")
    seconds = 0.8 * 5531 * SECONDS
    for work, epochs in ((first, 10), (second, 20), (third, 20)):
        assert work.step == "hubert=facebook/hubert-base-ls960"
        assert work.least == work.most == pytest.approx(epochs * seconds), "nothing validates"
    assert (start.least, start.most) == (20, 20) and (step.least, step.most) == (101, 100 * 50 * seconds // 10_000)
    (plain,) = work_of("gmp_atl/table3/iemocap/ce")
    assert plain == third


def test_quaternion_at_by_hand():
    """Dual anti-transfer on TESS: 13 layers, two trainings each, at most 1000 epochs; an utterance is padded to 4 s."""
    (work,) = work_of("quaternion_at/table1/tess/quat-sw/act")
    assert work.step == "network=quaternion width=1.0 shrink=1 anti_transfer=True"
    assert (work.least, work.most) == pytest.approx(tuple(13 * 2 * epochs * 1400 * 4 for epochs in (21, 1000)))
    autoencoder, heads, network = work_of("quaternion_at/table1/iemocap/quat-fold/turn")
    seconds = 0.6 * 4490 * SECONDS
    assert (autoencoder.least, heads.least) == pytest.approx((101 * 0.8 * seconds, 31 * 0.8 * seconds))
    assert network.most == pytest.approx(1000 * seconds)


def test_pretrainings_are_those_that_experiments_need(tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "read_steps", AllMeasured)
    paper = PAPERS["quaternion_at"]
    found = {line.name: line for line in costs.lines(paper, paper.experiments, tmp_path) if line.table == "pretraining"}
    assert {name.removeprefix("ser pretrain quaternion_at "): line.trials for name, line in found.items()} == {
        "rhemo": 1, "speakers": 2, "words": 2, "emotions": 2,
    }, "a task has a real and a quaternion network"  # fmt: skip
    real = next(one for one in paper.experiments if one.id == "quaternion_at/table1/tess/real-w/act")
    words, _ = costs.lines(paper, [real], tmp_path)
    assert words.hours["cpu"].most == pytest.approx(500 * 0.7 * 120_000 * 4 / 3600)
    plain = next(one for one in paper.experiments if one.id == "quaternion_at/table1/tess/real/act")
    assert len(costs.lines(paper, [plain], tmp_path)) == 1, "a plain real network starts from nothing"


def test_hours_are_work_times_seconds_times_trials(tmp_path, monkeypatch):
    rows = {("mtap", "backbone=densenet169", "gpu"): (0.1, "a GPU")}
    monkeypatch.setattr(costs, "read_steps", lambda: rows)
    paper = PAPERS["mtap"]
    (line,) = costs.lines(paper, [paper.experiment("mtap/table3/iemocap/apfl")], tmp_path)
    assert line.trials == 25
    assert line.hours["gpu"] == pytest.approx((25 * 11 * 1824 * 0.6 / 3600, 25 * 50 * 1824 * 0.6 / 3600, 0))
    assert all(map(math.isnan, line.hours["cpu"][:2])) and costs.cells([line]) == ["25", "not measured", "84 … 380"]
    other = costs.Line("other", "3", 1, {"cpu": costs.Hours(1.0, 2.0, 3), "gpu": costs.Hours(costs.NAN, costs.NAN)})
    assert costs.cells([line, other]) == ["26", "at least 1 (3 measured)", "at least 84"]


def test_a_paper_without_cost_or_without_rows_is_not_measured(tmp_path, monkeypatch, capsys):
    paper = PAPERS["quaternion_at"]
    without_cost = replace(paper, cost="")
    assert costs.trial_work(without_cost, paper.experiments[0]) == [] and not steps.steps_of(without_cost)
    found = costs.lines(without_cost, paper.experiments, tmp_path)
    assert costs.cells(found)[1:] == ["not measured", "not measured"]
    monkeypatch.setattr("ser.registry.paper", lambda name: without_cost)
    code, printed = ser(capsys, "list", "quaternion_at", "--cost", "--results", str(tmp_path))
    assert code == 0 and row_of(printed, "quaternion_at, all")[2:] == ["not measured", "not measured"]
    monkeypatch.setattr(costs, "read_steps", dict)
    found = costs.lines(paper, paper.experiments, tmp_path)
    assert costs.cells(found)[1:] == ["not measured", "not measured"]
    assert "| quaternion_at | 334 | not measured | not measured |" in costs.markdown([paper])


def test_notes_name_only_commands_of_the_package_unless_they_speak_of_a_clone(tmp_path):
    paper = PAPERS["mtap"]
    for note in costs.notes(costs.lines(paper, paper.experiments, tmp_path)):
        assert "benchmarks" not in note or "In a clone of the repository" in note


def write_trials(results, experiment, *, seconds, device="CPU", name="run1", **changed):
    """A run folder as `ser.results.trials` writes it, as far as costs are read from it."""
    folder = results / experiment.id / name
    run = {
        "format": FORMAT, "experiment": experiment.id, "changes": [], "flags": [], "deterministic": False,
        "corpus": experiment.corpus, "subset": experiment.subset, "config": asdict(experiment.config),
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(run | changed))
    for number, one in enumerate(seconds):
        (folder / f"fold--{number}").mkdir()
        record = {"versions": {"device": device}, "seconds": {"total": one}}
        (folder / f"fold--{number}" / "trial.json").write_text(json.dumps(record))


def test_finished_trials_replace_the_estimate_on_their_device(tmp_path, monkeypatch):
    paper = PAPERS["mtap"]
    experiment = paper.experiment("mtap/table3/iemocap/apfl")
    monkeypatch.setattr(costs, "read_steps", AllMeasured)
    (estimate,) = costs.lines(paper, [experiment], tmp_path)
    write_trials(tmp_path, experiment, seconds=[3600, 7200, 360000], device="1 GPU")
    (line,) = costs.lines(paper, [experiment], tmp_path)
    assert line.hours["gpu"] == (50.0, 50.0, 3), "the median of three, times 25 trials"
    assert line.hours["cpu"] == estimate.hours["cpu"]


def test_only_runs_as_asked_replace_an_estimate(tmp_path):
    paper = PAPERS["mtap"]
    experiment = paper.experiment("mtap/table3/iemocap/apfl")
    # As a run really has it: settings of what is not in use keep their declared values.
    scaled = keep_declared(costs.config_of(paper, experiment, scaled=True), experiment.config, experiment.protocol)
    changes = differences(scaled, experiment.config)
    write_trials(tmp_path, experiment, seconds=[36.0], changes=changes, name="scaled")
    shorter = differences(replace(scaled, epochs=3), experiment.config)
    write_trials(tmp_path, experiment, seconds=[1.0], changes=shorter, name="shorter")
    on_demo = ["on demo instead of iemocap", *changes]
    write_trials(tmp_path, experiment, seconds=[2.0], changes=on_demo, corpus="demo", name="demo")
    write_trials(tmp_path, experiment, seconds=[3.0], flags=["partial: 3 of 2280"], name="partial")
    write_trials(tmp_path, experiment, seconds=[4.0], format=FORMAT - 1, name="old")
    write_trials(tmp_path, experiment, seconds=[5.0], deterministic=True, name="slow")
    write_trials(tmp_path, experiment, seconds=[6.0], subset="4class", name="subset")
    write_trials(
        tmp_path, experiment, seconds=[7.0], changes=[*changes, "validation = none instead of half"], name="cut"
    )
    (tmp_path / experiment.id / "scaled" / "fold--0" / "damaged").mkdir()
    (tmp_path / experiment.id / "old" / "run.json").write_text("{")
    (line,) = costs.lines(paper, [experiment], tmp_path)
    assert not any(hours.measured for hours in line.hours.values())
    (line,) = costs.lines(paper, [experiment], tmp_path, scaled=True)
    assert line.hours["cpu"] == (5 * 36 / 3600, 5 * 36 / 3600, 1), "one run per fold, five folds"


def test_a_run_counts_whatever_pretrained_network_it_started_from(tmp_path):
    paper = PAPERS["quaternion_at"]
    experiment = paper.experiment("quaternion_at/table1/tess/quat/act")
    write_trials(tmp_path, experiment, seconds=[3600.0], changes=["RH-Emo of random weights"])
    assert costs.lines(paper, [experiment], tmp_path)[-1].hours["cpu"] == (1.0, 1.0, 1)


PROTOCOLS = (
    LeaveOneSpeakerOut(), LeaveOneSpeakerOut("stratified", 0.2), LeaveOneSpeakerOut("none"), StratifiedKFold(5),
    StratifiedKFold(10, by="speaker", validation="fold"), LeaveOneSessionOut(), LeaveOneSessionOut("half-speaker"),
    LeaveOneSessionOut("session"), LeaveOneSessionOut("none"), FixedTestSession(), FixedTestSession("5", "session"),
    HoldOut(), HoldOut("speaker"), HoldOut("session"), HoldOut("half-speaker"), HoldOut("session", in_turn=True),
)  # fmt: skip


def test_shares_are_those_of_folds_that_are_cut():
    """On ten speakers in five sessions with as many utterances each."""
    rows = [
        {"utterance": f"{s}-{n}", "speaker": f"{s:02d}", "session": str(s // 2 + 1), "emotion": ("sad", "angry")[n % 2]}
        for s in range(10)
        for n in range(24)
    ]
    corpus = data_prep.corpus("demo")
    assert (len(rows), 10, 5) == (corpus.utterances, corpus.speakers, corpus.sessions)
    for protocol in PROTOCOLS:
        folds = protocol(pd.DataFrame(rows))
        shares = [
            sum(len(getattr(fold, part)) for fold in folds) / len(folds) / 240 for part in ("train", "validation")
        ]
        assert shares == pytest.approx(protocol.shares(corpus), abs=0.01), protocol


def ser(capsys, *arguments):
    code = cli.main(list(arguments))
    return code, capsys.readouterr()


def row_of(printed, name):
    line = next(line for line in printed.out.splitlines() if f"│ {name} " in line)
    return [cell.strip() for cell in line.split("│")[1:-1]]


def test_the_list_of_a_paper_has_its_experiments(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "read_steps", AllMeasured)
    experiment = PAPERS["mtap"].experiment("mtap/table6/iemocap/resnet50-apfl")
    write_trials(tmp_path, experiment, seconds=[360.0] * 2)
    code, printed = ser(capsys, "list", "mtap", "--cost", "--table", "6", "--results", str(tmp_path))
    assert code == 0
    assert row_of(printed, experiment.id)[1:3] == ["25", "2.5 (2 measured)"]
    assert row_of(printed, "mtap, Table 6")[1] == row_of(printed, "mtap, these tables")[1] == "75"
    assert "median time of n finished trials" in printed.out and "Hours are estimates" in printed.out


def test_the_list_of_all_papers_has_their_tables_and_a_total(capsys, tmp_path):
    code, printed = ser(capsys, "list", "--cost", "--results", str(tmp_path))
    assert code == 0 and "mtap/table3" not in printed.out and "mtap, Table 3" in printed.out
    trials = sum(one.protocol.count(data_prep.corpus(one.corpus)) * one.repeats
                 for paper in PAPERS.values() for one in paper.experiments if one.within is None)  # fmt: skip
    assert row_of(printed, "all papers")[1] == f"{trials + 7:,}", "and seven pretrained networks"


def test_wrong_names_end_in_a_sentence(capsys):
    code, printed = ser(capsys, "list", "mtop", "--cost")
    assert code == 2 and "mtap" in printed.err
    code, printed = ser(capsys, "list", "mtap", "--cost", "--table", "9")
    assert code == 2 and "no table" in printed.err and len(printed.err.splitlines()) == 1
    code, printed = ser(capsys, "list", "mtap", "--scaled")
    assert code == 2 and "--cost" in printed.err


def test_costs_import_no_backend(tmp_path):
    command = f"""
import sys
from ser import cli
for more in ([], ["--scaled"]):
    assert cli.main(["list", "--cost", "--results", {str(tmp_path)!r}, *more]) == 0
heavy = {{"tensorflow", "keras", "jax", "torch"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", command], check=True, capture_output=True)


def test_hours_have_two_digits():
    for hours, text in (
        (1234.5, "1,200"),
        (98.7, "99"),
        (9.96, "10"),
        (3.14, "3.1"),
        (0.0123, "0.012"),
        (1e-4, "< 0.001"),
    ):
        assert costs.rounded(hours) == text
