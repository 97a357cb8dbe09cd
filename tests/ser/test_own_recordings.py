"""A method on a user's own recordings: which folds, and how the report names them."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from common.corpus import COLUMNS, Corpus
from common.splits import HoldOut, LeaveOneSessionOut, LeaveOneSpeakerOut, StratifiedKFold
from common.table_splits import GivenSplit, SpeakerGroups
from data_prep import recordings
from ser import api, cli, registry
from ser.splitting import fitting_protocol
from tests.helpers import eagerly

QUICK = ["--scaled", "--set", "epochs=1", "--set", "frames=40", "--set", "bins=40", "--jobs", "1"]

eager = pytest.fixture(eagerly.eagerly)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Recordings of four speakers with two labels, each a tone of its own, and a table with own column names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SER_CORPORA", str(tmp_path / "corpora"))
    monkeypatch.setattr(recordings, "_opened", {})
    lines = ["file,label,who"]
    for who, number in (("an/na", 1), ("ben", 2), ("cleo", 3), ("dan", 4)):
        for k, (label, hertz) in enumerate((("glad", 400), ("angry", 150)) * 3):
            name = f"{number}-{k}.wav"
            time = np.arange(8000) / 16000
            tone = 0.3 * np.sin(2 * np.pi * (hertz + 7 * number) * time) + 0.001 * k
            soundfile.write(tmp_path / name, tone, 16000)
            lines.append(f"{name},{label},{who}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


TABLE = ["--data", "labels.csv", "--column", "path=file", "--column", "emotion=label", "--column", "speaker=who"]


@pytest.mark.usefixtures("eager")
def test_results_are_titled_by_the_table_and_never_by_a_papers_cell(folder, capsys):
    assert cli.main(["run", "mtap/table1/emodb/softmax", *TABLE, *QUICK, "--folds", "1"]) == 0
    out = capsys.readouterr()
    assert "24 utterances of 4 speakers; classes: angry 12, glad 12" in out.err + out.out
    assert "labels, own recordings: mtap" in out.out and "Table 1" not in out.out and "74.37" not in out.out
    (file,) = Path("results").glob("**/run.json")
    record = json.loads(file.read_bytes())
    assert record["own"] and record["corpus"] == "labels" and record["classes"] == ["angry", "glad"]
    assert record["folds"] == ["speaker-an_na", "speaker-ben", "speaker-cleo", "speaker-dan"]

    report = api.report("results")
    (section,) = report.sections
    assert section.own == "labels" and not any(one.was_run for one in report.claims)
    frame = report.to_frame()
    assert frame["reported"].isna().all() and {"WA", "UA", "macro F1"} <= set(frame["column"])
    assert frame.loc[frame["verdict"] != "yardstick", "verdict"].unique() == ["scaled, modified, incomplete (1 of 4)"]
    assert any("yardstick" in verdict for verdict in frame["verdict"])
    assert "own recordings" in report.html()

    # The same table, given a name, is the same run.
    assert cli.main(["corpora", "add", "labels", "labels.csv", *TABLE[2:]]) == 0
    recordings._opened.clear()
    assert cli.main(["run", "mtap/table1/emodb/softmax", "--corpus", "labels", *QUICK, "--folds", "1"]) == 0
    assert "1 trial, 1 already done" in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "labels.csv"], "has no column path"),
        ([*TABLE, "--corpus", "emodb"], "--data and --corpus emodb exclude each other"),
        ([*TABLE, "--root", "x"], "relative to the table"),
        (["--corpus", "demo", "--drop", "sad"], "add --data TABLE"),
        ([*TABLE, "--merge", "glad"], "--merge glad: write it as NAME=VALUE"),
        (["--data", "labels.csv", *TABLE[2:], "--drop", "sad"], "--drop names the label 'sad'"),
    ],
)
def test_mistakes_are_one_sentence(folder, capsys, words, message):
    assert cli.main(["run", "mtap/table1/emodb/softmax", *words, *QUICK]) == 2
    assert message in capsys.readouterr().err


def test_ratings_are_asked_for_by_name(folder, capsys):
    assert cli.main(["run", "dimensional_mtl/table6/iemocap/two", *TABLE, "--scaled"]) == 2
    error = capsys.readouterr().err
    assert "predicts valence, arousal, dominance, and labels.csv has no such column. --column valence=NAME" in error


MINE = Corpus("mine", "", "", "", "", "", (), "", 0, 0, own=Path("mine.csv"))
PUBLISHED = dataclasses.replace(MINE, name="emodb", own=None)
SESSIONS = registry.paper("gmp_atl").experiment("gmp_atl/table3/iemocap/ce-validated")
RANDOM_FOLDS = registry.paper("mtap").experiment("mtap/table2/emodb/softmax")
RATINGS = registry.paper("dimensional_mtl").experiment("dimensional_mtl/table6/iemocap/two")


def labelled(speakers, sessions=None, **columns):
    count = 6 * max(speakers, 4)
    table = pd.DataFrame({"utterance": [f"u{k}" for k in range(count)]}).reindex(columns=list(COLUMNS))
    table["emotion"] = ["a", "b"] * (count // 2)
    if speakers:
        table["speaker"] = [f"s{k % speakers:02d}" for k in range(count)]
    if sessions:
        table["session"] = [str(1 + k % sessions) for k in range(count)]
    return table.assign(**columns)


@pytest.mark.parametrize(
    ("experiment", "corpus", "table", "expected"),
    [
        (SESSIONS, MINE, labelled(12, 3), LeaveOneSessionOut("session")),
        (SESSIONS, MINE, labelled(12, 2), SpeakerGroups(5)),
        (SESSIONS, MINE, labelled(10), LeaveOneSpeakerOut()),
        (RANDOM_FOLDS, MINE, labelled(11), SpeakerGroups(5)),
        (RANDOM_FOLDS, MINE, labelled(2), LeaveOneSpeakerOut("stratified")),
        (RANDOM_FOLDS, MINE, labelled(0), StratifiedKFold(5)),
        (RATINGS, MINE, labelled(0), HoldOut("utterance", validation=0.1, test=0.2, in_turn=True)),
        (SESSIONS, MINE, labelled(6, split=["train", "test"] * 18), GivenSplit()),
        (SESSIONS, PUBLISHED, labelled(10), LeaveOneSpeakerOut()),
        (SESSIONS, PUBLISHED, labelled(10, 5), LeaveOneSessionOut("session")),
        (RANDOM_FOLDS, PUBLISHED, labelled(10), StratifiedKFold(10)),
    ],
)
def test_folds_follow_what_the_table_says(experiment, corpus, table, expected):
    if corpus is PUBLISHED and experiment is RANDOM_FOLDS:
        corpus = dataclasses.replace(corpus, name="savee")
    found = fitting_protocol(experiment, corpus, table)
    assert found == expected
    assert found(table)
