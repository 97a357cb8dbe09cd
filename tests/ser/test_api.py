"""`import ser`: the same work as the command line, from Python."""

import doctest
import subprocess
import sys

import pandas as pd
import pytest
import soundfile

import ser
from common.errors import UserError
from ser import api
from tests.helpers import ROOT

EXPERIMENT = "mtap/table3/iemocap/softmax"
QUICK = {
    "corpus": "demo", "scaled": True, "folds": 1, "jobs": 1, "yardstick": False,
    "settings": {"epochs": 1, "frames": 40, "bins": 40},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_importing_it_loads_nothing_heavy():
    program = (
        "import sys, ser\n"
        "assert {'claims', 'experiments', 'run', 'reproduce', 'report', 'load_model'} <= set(dir(ser))\n"
        "ser.run, ser.reproduce, ser.report, ser.load_model\n"
        "print({'tensorflow', 'keras', 'jax', 'torch', 'pandas', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    with pytest.raises(AttributeError, match="no attribute 'reproduced'"):
        _ = ser.reproduced


@pytest.mark.parametrize("module", [ser, api])
def test_the_examples_in_the_documentation_run(module):
    result = doctest.testmod(module)
    assert result.attempted > 0 and result.failed == 0


def test_experiments_are_a_table():
    frame = ser.experiments("mtap", ["2", "3"])
    assert frame.loc[EXPERIMENT].to_dict() == {
        "paper": "mtap", "table": "3", "title": "Softmax",
        "corpus": "iemocap/4class-improvised", "protocol": "leave one session out, halves", "trials": 25, "cells": 6,
    }  # fmt: skip
    assert set(frame["table"]) == {"2", "3"}
    assert set(ser.experiments()["paper"]) >= {"mtap", "gmp_atl"}
    with pytest.raises(UserError, match="no table of mtap"):
        ser.experiments("mtap", ["x"])


def test_a_run_its_report_and_its_model():
    report = ser.run(EXPERIMENT, **QUICK, keep_models=True)
    frame = report.to_frame()
    assert frame["column"].tolist() == ["WA", "UA", "macro F1", "weighted F1"]
    assert (
        set(frame["verdict"]) == {"synthetic, scaled, modified, incomplete (1 of 5)"}
        and frame["measured"].between(0, 100).all()
    )
    assert frame["reported"][:2].tolist() == [71.56, 60.61] and frame["reported"][2:].isna().all()
    assert repr(report) == "<Report: mtap, Table 3 (synthetic, scaled, modified, incomplete)>"
    assert report._repr_markdown_() == str(report) == report.markdown() and "IEMOCAP Softmax" in report.html()
    assert report.failures == ()
    predictions = report.predictions()
    assert set(predictions["experiment"]) == {EXPERIMENT} and set(predictions["fold"]) == {"session-1"}
    probabilities = predictions.filter(like="p_")
    assert predictions["utterance"].is_unique and probabilities.sum(axis=1).to_numpy() == pytest.approx(1)
    wa = 100 * (probabilities.idxmax(axis=1) == "p_" + predictions["label"]).mean()
    assert frame["measured"][0] == pytest.approx(wa)

    whole = ser.report().to_frame()
    same = whole[(whole["experiment"] == EXPERIMENT) & (whole["table"] == "3")]
    pd.testing.assert_frame_equal(same.reset_index(drop=True), frame)

    model = ser.load_model()
    assert str(model).startswith(f"{EXPERIMENT}, session-1, run 1; ")
    file = next((ROOT / "data_prep" / "demo" / "corpus").rglob("*.flac"))
    signal, rate = soundfile.read(file)
    soundfile.write("a.wav", signal, rate)
    found = model.predict(file, "a.wav")
    assert found.index.tolist() == [str(file), "a.wav"]
    assert found.columns.tolist() == ["p_angry", "p_happy", "p_neutral", "p_sad"]
    assert found.sum(axis=1).tolist() == pytest.approx([1.0, 1.0])
    assert found.iloc[0].tolist() == pytest.approx(found.iloc[1].tolist(), abs=1e-4)


def test_reproduce_takes_tables_and_options(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "ser.session.Session.run_all", lambda session, chosen: seen.append((session, chosen)) or ({}, {})
    )
    report = ser.reproduce("mtap", ["3"], corpus="demo", folds=["session-1", "session-2"], results="here")
    ((session, ((paper, experiments),)),) = seen
    assert (session.options.folds, str(session.options.results)) == ("session-1,session-2", "here")
    assert paper.name == "mtap" and {one.table for one in experiments} == {"3"}
    assert [section.table for section in report.sections] == ["3"]


def test_claims_are_a_table_also_without_results():
    found = ser.claims("mtap", results="nowhere")
    assert {one.verdict for one in found} <= {"not run"}
    assert len(found.to_frame()) == len(found)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ser.run(EXPERIMENT, corpora="demo"), "no option 'corpora'. Did you mean corpus"),
        (lambda: ser.run(EXPERIMENT, executor="slurm"), "'slurm'; it is one of local, ray, here"),
        (lambda: ser.run("mtap/table3/iemocap/softmx"), "no experiment"),
        (lambda: ser.claims("mtop"), "no paper 'mtop'. Did you mean mtap"),
        (lambda: ser.reproduce("mtap", ["3"], claims=["x"]), "exclude each other"),
        (lambda: ser.report("nowhere"), "no results folder nowhere"),
        (lambda: ser.load_model(), "no kept model"),
        (lambda: ser.load_model("nowhere"), "nowhere is not the model folder"),
    ],
)
def test_mistakes_are_one_sentence(call, message):
    with pytest.raises(UserError, match=message):
        call()
