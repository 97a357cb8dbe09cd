"""The command line: it starts quickly, and a mistake gives one or two sentences and exit code 2, never a traceback."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

import data_prep
from papers.mtap.experiments import PAPER
from ser import cli, registry
from ser.session import Session
from tests.helpers import ROOT, eagerly

QUICK = ["--scaled", "--set", "epochs=1", "--set", "frames=40", "--set", "bins=40", "--jobs", "1", "--no-yardstick"]


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SER_CORPORA", raising=False)


eager = pytest.fixture(eagerly.eagerly)


def ser(*arguments, code=0):
    """Runs `ser` in this process and checks its exit code; a user's mistake must not raise an exception."""
    try:
        result = cli.main(list(arguments))
    except SystemExit as stop:  # argparse
        result = stop.code
    assert result == code, arguments


def emodb(folder, speakers=("03", "08", "09"), rate=16000):
    """Writes a small EMODB: two emotions per speaker, each a tone of its own."""
    (folder / "wav").mkdir(parents=True)
    for speaker in speakers:
        for text in ("a01", "a02", "a04"):
            for letter, hertz in (("W", 400), ("T", 150)):
                time = np.arange(rate // 2) / rate
                signal = 0.3 * np.sin(2 * np.pi * (hertz + 7 * int(speaker)) * time)
                soundfile.write(folder / "wav" / f"{speaker}{text}{letter}a.wav", signal, rate, subtype="PCM_16")
    return folder


def run_partial(folder, *more, code=0, experiment="mtap/table1/emodb/softmax"):
    ser("run", experiment, "--root", str(folder), "--partial", *QUICK, *more, code=code)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["list"], ["corpora"], ["fetch"], ["list", "mtap", "--table", "2"], ["claims"]]
)
def test_quick_commands_import_nothing_heavy(arguments, tmp_path):
    program = (
        "import sys\nfrom ser import cli\n"
        f"try: cli.main({arguments!r})\nexcept SystemExit: pass\n"
        "heavy = {'tensorflow', 'keras', 'jax', 'torch', 'pandas', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip().endswith("heavy: []")


@pytest.fixture
def claims_of_mtap(tmp_path, monkeypatch):
    """mtap with two claims of its own."""
    folder = tmp_path / "with-claims"
    folder.mkdir()
    shutil.copy(PAPER.reported, folder)
    rows = [f"mtap/table3/iemocap/{name}" for name in ("apfl", "softmax", "focal")]
    lines = [
        "id,section,claim,relation,first,second,metric,difference,note",
        f"over-softmax,Sec. 1,APFL is better.,higher,{rows[0]},{rows[1]},ua/4class/folds,4.17,",
        f"best,Sec. 1,APFL is best.,highest,{rows[0]},{rows[1]} {rows[2]},ua/4class/folds,,",
    ]
    (folder / "claims.csv").write_text("\n".join(lines) + "\n")
    own = type(PAPER).reported.fget
    reported = property(lambda paper: folder / "reported.csv" if paper.name == "mtap" else own(paper))
    monkeypatch.setattr(type(PAPER), "reported", reported)


def test_claims_are_listed_without_results(claims_of_mtap, capsys):
    ser("claims", "mtap")
    words = " ".join(capsys.readouterr().out.split())
    assert "over-softmax" in words and "+4.17" in words
    assert "mtap: 0 hold, 0 contradicted, 0 undecided, 2 not run" in words
    assert "`ser reproduce PAPER --claim ID`" in words


def test_a_claim_runs_exactly_its_rows_and_is_judged(claims_of_mtap, capsys, eager):
    claim = ["reproduce", "mtap", "--claim", "over-softmax"]
    ser(*claim, "--corpus", "demo", "--folds", "2", "--repeats", "2", *QUICK)
    captured = capsys.readouterr()
    words = " ".join(captured.out.split())
    assert "2 experiments, 8 trials" in captured.err
    assert "IEMOCAP Focal" not in words and "best" not in words
    assert words.index("mtap, Table 3 (") < words.index("mtap, claims")
    assert "2 seeds" in words and "at that scale" in words and "demo instead of iemocap" in words
    ser("claims", "mtap")
    words = " ".join(capsys.readouterr().out.split())
    assert "at another scale only" in words and "1 of 2 rivals" in words
    assert "Not run: mtap/table3/iemocap/focal (best)" in words
    ser("report")
    words = " ".join(capsys.readouterr().out.split())
    assert words.index("mtap, claims") < words.index("mtap, Table 3 (")
    page = Path("results/report.html").read_text()
    assert page.index("mtap, claims") < page.index("mtap, Table 3")


def test_list_names_every_experiment_with_its_trials(capsys):
    ser("list", "mtap")
    out = capsys.readouterr().out
    assert all(experiment.id in out for experiment in PAPER.experiments)
    line = next(line for line in out.splitlines() if "mtap/table2/savee/apfl" in line)
    assert "savee/7class" in line and " 25 " in line


def test_the_list_of_corpora_and_one_corpus(capsys, tmp_path):
    ser("corpora")
    out = capsys.readouterr().out
    assert all(name in out for name in data_prep.NAMES) and "synthetic" in out
    ser("corpora", "emodb")
    out = capsys.readouterr().out
    assert "03a01Fa.wav" in out and "535" in out and "Not here" in out
    ser("corpora", "emodb", "--root", str(emodb(tmp_path / "emodb")))
    out = capsys.readouterr().out
    assert "18 utterances of 3 speakers" in out and "angry 9 instead of 127" in out


def test_an_incomplete_corpus_is_counted(capsys, tmp_path):
    chapter = tmp_path / "LibriSpeech" / "dev-clean" / "84" / "121550"
    chapter.mkdir(parents=True)
    soundfile.write(chapter / "84-121550-0000.flac", np.zeros(16000), 16000)
    ser("corpora", "librispeech", "--root", str(tmp_path))
    out = capsys.readouterr().out
    assert "librispeech/dev-clean: 1 utterances instead of 2703" in out
    assert "librispeech/train-clean-100: no utterance instead of 28539" in out
    assert "gender is missing: LibriSpeech's SPEAKERS.TXT is not there" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "mtap/table1/emodb/apfel"], ["no experiment 'mtap/table1/emodb/apfel'", "mtap/table1/emodb/apfl"]),
        (["run", "mtp/table1/emodb/apfl"], ["no experiment", "mtap/table1/emodb/apfl"]),
        (["reproduce", "mtop"], ["no paper 'mtop'", "mtap"]),
        (["reproduce", "mtap", "--table", "11"], ["no table", "'11'"]),
        (["reproduce", "mtap", "--corpus", "emobd"], ["no corpus 'emobd'", "emodb"]),
        (["reproduce", "all", "--table", "1"], ["--table needs one paper"]),
        (["reproduce", "all", "--claim", "x"], ["--claim needs one paper"]),
        (["reproduce", "mtap", "--claim", "x", "--table", "1"], ["--table and --claim exclude each other"]),
        (["reproduce", "mtap", "--claim", "no-such-claim"], ["no claim of mtap 'no-such-claim'"]),
        (["claims", "mtop"], ["no paper 'mtop'", "mtap"]),
        (["corpora", "savve"], ["no corpus 'savve'", "savee"]),
        (["pretrain", "mtap", "words"], ["mtap has nothing to pretrain"]),
        (["fetch", "ravdes"], ["no corpus or model to fetch 'ravdes'", "ravdess"]),
        (["list", "mtap", "--table", "x"], ["no table", "'x'"]),
        (["run", "mtap/table1/emodb/apfl", "--set", "epoch=3"], ["no config field", "'epoch'", "epochs"]),
        (["run", "mtap/table1/emodb/apfl", "--set", "epochs=many"], ["epochs cannot be 'many'", "int"]),
        (["run", "mtap/table1/emodb/apfl", "--set", "backbone=vgg"], ["backbone cannot be 'vgg'", "densenet169"]),
        (["run", "mtap/table1/emodb/apfl", "--set", "protocol.valid=x"], ["LeaveOneSpeakerOut", "validation"]),
        (["run", "mtap/table1/emodb/apfl", "--set", "protocol.validation=x"], ["validation cannot be 'x'", "none"]),
        (["run", "mtap/table1/emodb/apfl", "--set", "epochs"], ["NAME=VALUE"]),
        (["run", "mtap/table1/emodb/apfl", "--set", "margin=4"], ["needs a margin"]),
        (["reproduce", "mtap", "--table", "1", "--root", "."], ["emodb and savee", "--corpus"]),
        (["run", "mtap/table1/emodb/apfl"], ["EMODB", "is not here", "--root"]),
        (["run", "mtap/table1/emodb/apfl", "--root", "nowhere"], ["nowhere", "does not exist"]),
        (["run", "mtap/table1/emodb/apfl", "--corpus", "librispeech"], ["predicts emotions", "no emotion labels"]),
        (["report"], ["no results folder results"]),
        (["report", "--runs", "mtap/table1/emodb"], ["no results folder results"]),
        (["report", "--runs", "mtap/table1/emodbb", "--results", "."], ["no experiment", "mtap/table1/emodb/apfl"]),
        (["predict", "x.wav"], ["no kept model"]),
        (["run", "mtap/table3/iemocap/apfl", "--corpus", "demo", "--folds", "9"], ["the protocol has 5 folds"]),
        (["run", "mtap/table3/iemocap/apfl", "--corpus", "demo", "--folds", "sesion-1"], ["no fold", "session-1"]),
    ],
)
def test_mistakes_give_one_or_two_sentences_and_exit_code_2(arguments, words, capsys):
    ser(*arguments, code=2)
    captured = capsys.readouterr()
    assert captured.out == ""
    message = captured.err.splitlines()[-1]
    assert message.startswith("ser: ") and "Traceback" not in captured.err
    for word in words:
        assert word in message
    assert message.count(". ") <= 2


def test_invalid_arguments_are_refused(capsys):
    ser("reproduc", "mtap", code=2)
    ser("run", "mtap/table1/emodb/apfl", "--repeats", "0", code=2)
    assert "whole number from 1" in capsys.readouterr().err


def test_an_incomplete_corpus_is_refused_with_its_counts(tmp_path, capsys):
    ser("run", "mtap/table1/emodb/softmax", "--root", str(emodb(tmp_path / "emodb")), code=2)
    error = capsys.readouterr().err
    assert "535" in error and "gives 18" in error and "angry 9 instead of 127" in error and "`partial`" in error


def test_the_folder_of_another_corpus_is_refused(tmp_path, capsys):
    ser("run", "mtap/table1/savee/softmax", "--root", str(emodb(tmp_path / "emodb")), code=2)
    error = capsys.readouterr().err
    assert "SAVEE" in error.upper() and "DC_a01.wav" in error and "Traceback" not in error


def spoil(folder, kind):
    file = folder / "wav" / "03a02Wa.wav"
    if kind == "unreadable":
        file.write_bytes(b"RIFF but not audio")
    elif kind == "empty":
        soundfile.write(file, np.zeros(0, np.float32), 16000)
    elif kind == "silent":
        soundfile.write(file, np.zeros(8000, np.float32), 16000)
    else:
        signal = np.full(8000, 0.1, np.float32)
        signal[100] = np.nan
        soundfile.write(file, signal, 16000, subtype="FLOAT")
    return file


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    ("kind", "word"),
    [("unreadable", "not readable"), ("empty", "empty"), ("silent", "silent"), ("nan", "not finite")],
)
def test_bad_audio_is_named_and_can_be_skipped(tmp_path, capsys, kind, word):
    folder = emodb(tmp_path / "emodb")
    spoil(folder, kind)
    run_partial(folder, code=2)
    error = capsys.readouterr().err
    message = next(line for line in error.splitlines() if line.startswith("ser: "))
    assert "03a02Wa.wav" in message and word in message and "--skip-bad-audio" in message
    run_partial(folder, "--skip-bad-audio", "--folds", "1")
    trial = json.loads(next(Path("results").glob("**/trial.json")).read_text())
    assert "bad audio skipped: 1 of 18 utterances" in trial["flags"]
    assert "partial: 18 of 535 utterances" in trial["flags"]
    assert trial["utterances"]["test"] == 5
    assert "Bad audio skipped: 1 of 18" in " ".join(capsys.readouterr().out.split())


@pytest.mark.usefixtures("eager")
def test_run_report_predict_and_resume(tmp_path, capsys):
    folder = emodb(tmp_path / "emodb")
    run_partial(folder, "--keep-models")
    first = capsys.readouterr()
    assert (
        "mtap, Table 1 (scaled, modified, partial)" in first.out
        and "1×3" in first.out
        and "partial: 18 of 535" in first.out.lower()
    )
    assert len(list(Path("results").glob("**/trial.json"))) == 3
    stamps = {file: file.stat().st_mtime_ns for file in Path("results").glob("**/trial.json")}

    run_partial(folder, "--keep-models")
    second = capsys.readouterr()
    assert "3 trials, 3 already done" in second.err
    assert second.out == first.out
    assert {file: file.stat().st_mtime_ns for file in Path("results").glob("**/trial.json")} == stamps

    ser("report")
    assert "mtap, Table 1" in capsys.readouterr().out
    page = Path("results/report.html").read_text()
    assert "scaled" in page and "EMODB Softmax" in page
    ser("report", "--runs", "mtap/table1/emodb")
    assert "; bins = 40 instead of" in " ".join(capsys.readouterr().out.split())
    assert "| EMODB Softmax | WA | 74.37 ± 0.55 |" in Path("results/report.md").read_text()

    audio = folder / "wav" / "08a01Wa.wav"
    ser("predict", str(audio))
    out = capsys.readouterr().out
    assert "mtap/table1/emodb/softmax" in out and "random weights" in out
    shares = [float(share) for share in re.findall(r"[a-z] ([01]\.\d\d)\b", out.split("Answer")[1])]
    assert len(shares) == 3 and shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 1.02

    (tmp_path / "broken.wav").write_bytes(audio.read_bytes()[:20])
    ser("predict", str(tmp_path / "missing.wav"), str(audio), str(tmp_path / "broken.wav"), "--csv", code=1)
    printed = capsys.readouterr()
    assert printed.out.startswith("file,start,end,p_angry") and printed.out.count(audio.name) == 1
    assert "missing.wav: the audio file does not exist" in printed.err and "broken.wav: not readable" in printed.err


@pytest.mark.usefixtures("eager")
def test_a_training_script_does_the_same_as_ser_run(tmp_path, capsys):
    folder = emodb(tmp_path / "emodb")
    arguments = ["mtap/table1/emodb/apfl", "--root", str(folder), "--partial", "--folds", "1", *QUICK]
    assert cli.train_main("mtap", arguments) == 0
    assert "EMODB APFL" in capsys.readouterr().out
    run_partial(folder, "--folds", "1", experiment="mtap/table1/emodb/apfl")
    assert "1 trial, 1 already done" in capsys.readouterr().err
    assert cli.train_main("mtap", ["mtap/table1/emodb/apf"]) == 2


@pytest.mark.usefixtures("eager")
def test_a_changed_protocol_is_stated(tmp_path, capsys):
    run_partial(emodb(tmp_path / "emodb"), "--set", "protocol.validation=none", "--folds", "1")
    assert "validation = none instead of speaker" in " ".join(capsys.readouterr().out.split())
    trial = json.loads(next(Path("results").glob("**/trial.json")).read_text())
    assert trial["utterances"] == {"train": 12, "validation": 0, "test": 6}


def test_deterministic_runs_write_the_same_bytes_with_all_executors(tmp_path):
    folder = emodb(tmp_path / "emodb")
    ways = {"here": [], "local": ["--workers", "2"]}
    if importlib.util.find_spec("ray"):
        ways["ray"] = ["--workers", "1"]
    found = {}
    for name, more in ways.items():
        command = [sys.executable, "-m", "ser.cli", "run", "mtap/table1/emodb/softmax", "--root", str(folder)]
        command += ["--partial", *QUICK, "--set", "optimiser=sgd", "--deterministic", "--folds", "2"]
        command += ["--executor", name, *more]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": ""}
        done = subprocess.run([*command, "--results", name], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        found[name] = {file.parent.name: file.read_bytes() for file in Path(name).glob("**/predictions.parquet")}
    assert len(found["here"]) == 2
    assert all(one == found["here"] for one in found.values())


@pytest.mark.usefixtures("eager")
def test_reproduce_selects_rows_by_corpus_and_marks_absent_corpora(tmp_path, capsys, monkeypatch):
    ids = [experiment.id for experiment in registry.experiments_on(PAPER, ("1",), "savee")]
    assert ids == [f"mtap/table1/savee/{loss}" for loss in ("softmax", "focal", "arcface", "apfl")]
    on_demo = registry.experiments_on(PAPER, ("1",), "demo")
    assert [experiment.corpus for experiment in on_demo] == ["emodb"] * 4

    emodb(tmp_path / "corpora" / "emodb")
    monkeypatch.setenv("SER_CORPORA", str(tmp_path / "corpora"))
    ser("reproduce", "mtap", "--table", "1", "--partial", "--folds", "1", *QUICK)
    out = capsys.readouterr().out
    lines = {line.split("│")[1].strip(): line for line in out.splitlines() if "│" in line}
    assert "scaled, modified, partial" in lines["EMODB APFL"] and "corpus absent" in lines["SAVEE APFL"]
    assert Path("results/report.html").exists()


@pytest.mark.usefixtures("eager")
def test_an_interruption_keeps_finished_trials(tmp_path, capsys, monkeypatch):
    folder = emodb(tmp_path / "emodb")
    from ser import progress

    def stop(self, trial):
        raise KeyboardInterrupt

    monkeypatch.setattr(progress.Progress, "trial_finished", stop)
    run_partial(folder, code=130)
    assert "Finished trials are kept" in capsys.readouterr().err
    assert len(list(Path("results").glob("**/trial.json"))) == 1
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    run_partial(folder)
    assert "3 trials, 1 already done" in capsys.readouterr().err


def test_a_command_restores_the_signal_handler(capsys):
    before = signal.getsignal(signal.SIGTERM)
    seen = []
    assert cli.guarded(lambda: seen.append(signal.getsignal(signal.SIGTERM)) or 0) == 0
    assert signal.getsignal(signal.SIGTERM) is before and seen != [before]
    assert cli.guarded(lambda: os.kill(os.getpid(), signal.SIGTERM) or time.sleep(5)) == 143
    assert "Finished trials are kept" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


def test_several_tables_can_be_listed(capsys):
    ser("list", "mtap", "--table", "2", "--table", "3")
    out = capsys.readouterr().out
    assert "mtap/table2/savee/apfl" in out and "mtap/table3/iemocap/apfl" in out and "mtap/table1" not in out


def test_the_demo_uses_the_changes_of_the_paper(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(Session, "run_all", lambda session, chosen: seen.extend(chosen) or ({}, {}))
    ser("reproduce", "mtap", "--demo", "--results", str(tmp_path / "r"))
    ((paper, chosen),) = seen
    assert (
        dict(paper.scaled) == {**PAPER.scaled, **PAPER.demo_changes}
        and PAPER.demo_changes["epochs"] < PAPER.scaled["epochs"]
    )
    assert {experiment.table for experiment in chosen} == set(PAPER.demo)
