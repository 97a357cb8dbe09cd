import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from common.agreement import agreement
from common.errors import UserError
from common.metrics import METRICS, ccc, ccc_batches
from common.results import Cell, RunResults
from ser.results import comparing
from ser.results.comparing import audit_in_words
from ser.results.measuring import measure, statistics_of_run
from ser.results.reported import COLUMNS, read_cells
from ser.results.runs import as_record
from tests.helpers import toy

HEAD = ",".join(COLUMNS)


def cell(value=50.0, metric="wa/2class/folds", experiment="toy/table1/toy/row"):
    return Cell("c", "1", "Row", "WA", metric, value, math.nan, experiment, "")


EXPERIMENT = toy.PAPER.experiments[0]


def compare(cells, runs, absent=()):
    """Comparisons with runs of the toy experiment, which declares as many repeats as the run says that it did."""
    repeats = [run.run["declared_repeats"] for run in runs.values()]
    declared = dataclasses.replace(EXPERIMENT, repeats=max(repeats, default=1))
    return comparing.compare(dataclasses.replace(toy.PAPER, experiments=(declared,)), cells, runs, absent)


def measured(trials, declared_repeats=1, folds=("f1", "f2"), flags=(), config=EXPERIMENT.config, **keywords):
    """Trials given as {(fold, repeat): (truth, prediction, speaker)} with class numbers."""
    classes = ["angry", "sad"]
    records, tables = [], []
    for (fold, repeat), (truth, prediction, speaker) in trials.items():
        records.append({"fold": fold, "repeat": repeat, "flags": list(flags), "audit": {}})
        tables.append(
            pd.DataFrame(
                {
                    "label": [classes[t] for t in truth],
                    "speaker": speaker,
                    "p_angry": [float(p == 0) for p in prediction],
                    "p_sad": [float(p == 1) for p in prediction],
                }
            )
        )
    run = {
        "classes": classes,
        "folds": list(folds),
        "declared_repeats": declared_repeats,
        "experiment": EXPERIMENT.id,
        "config": dataclasses.asdict(config),
        "protocol": as_record(EXPERIMENT.protocol),
        "target": as_record(EXPERIMENT.target),
        "corpus": "toy",
        "subset": "2class",
        **keywords,
    }
    return RunResults(run, records, tables)


# Fold 1: 3 of 4 right (recalls 1/1 and 2/3); fold 2: 1 of 2 right (recalls 1/1 and 0/1).
TRIALS = {
    ("f1", 1): ([0, 1, 1, 1], [0, 1, 1, 0], ["a", "a", "b", "b"]),
    ("f2", 1): ([0, 1], [0, 0], ["c", "c"]),
}


@pytest.mark.parametrize(
    ("function", "aggregation", "expected"),
    [
        ("wa", "folds", (75 + 50) / 2),
        ("wa", "pooled", 100 * 4 / 6),
        ("ua", "folds", 100 * ((1 + 2 / 3) / 2 + (1 + 0) / 2) / 2),
        ("ua", "pooled", 100 * (1 + 2 / 4) / 2),
    ],
)
def test_metrics_by_hand(function, aggregation, expected):
    result = measure(
        statistics_of_run(measured(TRIALS), METRICS[function].statistic),
        cell(metric=f"{function}/2class/{aggregation}"),
        of_folds=2,
    )
    assert result.value == pytest.approx(expected)
    assert math.isnan(result.std)
    assert (result.repeats, result.folds, result.utterances, result.speakers) == (1, 2, 6, 3)


def test_mean_and_std_are_over_repeats_of_the_mean_over_folds():
    trials = {**TRIALS, ("f1", 2): ([0, 1, 1, 1], [0, 1, 1, 1], list("aabb")), ("f2", 2): ([0, 1], [0, 1], list("cc"))}
    result = measure(statistics_of_run(measured(trials), "confusions"), cell(), of_folds=2)
    assert result.value == pytest.approx((62.5 + 100) / 2)
    assert result.std == pytest.approx(np.std([62.5, 100], ddof=1))


def test_an_unfinished_repeat_is_ignored():
    trials = {**TRIALS, ("f1", 2): ([0, 1, 1, 1], [1, 0, 0, 0], list("aabb"))}
    assert measure(statistics_of_run(measured(trials), "confusions"), cell(), of_folds=2).value == pytest.approx(62.5)


SECOND = {("f1", 2): ([0, 1, 1, 1], [0, 1, 1, 1], list("aabb")), ("f2", 2): ([0, 1], [0, 1], list("cc"))}


def test_a_complete_run_as_declared_is_compared_over_its_seeds():
    # Repeats of 62.5 and 100 %, and a paper with two runs, as the experiment declares.
    run = measured({**TRIALS, **SECOND}, declared_repeats=2)
    assert compare([cell(62.5)], {"toy/table1/toy/row": run})[0].agreement == agreement([62.5, 100], 62.5, margin=2)
    printed = dataclasses.replace(cell(62.5), std=1.5)
    (result,) = compare([printed], {"toy/table1/toy/row": run})
    assert result.agreement == agreement([62.5, 100], 62.5, 1.5, 2, margin=2) and result.verdict == "undecided"
    assert result.difference == pytest.approx(18.75)
    (far,) = compare([cell(0.1, "ccc/valence/pooled")], {cell().experiment: rated({("s5", 1): regression()})})
    assert far.verdict == "undecided" and math.isnan(far.agreement.low)  # one seed and one number


def test_the_margin_is_two_points_or_two_hundredths_of_a_ccc():
    assert {name: metric.margin for name, metric in METRICS.items() if metric.task == "regression"} == {
        "ccc": 0.02, "ccc_batch32": 0.02,
    }  # fmt: skip
    assert {metric.margin for metric in METRICS.values() if metric.task == "classification"} == {2.0}
    trials = {("s5", repeat): regression(0) for repeat in (1, 2)}
    reported = dataclasses.replace(cell(0.0, "ccc/valence/pooled"), value=ccc(*(m[:, 0] for m in regression(0)[:2])))
    for shift, verdict in ((0.015, "agrees"), (0.025, "differs")):
        shifted = dataclasses.replace(reported, value=reported.value + shift)
        (result,) = compare([shifted], {cell().experiment: rated(trials, declared_repeats=2)})
        assert result.verdict == verdict


@pytest.mark.parametrize(
    ("run", "label"),
    [
        (measured(TRIALS, config=toy.ToyConfig(sleep_s=1)), "modified"),
        (measured(TRIALS, config=toy.ToyConfig(shift=0.5)), "scaled"),
        (measured(TRIALS, config=toy.ToyConfig(shift=0.5, sleep_s=1), corpus="demo"), "other corpus, scaled, modified"),
        (measured(TRIALS, config=toy.ToyConfig(shift=0.5), corpus="demo", synthetic=True), "synthetic, scaled"),
        (measured(TRIALS, flags=["partial: 350 of 2800 utterances"]), "partial"),
        (measured(TRIALS, flags=["bad audio skipped: 1 of 24 utterances"]), "partial"),
        (measured(TRIALS, experiment="toy/table1/toy/gone"), "declared differently today"),
    ],
)
def test_any_other_run_is_called_what_it_is_and_never_compared(run, label):
    for one in (cell(62.5), cell(math.nan)):
        (result,) = compare([one], {"toy/table1/toy/row": run})
        assert result.verdict == result.condition.label == label
        assert math.isnan(result.difference) and result.flags == run.flags


@pytest.mark.parametrize(
    ("run", "of"), [(measured(TRIALS, declared_repeats=5), 10), (measured(TRIALS, folds=("f1", "f2", "f3")), 3)]
)
def test_an_incomplete_run_shows_its_difference_without_a_verdict(run, of):
    (result,) = compare([cell(60.0)], {"toy/table1/toy/row": run})
    assert result.verdict == f"incomplete (2 of {of})" and result.difference == pytest.approx(2.5)
    assert math.isnan(result.agreement.low) and result.agreement.seeds is None
    assert result.condition.sentences == (f"Incomplete: 2 of {of} trials",)


def test_verdicts_of_cells_without_trials():
    cells = [cell(), cell(experiment="absent"), cell(experiment="")]
    verdicts = [result.verdict for result in compare(cells, {}, absent=["absent"])]
    assert verdicts == ["not run", "corpus absent", "not run"]
    (empty,) = compare([cell()], {"toy/table1/toy/row": measured({})})
    assert empty.verdict == "not run"


def test_the_audit_shows_the_worst_fold():
    trials = [{"audit": {"speaker": 2}}, {"audit": {"speaker": 9, "text": 1}}, {"audit": {}}]
    assert audit_in_words(trials) == ("speaker shared: 9", "text shared: 1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cell,table\na,1\n", "must have the columns"),
        (f"{HEAD}\na,1,r,WA,wa/x/folds,abc,,,\n", "line 2: value and std must be numbers"),
        (f"{HEAD}\na,1,r,WA,wa/x/folds,1,,,\na,1,r,WA,wa/x/folds,1,,,\n", "the cell a occurs twice"),
    ],
)
def test_an_invalid_file_of_cells_is_refused(tmp_path, text, message):
    file = tmp_path / "reported.csv"
    file.write_text(text)
    with pytest.raises(UserError, match=message):
        read_cells(file)


def test_cells_are_read(tmp_path):
    file = tmp_path / "reported.csv"
    file.write_text(f"{HEAD}\na,1,Row,UA,ua/7class/folds,78.73,0.54,e,\nb,1,Row,WA,wa/7class/pooled,50,,,slip\n")
    first, second = read_cells(file)
    assert (first.value, first.std, first.function, first.aggregation) == (78.73, 0.54, "ua", "folds")
    assert (second.aggregation, second.note, math.isnan(second.std)) == ("pooled", "slip", True)


def rated(trials, **keywords):
    """Trials of a regression given as {(fold, repeat): (truth, prediction, speaker)}, matrices of two dimensions."""
    dimensions = ["valence", "arousal"]
    run = measured({})
    records, tables = [], []
    for (fold, repeat), (truth, prediction, speaker) in trials.items():
        records.append({"fold": fold, "repeat": repeat, "flags": [], "audit": {}})
        columns = {name: truth[:, k] for k, name in enumerate(dimensions)}
        columns |= {f"predicted_{name}": prediction[:, k] for k, name in enumerate(dimensions)}
        tables.append(pd.DataFrame({"speaker": speaker, **columns}))
    described = {**run.run, "classes": [], "dimensions": dimensions, "folds": ["s5"], **keywords}
    return RunResults(described, records, tables)


def regression(seed=0, n=80):
    generator = np.random.default_rng(seed)
    truth = generator.uniform(1, 5, (n, 2))
    return truth, truth * 0.5 + generator.normal(1.5, 0.5, (n, 2)), generator.choice(["f", "m"], n)


def test_a_batch_averaged_ccc_is_followed_by_that_of_the_whole_vector():
    truth, prediction, speaker = regression()
    run = rated({("s5", 1): (truth, prediction, speaker)})
    for label, dimensions in (("arousal", [1]), ("mean", [0, 1])):
        reported = cell(0.5, f"ccc_batch32/{label}/file-order")
        batched, whole = compare([reported], {reported.experiment: run})
        pairs = [(truth[:, k], prediction[:, k]) for k in dimensions]
        assert batched.measured.value == pytest.approx(np.mean([ccc_batches(*pair) for pair in pairs]), abs=1e-12)
        assert whole.measured.value == pytest.approx(np.mean([ccc(*pair) for pair in pairs]), abs=1e-12)
        assert batched.verdict == "undecided" and whole.verdict == "not reported"
        assert batched.difference == pytest.approx(batched.measured.value - 0.5)
        assert (whole.cell.column, whole.cell.digits, whole.measured.digits) == ("WA, whole", 3, 3)
        assert math.isnan(batched.measured.low)  # two speakers
        assert (batched.measured.utterances, batched.measured.folds, batched.measured.speakers) == (80, 1, 2)


def test_standard_deviation_of_a_ccc_over_repeats():
    trials = {("s5", repeat): regression(repeat) for repeat in (1, 2, 3)}
    reported = cell(0.5, "ccc/valence/pooled")
    (result,) = compare([reported], {reported.experiment: rated(trials, declared_repeats=3)})
    values = [ccc(truth[:, 0], prediction[:, 0]) for truth, prediction, _ in trials.values()]
    assert result.measured.value == pytest.approx(np.mean(values), abs=1e-12)
    assert result.measured.std == pytest.approx(np.std(values, ddof=1), abs=1e-12)


def test_a_cell_of_a_dimension_that_is_not_predicted_is_refused():
    reported = cell(0.5, "ccc/dominance/pooled")
    with pytest.raises(UserError, match="measures dominance, which toy/table1/toy/row does not predict"):
        compare([reported], {reported.experiment: rated({("s5", 1): regression()})})


def test_a_cell_without_value_is_measured_but_not_compared(tmp_path):
    file = tmp_path / "reported.csv"
    file.write_text(f"{HEAD}\na,1,Honest,UA,ua/2class/folds,,,toy/table1/toy/row,\n")
    (twin,) = read_cells(file)
    (result,) = compare([twin], {"toy/table1/toy/row": measured(TRIALS)})
    assert result.verdict == "not reported" and math.isnan(result.difference)
    assert result.measured.value == pytest.approx(100 * ((1 + 2 / 3) / 2 + 1 / 2) / 2)
    file.write_text(f"{HEAD}\na,1,Quoted,UA,ua/2class/folds,,,,\n")
    with pytest.raises(UserError, match="must be numbers"):
        read_cells(file)


def test_chunks_are_counted_separately():
    run = measured({})
    # Two utterances of class 0 with 3 and 1 chunks, one of class 1 with 2: 2 + 1 + 0 of 6 chunks are correct.
    table = pd.DataFrame(
        {
            "label": ["angry", "angry", "sad"],
            "speaker": ["a", "b", "b"],
            "chunks_angry": [2, 1, 2],
            "chunks_sad": [1, 0, 0],
        }
    )
    trial = {"fold": "f1", "repeat": 1, "flags": [], "audit": {}}
    run = RunResults({**run.run, "folds": ["f1"]}, [trial], [table])
    cells = [cell(50, "wa_chunks/2class/folds"), cell(37.5, "ua_chunks/2class/pooled")]
    first, second = compare(cells, {cell().experiment: run})
    assert first.measured.value == pytest.approx(50.0) and first.measured.utterances == 6
    assert second.measured.value == pytest.approx(100 * (3 / 4 + 0) / 2)
    assert first.verdict == "undecided" and first.difference == 0 and second.cell.digits == 2
