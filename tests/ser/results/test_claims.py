import io
import json
import math

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from common.agreement import agreement
from common.errors import UserError
from ser import claiming
from ser.results.claims import chosen_claims, read_claims
from ser.results.condition import condition_of
from ser.results.judging import Judge
from ser.results.reading import read_runs
from ser.results.report import build, terminal
from ser.results.report.claims import Claims, summary
from tests.helpers import claimed
from tests.helpers.claimed import PAPER, write_claims, write_run

NEW, OLD, OTHER = (f"table1/emodb/{name}" for name in ("new", "old", "other"))
WORDS, SOUNDS = "table2/iemocap/words", "table2/iemocap/sounds"


@pytest.fixture(autouse=True)
def claims_file(tmp_path, monkeypatch):
    """The paper's claims.csv, which a test writes."""
    monkeypatch.setattr(type(PAPER), "reported", property(lambda self: tmp_path / "reported.csv"))
    return tmp_path / "claims.csv"


@pytest.fixture
def judged(tmp_path, claims_file):
    """Judges a claim by the runs in a results folder."""

    def judge(**claim):
        write_claims(claims_file, claim)
        return Judge(PAPER, read_runs(PAPER, tmp_path)).judge(read_claims(PAPER)[0])

    return judge


def values(folder):
    """WA of each trial, by repeat and fold, recomputed from what is on disk."""
    (run,) = [run for run in read_runs(PAPER, folder.parents[4]) if run.folders[0].parent == folder]
    found = {}
    for trial, table in zip(run.trials, run.predictions, strict=True):
        predicted = np.where(table["p_angry"] > 0.5, "angry", "sad")
        found[trial["repeat"], trial["fold"]] = 100 * float((predicted == table["label"]).mean())
    repeats = sorted({repeat for repeat, _ in found})
    return np.array([[found[key] for key in sorted(found) if key[0] == repeat] for repeat in repeats])


# ---------------------------------------------------------------- reading


def test_a_paper_without_claims_has_none(claims_file):
    assert read_claims(PAPER) == []
    claims_file.touch()
    assert read_claims(PAPER) == []


def test_a_claim_is_read(claims_file):
    several = {"first": f"claimed/{NEW} claimed/table1/savee/new", "second": f"claimed/{OLD} claimed/table1/savee/old"}
    write_claims(claims_file, {}, {"id": "two", **several, "difference": ""}, {"id": "best", "relation": "highest"})
    one, two, best = read_claims(PAPER)
    assert (one.difference, one.sign, one.unit, one.digits) == (6.7, 1, "WA", 2)
    assert two.pairs == ((f"claimed/{NEW}", f"claimed/{OLD}"), ("claimed/table1/savee/new", "claimed/table1/savee/old"))
    assert math.isnan(two.difference) and len(two.experiments) == 4
    assert best.has_rivals and best.pairs == one.pairs
    assert chosen_claims(PAPER, ["best", "one", "best"]) == [best, one]
    with pytest.raises(UserError, match=r"no claim of claimed .bets.\. Did you mean best"):
        chosen_claims(PAPER, ["bets"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"relation": "better"}, "line 2: There is no relation 'better'. There is: higher, lower"),
        ({"first": "claimed/table1/emodb/nwe"}, "no experiment .*nwe'. Did you mean claimed/table1/emodb/new"),
        ({"metric": "we/7class/folds"}, "no metric or cost 'we'. Did you mean wa"),
        ({"metric": "wa"}, "must be METRIC/LABELS/AGGREGATION"),
        ({"metric": "wa/7class/mean"}, "must be METRIC/LABELS/AGGREGATION"),
        ({"metric": "ccc/valence/pooled"}, "ccc cannot be measured on .*new, which is a classification"),
        ({"metric": "ccc/joy/pooled", "first": f"claimed/{WORDS}", "second": f"claimed/{SOUNDS}"}, "dimension .*'joy'"),
        ({"first": f"claimed/{NEW} claimed/{OTHER}"}, "must pair up, but have 2 and 1"),
        ({"first": ""}, "must name experiments"),
        ({"relation": "highest", "second": f"claimed/{NEW} claimed/{OLD}"}, "'highest' needs one experiment in first"),
        ({"relation": "equal", "metric": "seconds"}, "'equal' needs a margin, and seconds has none"),
        ({"difference": "much"}, "difference must be a number, not 'much'"),
        ({"id": ""}, "is empty or occurs twice"),
    ],
)
def test_a_wrong_line_is_named(line, message, claims_file):
    write_claims(claims_file, line)
    with pytest.raises(UserError, match=message):
        read_claims(PAPER)


def test_a_wrong_file_is_named(claims_file):
    write_claims(claims_file, {}, {})
    with pytest.raises(UserError, match="line 3: the id 'one' is empty or occurs twice"):
        read_claims(PAPER)
    claims_file.write_text("id,claim\n")
    with pytest.raises(UserError, match="must have the columns id, section"):
        read_claims(PAPER)


# ---------------------------------------------------------------- verdicts


def test_verdicts_over_speakers_are_those_of_a_paired_t_test(tmp_path, judged):
    new, old = write_run(tmp_path, NEW, 0.8), write_run(tmp_path, OLD, 0.7)
    found = judged()
    peer = stats.ttest_rel(values(new).mean(0), values(old).mean(0)).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((peer.low, peer.high))
    assert found.difference == pytest.approx(values(new).mean() - values(old).mean())
    assert (found.verdict, found.as_declared, found.conditions) == ("holds", True, ())
    assert (found.over, found.units, found.trials, found.missing) == ("speakers", 10, 20, ())
    assert found.pairs[0].runs == ("1", "1") and str(found) == "one: holds"
    assert judged(relation="lower").verdict == "contradicted"
    assert judged(relation="higher", first=f"claimed/{OLD}", second=f"claimed/{NEW}").verdict == "contradicted"
    assert judged(relation="lower", first=f"claimed/{OLD}", second=f"claimed/{NEW}").verdict == "holds"
    # A difference of ten points is not none.
    assert judged(relation="equal").verdict == "contradicted"


def test_an_undecided_claim_says_how_many_speakers_would_decide(tmp_path, judged):
    new, old = write_run(tmp_path, NEW, 0.72, spread=0.1), write_run(tmp_path, OLD, 0.7, spread=0.1)
    found = judged()
    assert found.verdict == "undecided" and found.low < 0 < found.high
    of_speakers = values(new).mean(0) - values(old).mean(0)
    deviation, difference = of_speakers.std(ddof=1), abs(of_speakers.mean())

    def decided(n):
        return difference > stats.t.ppf(0.975, n - 1) * deviation / math.sqrt(n)

    assert found.needed == next((n for n in range(11, 1001) if decided(n)), None)
    assert found.needed is None or f"{found.needed} speakers would decide" in str(found)
    assert judged(relation="equal").verdict == "undecided"


def test_equality_is_two_one_sided_tests_with_the_metrics_margin(tmp_path, judged):
    write_run(tmp_path, NEW, 0.75, spread=0.01)
    write_run(tmp_path, OLD, 0.75, spread=0.01, run="2")
    found = judged(relation="equal")
    assert found.verdict == "holds" and abs(found.difference) < 2
    assert judged().verdict == "undecided"


def test_a_fixed_test_set_is_compared_over_seeds(tmp_path, judged):
    claim = {"first": f"claimed/{WORDS}", "second": f"claimed/{SOUNDS}", "metric": "ccc/valence/pooled"}
    write_run(tmp_path, WORDS, 0.8, repeats=4)
    write_run(tmp_path, SOUNDS, 0.5, repeats=4)
    found = judged(**claim)
    assert (found.verdict, found.over, found.units, found.trials) == ("holds", "seeds", 4, 4)
    assert judged(**claim | {"metric": "ccc_batch32/mean/file-order"}).verdict == "holds"
    # Over seeds, "equal" is the test that a reproduced number must pass.
    differences = np.array(_ccc_by_seed(tmp_path, WORDS)) - _ccc_by_seed(tmp_path, SOUNDS)
    peer = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((peer.low, peer.high))
    assert agreement(differences, 0.0, margin=0.02).verdict == "differs"


def _ccc_by_seed(folder, name):
    from common.metrics import ccc

    (run,) = [run for run in read_runs(PAPER, folder) if run.run["experiment"].endswith(name)]
    return [ccc(table["valence"].to_numpy(), table["predicted_valence"].to_numpy()) for table in run.predictions]


def test_one_seed_on_a_fixed_test_set_decides_nothing(tmp_path, judged):
    claim = {"first": f"claimed/{WORDS}", "second": f"claimed/{SOUNDS}", "metric": "ccc/valence/pooled"}
    write_run(tmp_path, WORDS, 0.8, repeats=1)
    write_run(tmp_path, SOUNDS, 0.5, repeats=1)
    found = judged(**claim)
    assert found.verdict == "undecided" and math.isnan(found.low) and found.difference > 0.1
    assert found.needed is None and "needs a second seed" in str(found)


def test_few_speakers_are_compared_over_seeds(tmp_path, judged):
    savee = {"first": "claimed/table1/savee/new", "second": "claimed/table1/savee/old"}
    new = write_run(tmp_path, "table1/savee/new", 0.8, speakers=4, repeats=3)
    old = write_run(tmp_path, "table1/savee/old", 0.7, speakers=4, repeats=3)
    found = judged(**savee)
    peer = stats.ttest_rel(values(new).mean(1), values(old).mean(1)).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((peer.low, peer.high))
    assert (found.over, found.units, found.trials) == ("seeds", 3, 12)


def test_several_pairs_are_averaged_over_independent_corpora(tmp_path, judged):
    both = {"first": f"claimed/{NEW} claimed/table1/savee/new", "second": f"claimed/{OLD} claimed/table1/savee/old"}
    new, old = write_run(tmp_path, NEW, 0.8), write_run(tmp_path, OLD, 0.7)
    more = [write_run(tmp_path, f"table1/savee/{name}", q, speakers=6) for name, q in (("new", 0.9), ("old", 0.7))]
    found = judged(**both)
    one = values(new).mean(0) - values(old).mean(0)
    two = values(more[0]).mean(0) - values(more[1]).mean(0)
    peer = stats.ttest_ind(one, -two, equal_var=False).confidence_interval(0.95)
    assert found.difference == pytest.approx((one.mean() + two.mean()) / 2)
    assert (found.low, found.high) == pytest.approx((peer.low / 2, peer.high / 2))
    assert (found.verdict, found.over, found.units, found.trials) == ("holds", "speakers", 16, 32)
    assert [pair.difference for pair in found.pairs] == pytest.approx([one.mean(), two.mean()])


RIVALS = {"relation": "highest", "second": f"claimed/{OLD} claimed/{OTHER}"}


def test_the_highest_must_beat_every_rival(tmp_path, judged):
    write_run(tmp_path, NEW, 0.8)
    write_run(tmp_path, OLD, 0.7)
    write_run(tmp_path, OTHER, 0.74)
    found = judged(**RIVALS)
    assert found.verdict == "holds" and len(found.pairs) == 2
    assert found.difference == min(pair.difference for pair in found.pairs)
    turned = {"relation": "lowest", "first": f"claimed/{OLD}", "second": f"claimed/{NEW} claimed/{OTHER}"}
    assert judged(**turned).verdict == "holds"
    assert judged(**turned).difference == max(pair.difference for pair in judged(**turned).pairs)
    middle = {"first": f"claimed/{OTHER}", "second": f"claimed/{NEW} claimed/{OLD}"}
    assert judged(**RIVALS | middle).verdict == "contradicted"


def test_a_close_rival_leaves_the_highest_undecided(tmp_path, judged):
    write_run(tmp_path, NEW, 0.8, spread=0.06)
    write_run(tmp_path, OLD, 0.6)
    write_run(tmp_path, OTHER, 0.79, spread=0.06)
    assert judged(**RIVALS).verdict == "undecided"


def test_against_many_rivals_luck_of_one_does_not_contradict():
    from common.differences import Difference
    from ser.results import judging

    class Claim:
        cost, relation, has_rivals, sign = None, "highest", True, 1
        pairs = range(10)

    lucky = Difference(-2.3, 1.0, 60, "speakers", 61)  # on the wrong side at 5 %, not at 5 % / 10
    assert lucky.interval()[1] < 0
    others = [Difference(0.0, 1.0, 60, "speakers", 61)] * 9
    assert judging._verdict(Claim, [lucky, *others]) == "undecided"
    assert judging._verdict(Claim, [Difference(-4.0, 1.0, 60, "speakers", 61), *others]) == "contradicted"


# ---------------------------------------------------------------- costs


def test_seconds_and_memory_are_compared_over_trials(tmp_path, judged):
    write_run(tmp_path, NEW, 0.5)
    write_run(tmp_path, OLD, 0.9)
    found = judged(relation="lower", metric="seconds")
    seconds = [
        [json.loads((tmp_path / "claimed" / name / "1" / f"speaker-{f:02d}--{r}" / "trial.json").read_text())
         ["seconds"]["fit"] for f in range(1, 11) for r in (1, 2)] for name in (NEW, OLD)
    ]  # fmt: skip
    peer = stats.ttest_rel(*seconds).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((peer.low, peer.high))
    assert (found.verdict, found.over, found.units) == ("holds", "trials", 20)
    assert judged(relation="higher", metric="memory").verdict == "contradicted"


def test_a_number_of_parameters_is_decided_by_its_value(tmp_path, judged):
    write_run(tmp_path, NEW, 0.5, trial={"parameters": 1000})
    write_run(tmp_path, OLD, 0.5, run="2", trial={"parameters": 4000})
    found = judged(relation="lower", metric="parameters")
    assert (found.verdict, found.difference, found.over) == ("holds", -3000, "nothing")
    assert judged(relation="higher", metric="parameters").verdict == "contradicted"


def test_shared_weights_are_counted_once():
    import keras

    from ser.results.health import parameters

    layer = keras.layers.Dense(3)
    inputs = keras.Input((4,))
    one, two = keras.Model(inputs, layer(inputs)), keras.Model(inputs, keras.layers.Dense(2)(layer(inputs)))
    assert parameters(one) == 4 * 3 + 3
    assert parameters({"networks": [one, two]}) == 4 * 3 + 3 + 3 * 2 + 2
    assert parameters("nothing") is None


def test_a_cost_that_was_not_stored_is_not_run(tmp_path, judged):
    write_run(tmp_path, NEW, 0.5)
    write_run(tmp_path, OLD, 0.5, run="2")
    assert judged(relation="lower", metric="parameters").verdict == "not run"


def test_times_on_different_devices_are_not_compared(tmp_path, judged):
    write_run(tmp_path, NEW, 0.5)
    gpu = {"versions": {"backend": "tensorflow", "machine": "x86_64", "device": "1 GPU"}}
    write_run(tmp_path, OLD, 0.9, trial=gpu)
    assert judged(relation="lower", metric="seconds").verdict == "not run"
    assert judged(relation="lower").verdict == "holds"


# ---------------------------------------------------------------- which runs


def test_a_claim_without_runs_names_what_is_missing(tmp_path, judged):
    assert judged().missing == (f"claimed/{NEW}", f"claimed/{OLD}")
    write_run(tmp_path, NEW, 0.8)
    found = judged()
    assert (found.verdict, found.missing) == ("not run", (f"claimed/{NEW}", f"claimed/{OLD}"))
    assert math.isnan(found.difference) and not found.was_run and not found.as_declared


@pytest.mark.parametrize(
    "other",
    [
        {"epochs": 5},
        {"epochs": 7},
        {"corpus": "demo"},
        {"fingerprint": "g"},
        {"subset": "4class"},
        {"deterministic": True},
        {"backend": "jax"},
        {"version": "9.9"},
        {"changes": ["something else"]},
        {"protocol": {"kind": "LeaveOneSpeakerOut", "validation": "none", "share": 0.1, "seed": 0}},
    ],
)
def test_runs_that_differ_in_more_than_the_claim_are_not_compared(other, tmp_path, judged):
    write_run(tmp_path, NEW, 0.8)
    write_run(tmp_path, OLD, 0.7, **other)
    assert judged().verdict == "not run"
    write_run(tmp_path, NEW, 0.8, run="2", **other)
    assert judged().was_run


def test_two_settings_by_hand_are_not_the_same_change(tmp_path, judged):
    write_run(tmp_path, NEW, 0.8, epochs=7)
    write_run(tmp_path, OLD, 0.7, epochs=8)
    assert judged().verdict == "not run"
    write_run(tmp_path, OLD, 0.7, epochs=7, run="2")
    found = judged()
    assert found.conditions == ("modified: epochs = 7 instead of 50",)
    # Both scales are the paper's own, but not the same one.
    write_run(tmp_path, "table1/savee/new", 0.8, epochs=5)
    write_run(tmp_path, "table1/savee/old", 0.7, epochs=2)
    assert judged(first="claimed/table1/savee/new", second="claimed/table1/savee/old").verdict == "not run"


def test_evidence_at_another_scale_is_never_the_papers_result(tmp_path, judged):
    for name, quality in ((NEW, 0.8), (OLD, 0.7)):
        write_run(tmp_path, name, quality, corpus="demo", epochs=5)
    found = judged()
    assert (found.verdict, found.as_declared) == ("holds", False)
    assert found.conditions == ("demo instead of emodb", "synthetic corpus", "scaled")
    assert str(found) == "one: holds at that scale: demo instead of emodb, synthetic corpus, scaled"
    # An emptied list of changes does not make it the paper's experiment.
    for file in tmp_path.rglob("run.json"):
        file.write_text(json.dumps({**json.loads(file.read_text()), "changes": []}))
    assert not judged().as_declared


def test_runs_as_declared_are_preferred_and_then_the_newest(tmp_path, judged):
    for name, quality in ((NEW, 0.6), (OLD, 0.7)):
        write_run(tmp_path, name, quality, run="1")
        write_run(tmp_path, name, 1.4 - quality, run="9", epochs=5)
    found = judged()
    assert found.verdict == "contradicted" and found.as_declared and found.pairs[0].runs == ("1", "1")
    for name in (NEW, OLD):
        write_run(tmp_path, name, 0.7, run="2", corpus="savee")
    assert judged().as_declared
    for file in tmp_path.rglob("1/run.json"):
        file.unlink()
    assert judged().conditions == ("scaled",)


def test_only_trials_that_both_runs_have_are_used(tmp_path, judged):
    write_run(tmp_path, NEW, 0.8, drop=(("speaker-03", 1), ("speaker-03", 2)))
    write_run(tmp_path, OLD, 0.7, drop=(("speaker-07", 1), ("speaker-07", 2)))
    found = judged()
    assert (found.units, found.trials, found.as_declared) == (8, 16, False)
    assert found.conditions == ("incomplete: 18 of 20 trials", "incomplete: 16 of 18 trials in common")
    assert found.label == "holds at that scale"


def test_a_repeat_without_all_folds_is_not_used(tmp_path, judged):
    write_run(tmp_path, NEW, 0.8, repeats=3, drop=(("speaker-03", 3),))
    write_run(tmp_path, OLD, 0.7, repeats=4)
    found = judged()
    assert found.as_declared and found.trials == 20


def test_trials_on_other_test_utterances_are_not_used(tmp_path, judged):
    import pandas as pd

    from common.files import checksum

    new, _ = write_run(tmp_path, NEW, 0.8), write_run(tmp_path, OLD, 0.7)
    for repeat in (1, 2):
        folder = new / f"speaker-02--{repeat}"
        pd.read_parquet(folder / "predictions.parquet")[1:].to_parquet(folder / "predictions.parquet", index=False)
        record = json.loads((folder / "trial.json").read_text())
        record["predictions"] = checksum(folder / "predictions.parquet")
        (folder / "trial.json").write_text(json.dumps(record))
    found = judged()
    assert found.trials == 18 and found.conditions == ("incomplete: 18 of 20 trials in common",)


def test_a_claim_of_which_some_pairs_were_run_is_evidence_for_these(tmp_path, judged):
    both = {"first": f"claimed/{NEW} claimed/table1/savee/new", "second": f"claimed/{OLD} claimed/table1/savee/old"}
    write_run(tmp_path, NEW, 0.8)
    write_run(tmp_path, OLD, 0.7)
    found = judged(**both)
    assert (found.verdict, found.as_declared, found.conditions) == ("holds", False, ("1 of 2 pairs",))
    assert found.missing == ("claimed/table1/savee/new", "claimed/table1/savee/old")
    assert judged(**RIVALS).conditions == ("1 of 2 rivals",)
    # Scaled runs of both pairs do not mix with the full ones of the first.
    for name, quality in (("savee/new", 0.8), ("savee/old", 0.7)):
        write_run(tmp_path, f"table1/{name}", quality, epochs=5)
    assert judged(**both).conditions == ("1 of 2 pairs",)


# ---------------------------------------------------------------- texts


@pytest.fixture
def results(tmp_path, claims_file):
    write_claims(
        claims_file,
        {},
        {"id": "two", "first": "claimed/table1/savee/new", "second": "claimed/table1/savee/old", "difference": ""},
        {"id": "three", "first": f"claimed/{WORDS}", "second": f"claimed/{SOUNDS}", "metric": "ccc/valence/pooled"},
    )
    write_run(tmp_path, NEW, 0.8)
    write_run(tmp_path, OLD, 0.7)
    for name, quality in (("new", 0.8), ("old", 0.7)):
        write_run(tmp_path, f"table1/savee/{name}", quality, corpus="demo", epochs=5)
    return Claims(build.judged(PAPER, read_runs(PAPER, tmp_path)))


def test_the_summary_counts_evidence_apart(results):
    assert results.summary == (
        "1 holds, 0 contradicted, 0 undecided, 1 not run; at another scale only: 1 holds, 0 contradicted, 0 undecided"
    )
    assert summary(results[:1]) == "1 holds, 0 contradicted, 0 undecided, 0 not run"


def test_a_notebook_gets_a_frame_and_markdown(results):
    frame = results.to_frame()
    assert frame.index.tolist() == [("claimed", name) for name in ("one", "two", "three")]
    assert frame["verdict"].tolist() == ["holds", "holds", "not run"]
    assert frame["as_declared"].tolist() == [True, False, False]
    assert frame.loc[("claimed", "one"), "reported"] == 6.7 and math.isnan(frame["measured"].iloc[2])
    text = results._repr_markdown_()
    assert (
        text == str(results)
        and "not run" in text
        and "At that scale: demo instead of savee, synthetic corpus, scaled (two)" in text
    )
    assert Claims().to_frame().empty and Claims().markdown() == ""


def test_a_report_opens_with_the_claims_that_have_a_result(results, tmp_path):
    report = build.report([], claims=results)
    assert report.claims.to_frame().equals(results.to_frame())
    stream = io.StringIO()
    terminal.show(report, Console(file=stream, width=120))
    for text in (stream.getvalue(), report.markdown(), report.html()):
        words = " ".join(text.split())
        assert "claimed, claims" in words and "demo instead of savee" in words
        assert "not the paper's result" in words or "not the paper&#x27;s result" in words
        assert "at another scale only: 1 holds" in words
        assert "three" not in words
    assert 'class="badge holds"' in report.html() and 'class="badge condition">holds at that scale' in report.html()
    empty = build.report([], claims=[one for one in results if not one.was_run])
    assert "claims" not in empty.markdown()
    stream = io.StringIO()
    terminal.show_all_claims(Claims(results), Console(file=stream, width=120))
    assert "three" in stream.getvalue() and "• claimed: 1 holds" in stream.getvalue()


def test_a_report_of_a_folder_reads_each_run_once(results, tmp_path, monkeypatch):
    (tmp_path / "reported.csv").write_text(
        f"cell,table,row,column,metric,value,std,experiment,note\nc,1,New,WA,wa/7class/folds,80,,claimed/{NEW},\n"
    )
    from ser.results import reading

    read, once = [], reading.read_run
    monkeypatch.setattr(reading, "read_run", lambda folder: read.append(folder) or once(folder))
    report = build.from_results([PAPER], tmp_path)
    assert len(read) == len(set(read)) == 4
    assert [one.verdict for one in report.claims] == ["holds", "holds", "not run"]


# ---------------------------------------------------------------- what to run


def test_a_claim_needs_exactly_its_rows(claims_file):
    both = {"first": f"claimed/{NEW} claimed/table1/savee/new", "second": f"claimed/{OLD} claimed/table1/savee/old"}
    write_claims(claims_file, {}, {"id": "both", **both})
    claims = read_claims(PAPER)

    def needed(*chosen, corpus=None):
        experiments, notes = claiming.experiments_of_claims(PAPER, chosen, corpus)
        return [one.id.removeprefix("claimed/table1/") for one in experiments], notes

    assert needed(claims[0]) == (["emodb/new", "emodb/old"], [])
    assert needed(*claims) == (["emodb/new", "emodb/old", "savee/new", "savee/old"], [])
    # Rows that are on the chosen corpus are run there, and no others.
    assert needed(claims[1], corpus="savee") == (["savee/new", "savee/old"], ["both: on savee, 1 of 2 pairs are run."])
    # On a third corpus, both pairs would be the same runs.
    assert needed(claims[1], corpus="demo") == (["emodb/new", "emodb/old"], ["both: on demo, 1 of 2 pairs are run."])
    assert needed(claims[0], corpus="savee") == (["emodb/new", "emodb/old"], [])
    with pytest.raises(UserError, match="no corpus 'emobd'"):
        needed(claims[0], corpus="emobd")


def test_the_helper_writes_what_the_suite_reads(tmp_path):
    write_run(tmp_path, NEW, 0.8, spread=0.0)
    (run,) = read_runs(PAPER, tmp_path)
    assert (
        condition_of(run, claimed.PAPER).complete
        and len(run.trials) == 20
        and claimed.PAPER.experiment(run.run["experiment"])
    )
    assert values(tmp_path / "claimed" / NEW / "1").mean() == pytest.approx(80.0)
