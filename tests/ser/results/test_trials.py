import dataclasses
import json
import re
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.errors import UserError
from common.files import find
from ser.execution import executor
from ser.results.reading import find_runs, read_run
from ser.results.trials import lock, write_run
from tests.helpers import toy


@pytest.fixture(autouse=True)
def _no_models(monkeypatch):
    """These papers make no Keras models; looking for some after each trial takes a second in a process that is full."""
    monkeypatch.setattr("common.training.clear_models", lambda: None)


def execute(results, run=None, observer=None, data_source=None, **keywords):
    return toy.execute([run or toy.run()], results, None, observer, data_source, **keywords)


@dataclasses.dataclass(frozen=True)
class DataFrom:
    """A data source that calls a function."""

    function: object

    def part(self, run, observer):
        return self.function()

    def auxiliary(self, run, observer):
        return None


def test_every_fold_and_repeat_is_a_trial_and_repeats_come_one_after_another(tmp_path):
    outcome, observer = execute(tmp_path)
    assert outcome == executor.Outcome(done=8, found=0)
    assert observer.finished == [f"speaker-{s}--{r}" for r in (1, 2) for s in "ABCD"]


def test_content_of_a_trial(tmp_path):
    execute(tmp_path, toy.run(flags=("synthetic corpus: toy",)))
    folder = next(tmp_path.glob("**/speaker-B--2"))
    trial = json.loads((folder / "trial.json").read_text())
    assert (trial["fold"], trial["repeat"], trial["seed"]) == ("speaker-B", 2, 2002)
    assert trial["utterances"] == {"train": 12, "validation": 6, "test": 6}
    assert trial["flags"] == ["synthetic corpus: toy"]
    assert trial["audit"] == {}
    assert trial["history"] == {"loss": [1.0, 0.5]}
    assert trial["seconds"]["total"] >= trial["seconds"]["fit"] >= 0
    assert {"python", "keras", "numpy", "backend"} <= trial["versions"].keys()
    assert trial["config"] == {"shift": 0.0, "sleep_s": 0.0, "fails": 0, "dies": 0}
    predictions = pd.read_parquet(folder / "predictions.parquet")
    assert list(predictions["utterance"]) == [f"B{k}" for k in range(6)]
    assert list(predictions["emotion"]) == ["angry", "sad"] * 3
    # B5 is sad, but its feature is that of angry utterances.
    assert list(predictions["p_angry"] > predictions["p_sad"]) == [True, False, True, False, True, True]


def test_finished_trials_are_not_done_again_and_load_no_data(tmp_path):
    execute(tmp_path)

    def no_data():
        raise AssertionError("data were loaded although all trials are done")

    outcome, observer = execute(tmp_path, data_source=DataFrom(no_data))
    assert (outcome.done, outcome.found, observer.finished) == (0, 8, [])


def test_more_repeats_only_add_trials(tmp_path):
    execute(tmp_path, toy.run(repeats=1))
    outcome, observer = execute(tmp_path, toy.run(repeats=2))
    assert (outcome.done, outcome.found) == (4, 4)
    assert all(name.endswith("--2") for name in observer.finished)


@pytest.mark.parametrize("damage", ["predictions", "record", "missing"])
def test_a_damaged_trial_is_done_again(tmp_path, damage):
    execute(tmp_path)
    folder = next(tmp_path.glob("**/speaker-C--1"))
    if damage == "predictions":
        content = bytearray((folder / "predictions.parquet").read_bytes())
        content[len(content) // 2] ^= 1
        (folder / "predictions.parquet").write_bytes(content)
    elif damage == "record":
        (folder / "trial.json").write_text('{"format": 1, "fold"')
    else:
        (folder / "predictions.parquet").unlink()
    assert len(read_run(folder.parent).trials) == 7
    outcome, observer = execute(tmp_path)
    assert (outcome.done, observer.finished) == (1, ["speaker-C--1"])
    assert len(read_run(folder.parent).trials) == 8


def test_whatever_can_change_the_numbers_makes_another_run():
    base = toy.run()
    others = [
        toy.run(toy.ToyConfig(shift=0.1)),
        dataclasses.replace(base, fingerprint="0" * 16),
        dataclasses.replace(base, deterministic=True),
        dataclasses.replace(base, corpus=dataclasses.replace(toy.CORPUS, name="other")),
        dataclasses.replace(base, subset=dataclasses.replace(toy.SUBSET, name="other")),
        dataclasses.replace(base, protocol=type(base.protocol)("none")),
    ]
    ids = [base.id, *(run.id for run in others)]
    assert len(set(ids)) == len(ids)
    assert base.id == toy.run(repeats=1, folds=2, flags=("x",)).id


def test_models_are_kept_on_request(tmp_path):
    execute(tmp_path, keep_models=True)
    assert len(list(tmp_path.glob("**/model/means.json"))) == 8


def test_the_same_seed_gives_the_same_predictions(tmp_path):
    for name in ("one", "two"):
        execute(tmp_path / name)
    one, two = (sorted((tmp_path / name).glob("**/predictions.parquet")) for name in ("one", "two"))
    assert [a.read_bytes() for a in one] == [b.read_bytes() for b in two]
    assert one[0].read_bytes() != one[1].read_bytes()


def test_a_failed_fit_leaves_no_trial(tmp_path, monkeypatch):
    def broken(config, train, validation, context):
        raise RuntimeError("broken")

    monkeypatch.setattr(toy, "fit", broken)
    outcome, observer = execute(tmp_path, toy.run(repeats=1))
    assert toy.trial_names(tmp_path) == []
    assert len(outcome.failures) == len(observer.failed) == 4
    message = outcome.failures[0].message
    assert message.startswith("RuntimeError: broken (details: ")
    details = Path(message.split("details: ")[1].rstrip(")"))
    assert "in broken" in details.read_text()
    monkeypatch.undo()
    monkeypatch.setattr("common.training.clear_models", lambda: None)
    execute(tmp_path, toy.run(repeats=1))
    assert not details.exists()


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    run = toy.run()
    leftover = run.folder(tmp_path) / ".tmp-speaker-A--1-99999"
    leftover.mkdir(parents=True)
    (leftover / "trial.json").write_text("{}")
    write_run(run, tmp_path)
    assert read_run(run.folder(tmp_path)).trials == []
    execute(tmp_path)
    assert not leftover.exists()


def test_a_locked_trial_is_done_at_the_end_if_its_process_dies(tmp_path):
    run = toy.run(repeats=1)
    first = next(run.trials())
    held = lock(first, tmp_path, 0)
    held.acquire()

    class Releasing(toy.Recorder):
        def trial_locked(self, trial):
            super().trial_locked(trial)
            held.release()

    outcome, observer = execute(tmp_path, run, Releasing())
    assert observer.locked == ["speaker-A--1"]
    assert observer.finished == ["speaker-B--1", "speaker-C--1", "speaker-D--1", "speaker-A--1"]
    assert outcome.done == 4


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_continues_without_losing_or_repeating_a_trial(tmp_path, number):
    log, results = tmp_path / "log", tmp_path / "results"
    request = {"results": results, "config": {"sleep_s": 0.4}}
    process = toy.start(request, log)
    toy.wait_for_trials(results, 2)
    process.send_signal(number)
    process.communicate()
    finished = toy.trial_names(results)
    assert 2 <= len(finished) < 8
    again = toy.start({"results": results}, log)  # another config: a run of its own
    same = toy.start(request, log)
    assert toy.result_of(same)["found"] == len(finished) and toy.result_of(again)["done"] == 8
    runs = [read_run(folder) for folder in find_runs(results)]
    assert sorted(len(run.trials) for run in runs) == [8, 8]
    assert not list(results.glob("**/.tmp-*"))


def test_two_processes_share_the_trials(tmp_path):
    log, request = tmp_path / "log", {"results": tmp_path / "results", "config": {"sleep_s": 0.5}}
    processes = [toy.start(request, log) for _ in range(2)]
    done = [toy.result_of(process)["done"] for process in processes]
    assert sum(done) == 8 and min(done) >= 1
    seeds = [line.split()[1] for line in log.read_text().splitlines()]
    assert sorted(seeds) == sorted({str(1000 * r + f) for r in (1, 2) for f in (1, 2, 3, 4)})


def test_folders_without_a_run_or_of_another_format_are_refused(tmp_path):
    with pytest.raises(UserError, match="contains no run"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text('{"format": 0}')
    with pytest.raises(UserError, match="format 0"):
        read_run(tmp_path)


def test_utterances_without_features_are_left_out_of_all_parts(tmp_path):
    def fewer():
        part = toy.data()
        table = part.table[part.table["utterance"] != "A3"].reset_index(drop=True)
        return dataclasses.replace(part, table=table, flags=("bad audio skipped: 1 of 24 utterances",))

    execute(tmp_path, toy.run(repeats=1), data_source=DataFrom(fewer))
    trials = {
        json.loads(file.read_text())["fold"]: json.loads(file.read_text()) for file in tmp_path.glob("**/trial.json")
    }
    assert trials["speaker-A"]["utterances"]["test"] == 5
    assert trials["speaker-B"]["utterances"]["train"] + trials["speaker-B"]["utterances"]["validation"] == 17
    assert all(trial["flags"] == ["bad audio skipped: 1 of 24 utterances"] for trial in trials.values())
    assert np.all([len(trial["predictions"]) == 32 for trial in trials.values()])


def test_a_loss_that_was_not_finite_for_a_while_is_written_as_null(tmp_path, monkeypatch):
    fit = toy.fit

    def recovering(config, train, validation, context):
        fitted = fit(config, train, validation, context)
        context.history["loss"] = [1.0, float("nan"), 0.5]
        return fitted

    monkeypatch.setattr(toy, "fit", recovering)
    execute(tmp_path, toy.run(repeats=1, folds=1))
    assert json.loads(next(find(tmp_path, "trial.json")).read_text())["history"]["loss"] == [1.0, None, 0.5]


def test_a_diverged_fit_is_refused_and_a_suspicious_one_is_flagged(tmp_path, monkeypatch):
    fit = toy.fit

    def spoiled(config, train, validation, context):
        fitted = fit(config, train, validation, context)
        context.history["loss"] = [0.5, 0.5]
        fitted.predict = lambda part: {"p_angry": np.zeros(len(part)), "p_sad": np.full(len(part), value)}
        return fitted

    monkeypatch.setattr(toy, "fit", spoiled)
    value = np.nan
    outcome, _ = execute(tmp_path / "one", toy.run(repeats=1, folds=1))
    assert re.search("speaker-A--1.*the predictions are not finite", outcome.failures[0].message)
    assert toy.trial_names(tmp_path / "one") == []
    value = 1.0
    execute(tmp_path / "two", toy.run(repeats=1, folds=1))
    assert json.loads(next(find(tmp_path / "two", "trial.json")).read_text())["flags"] == [
        "the training loss never fell ('loss', 2 epochs)",
        "constant predictions: sad for all 6 test utterances",
    ]
