"""`ser list --cost`: trials, hours and GPU-hours before anything starts, measured where there are trials."""

import json
import math
import subprocess
import sys
from dataclasses import asdict

import pandas as pd
import pytest

import data_prep
from common.costs import FORWARD, Utterances, training
from common.splits import FixedTestSession, HoldOut, LeaveOneSessionOut, LeaveOneSpeakerOut, StratifiedKFold
from ser import cli, costs, registry
from ser.results.runs import FORMAT, as_record

PAPERS = {one.name: one for one in registry.all_papers()}


@pytest.mark.parametrize("scaled", [False, True], ids=["paper", "scaled"])
@pytest.mark.parametrize("name", registry.PAPERS)
def test_every_experiment_has_a_positive_finite_cost(name, scaled, tmp_path):
    found = costs.lines(PAPERS[name], PAPERS[name].experiments, tmp_path, scaled=scaled)
    assert {experiment.id for experiment in PAPERS[name].experiments} <= {line.name for line in found}
    for line in found:
        for hours in line.hours.values():
            assert 0 < hours.least <= hours.most < 1e7 and math.isfinite(hours.most), line
        assert line.trials >= 1


def test_steps_hold_every_network_on_both_devices_and_say_how_they_are_known():
    steps = costs.read_steps()
    wanted = {
        (name, network, device)
        for name in PAPERS
        for network in costs.networks(PAPERS[name])
        for device in costs.DEVICES
    }
    assert set(steps) == wanted, "run `python -m benchmarks steps --write`"
    for (_, network, device), step in steps.items():
        assert step.seconds_per_example > 0 and step.batch >= 1
        assert step.how.startswith("measured: " if device == "cpu" else ("measured: ", "estimated: "))
        assert step.gflop_per_example > 0 or network.startswith("k-means")


def work_of(name: str) -> list:
    paper = PAPERS[name.split("/")[0]]
    return costs.trial_work(paper, paper.experiment(name))


def test_mtap_by_hand():
    """Table 3: 2,280 utterances, a fifth of them held out, half of those validate; 50 epochs; 600 frames, not 400."""
    (work,) = work_of("mtap/table3/iemocap/apfl")
    assert work.network == "densenet169"
    assert work.most == pytest.approx(1.5 * (50 * (1824 + 228 / 3) + 228 / 3))
    assert work.least == pytest.approx(1.5 * (11 * (1824 + 228 / 3) + 228 / 3))


def test_dimensional_mtl_by_hand():
    """LSTM + LSTM, dropout chosen: nine networks of 50 epochs; sessions 1 to 3 learn, 4 validates, 5 tests."""
    works = work_of("dimensional_mtl/table5/iemocap/lstm-lstm-chosen-dropout")
    assert [work.network for work in works] == [
        "acoustic lstm hsf, 256 wide, batch 8", "text lstm, 256 wide, batch 8",
    ]  # fmt: skip
    fifth = 10039 / 5
    for work in works:
        assert work.most == pytest.approx(50 * 9 * (3 * fifth + fifth / 3) + fifth / 3)


def test_quaternion_at_by_hand():
    """Dual anti-transfer on TESS by speaker halves: 13 layers, two trainings each; the task's network runs besides."""
    (work,) = work_of("quaternion_at/table1/tess/quat-sw/act")
    once = 13 * 2 * 1000 * (1400 + 700 / 3) + 700 / 3  # halves of two speakers: two train, one validates, one tests
    assert work.network == "quaternion vgg16" and work.most == pytest.approx(once * 4 / 3)
    (real,) = work_of("quaternion_at/table1/tess/real-sw/act")
    assert real.most == pytest.approx(once + 13 * 2 * 1400 / 3), "a real network's task side is computed once"
    assert real.least == pytest.approx(13 * 2 * 21 * (1400 + 700 / 3) + 700 / 3 + 13 * 2 * 1400 / 3)


def test_quaternion_ats_pretrainings_are_those_that_its_rows_need():
    paper = PAPERS["quaternion_at"]
    found = dict(costs.pretraining_work(paper, paper.experiments))
    assert [name.removeprefix("ser pretrain quaternion_at ") for name in found] == [
        "rhemo", "speakers (real)", "speakers (quaternion)", "words (real)", "words (quaternion)",
    ]  # fmt: skip
    (words,) = found["ser pretrain quaternion_at words (real)"]
    assert words.most == pytest.approx(500 * (84000 + 24000 / 3) + 12000 / 3)
    alone = [experiment for experiment in paper.experiments if experiment.id == "quaternion_at/table1/tess/real/act"]
    assert not list(costs.pretraining_work(paper, alone)), "a plain real network starts from nothing"


def test_gmp_atl_by_hand():
    """Table 2: four of five sessions learn for 10, 20 and 20 epochs, 4.55 s each; one tests; nothing validates."""
    works = {work.network: work for work in work_of("gmp_atl/table2/iemocap/gmp-atl") if "states" not in work.shared}
    train, test, size = 0.8 * 5531, 0.2 * 5531, 419.3 * 60 / 5531 / 4 * 1.1
    assert works["stage 1"].most == works["stage 1"].least == pytest.approx(10 * train * size)
    assert works["stage 2"].most == pytest.approx(20 * train * size)
    assert works["stage 3"].most == pytest.approx((20 * train + test / 3) * size)
    assert works["k-means step"].most == int(100 * 0.8 * 419.3 * 60 * 50) // 10_000 == 10063
    assert works["k-means step"].least == 101 and works["k-means start"].most == 20


def test_mtl_aae_by_hand():
    """Table II: ten folds, eight learn; steps of 32 and 32 auxiliary pictures; ten alphas."""
    (work,) = work_of("mtl_aae/table2/iemocap/aae")
    pictures = math.ceil(0.8 * 5531 / 32) * 64
    assert work.network == "aae, several tasks"
    assert work.most == pytest.approx(10 * 100 * (pictures + 553.1 / 3) + 553.1 / 3)
    (plain,) = work_of("mtl_aae/fig2/iemocap/emotion-cnn-single")
    assert plain.most == pytest.approx(100 * (pictures / 2 + 553.1 / 3) + 553.1 / 3), "one alpha, nothing auxiliary"


def test_hours_are_examples_times_seconds_times_trials(tmp_path):
    paper = PAPERS["mtap"]
    experiment = paper.experiment("mtap/table3/iemocap/apfl")
    (line,) = costs.lines(paper, [experiment], tmp_path)
    (work,) = work_of(experiment.id)
    step = costs.read_steps()["mtap", "densenet169", "gpu"]
    assert line.trials == 25
    assert line.hours["gpu"].most == pytest.approx(25 * work.most * step.seconds_per_example / 3600)


def test_what_rows_share_is_counted_in_the_first(tmp_path):
    paper = PAPERS["gmp_atl"]
    rows = [paper.experiment(f"gmp_atl/{row}") for row in ("table2/iemocap/gmp-atl", "table3/iemocap/gmp-ce")]
    together = costs.lines(paper, rows, tmp_path)
    alone = [costs.lines(paper, [row], tmp_path)[0] for row in rows]
    assert together[0] == alone[0]
    last = next(work for work in work_of(rows[1].id) if work.network == "stage 3")
    seconds = costs.read_steps()["gmp_atl", "stage 3", "gpu"].seconds_per_example
    assert together[1].hours["gpu"].most == pytest.approx(5 * last.most * seconds / 3600)
    assert together[1].hours["gpu"].most < alone[1].hours["gpu"].most / 2


def write_trials(results, experiment, *, seconds, device="CPU", run=(), name="run1"):
    """A run folder as `ser.results.trials` writes it, as far as costs are read from it."""
    folder = results / experiment.id / name
    described_run = {
        "format": FORMAT, "paper": experiment.id.split("/")[0], "experiment": experiment.id, "changes": [],
        "flags": [], "deterministic": False, "corpus": experiment.corpus, "subset": experiment.subset,
        "auxiliary": None,
        "protocol": as_record(experiment.protocol), "config": asdict(experiment.config),
    } | dict(run)  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(described_run))
    for number, one in enumerate(seconds):
        trial = folder / f"fold--{number}"
        trial.mkdir()
        record = {"versions": {"device": device}, "seconds": {"total": one}}
        (trial / "trial.json").write_text(json.dumps(record))


def test_measured_wins_over_estimated_on_the_device_that_measured(tmp_path):
    paper = PAPERS["mtap"]
    experiment = paper.experiment("mtap/table3/iemocap/apfl")
    (estimate,) = costs.lines(paper, [experiment], tmp_path)
    write_trials(tmp_path, experiment, seconds=[3600, 7200, 360000], device="1 GPU")
    (line,) = costs.lines(paper, [experiment], tmp_path)
    assert line.hours["gpu"] == costs.Hours(50.0, 50.0, 3), "the median of three, times 25 trials"
    assert line.hours["cpu"] == estimate.hours["cpu"]


def test_other_runs_are_not_taken_for_the_papers(tmp_path):
    paper = PAPERS["mtap"]
    experiment = paper.experiment("mtap/table3/iemocap/apfl")
    # As a run really has it: settings of what is not in use go back to their defaults.
    scaled = asdict(paper.function(paper.resolve)(costs.config_of(paper, experiment, scaled=True))[0])
    different = {"config": scaled, "changes": ["epochs = 20 instead of 50"]}
    write_trials(tmp_path, experiment, seconds=[36.0], run=different, name="scaled")
    other = {**different, "config": scaled | {"epochs": 3}}
    write_trials(tmp_path, experiment, seconds=[1.0], run=other, name="shorter")
    write_trials(tmp_path, experiment, seconds=[2.0], run=different | {"corpus": "demo"}, name="demo")
    write_trials(tmp_path, experiment, seconds=[3.0], run={"flags": ["partial: 3 of 2280"]}, name="partial")
    write_trials(tmp_path, experiment, seconds=[4.0], run={"format": FORMAT - 1}, name="old")
    write_trials(tmp_path, experiment, seconds=[5.0], run={"deterministic": True}, name="slow")
    (tmp_path / experiment.id / "scaled" / "fold--0" / "damaged").mkdir()
    (line,) = costs.lines(paper, [experiment], tmp_path)
    assert not any(hours.measured for hours in line.hours.values())
    (line,) = costs.lines(paper, [experiment], tmp_path, scaled=True)
    assert line.hours["cpu"] == costs.Hours(5 * 36 / 3600, 5 * 36 / 3600, 1), "one run a fold, five folds"


SMALL = {"emodb": 535, "demo": 240}


@pytest.mark.parametrize(
    "protocol",
    [
        LeaveOneSpeakerOut(), LeaveOneSpeakerOut("stratified", 0.2), LeaveOneSpeakerOut("none"), StratifiedKFold(5),
        StratifiedKFold(10, by="speaker", validation="fold"), LeaveOneSessionOut(), LeaveOneSessionOut("half-speaker"),
        LeaveOneSessionOut("session"), LeaveOneSessionOut("none"), FixedTestSession(), FixedTestSession("5", "session"),
        HoldOut(), HoldOut("speaker"), HoldOut("session"), HoldOut("half-speaker"), HoldOut("session", in_turn=True),
    ],
    ids=repr,
)  # fmt: skip
def test_shares_are_those_of_the_folds(protocol):
    """Against folds really cut, of ten speakers in five sessions with as many utterances each."""
    corpus = data_prep.corpus("demo")
    rows = [
        {
            "utterance": f"{s}-{n}",
            "speaker": f"{s:02d}",
            "session": str(s // 2 + 1),
            "emotion": "sad" if n % 2 else "angry",
        }
        for s in range(10)
        for n in range(24)
    ]
    folds = protocol(pd.DataFrame(rows))
    assert len(rows) == corpus.utterances and corpus.speakers == 10 and corpus.sessions == 5
    shares = [sum(len(getattr(fold, part)) for fold in folds) / len(folds) / 240 for part in ("train", "validation")]
    assert shares == pytest.approx(protocol.shares(corpus), abs=0.01)


def test_training_without_validation_runs_all_epochs():
    held = Utterances("x", train=90, validation=9, test=9)
    assert training("n", held, 50, 10).least == 11 * 93 + 3 and training("n", held, 5, 10).least == 5 * 93 + 3
    for chosen in (training("n", Utterances("x", 90), 50, 10), training("n", Utterances("x", 90), 50)):
        assert chosen.least == chosen.most == 50 * 90
    assert FORWARD == 1 / 3


def ser(capsys, *arguments):
    code = cli.main(list(arguments))
    return code, capsys.readouterr()


def test_the_list_adds_up_and_says_what_is_measured(capsys, tmp_path):
    experiment = PAPERS["mtap"].experiment("mtap/table6/iemocap/resnet50-apfl")
    write_trials(tmp_path, experiment, seconds=[360.0] * 2)
    code, printed = ser(capsys, "list", "mtap", "--cost", "--table", "6", "--results", str(tmp_path))
    assert code == 0
    row = next(line for line in printed.out.splitlines() if experiment.id in line).split("│")
    assert [cell.strip() for cell in row[1:4]] == [experiment.id, "25", "2.5"]
    assert row[5].strip() == "2 trials on a processor"
    assert "Measured: the median time" in printed.out and "Estimate: examples learnt from" in printed.out
    assert "TFLOP/s" in printed.out and "all of it" in printed.out


def test_without_a_paper_tables_and_totals(capsys, tmp_path):
    code, printed = ser(capsys, "list", "--cost", "--results", str(tmp_path))
    assert code == 0 and "all papers" in printed.out and "mtap/table3" not in printed.out
    trials = sum(costs.count(paper, one) for paper in PAPERS.values() for one in paper.experiments)
    row = next(line for line in printed.out.splitlines() if "all papers" in line and "│" in line)
    assert int(row.split("│")[2].replace(",", "")) == trials + 5, "and five pretrainings"


def test_wrong_names_end_in_a_sentence(capsys):
    code, printed = ser(capsys, "list", "mtop", "--cost")
    assert code == 2 and "mtap" in printed.err
    code, printed = ser(capsys, "list", "mtap", "--cost", "--table", "9")
    assert code == 2 and "no table" in printed.err and len(printed.err.splitlines()) == 1
    code, printed = ser(capsys, "list", "mtap", "--scaled")
    assert code == 2 and "--cost" in printed.err


def test_costs_import_no_backend(tmp_path):
    for more in ([], ["--scaled"]):
        command = f"""
import sys
from ser import cli
assert cli.main(["list", "--cost", "--results", {str(tmp_path)!r}, *{more!r}]) == 0
heavy = {{"tensorflow", "keras", "jax", "torch"}} & set(sys.modules)
assert not heavy, heavy
"""
        subprocess.run([sys.executable, "-c", command], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("hours", "text"),
    [(1234.5, "1,200"), (98.7, "99"), (9.96, "10"), (3.14, "3.1"), (0.0123, "0.012"), (0.0001, "< 0.001")],
)
def test_hours_have_two_digits(hours, text):
    assert costs.rounded(hours) == text
    assert costs.span(costs.Hours(hours, hours)) == text
