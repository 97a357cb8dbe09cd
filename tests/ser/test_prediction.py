"""Predicting recordings: windows of long ones, folders and lists, and what cannot be used."""

import csv
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from common.errors import UserError
from ser import prediction
from ser.models import Model
from ser.predicting import predict
from ser.prediction import Recording, find_recordings, windows

RATE = 16000


class Loudness:
    """An extractor: the loudness of a signal, and how many samples it has."""

    sample_rate = RATE

    def __call__(self, signal):
        return np.array([np.sqrt(np.mean(signal**2)), len(signal)])


class Fitted:
    """Says "loud" for loud windows, and counts chunks, as quaternion_at does."""

    classes = ("loud", "soft")

    def __init__(self, window_s=2.0):
        self.config = SimpleNamespace(window_s=window_s)
        self.lengths = []

    def predict(self, part):
        found = np.stack([part.features["loudness"][one] for one in part.table["utterance"]])
        self.lengths += found[:, 1].astype(int).tolist()
        loud = np.clip(2 * found[:, 0], 0, 1)
        return {"p_loud": loud, "p_soft": 1 - loud, "chunks_loud": np.ones(len(loud))}


PAPER = SimpleNamespace(features="data:features", function=lambda name: lambda config: {"loudness": Loudness()})


def model(**settings):
    return Model(PAPER, Fitted(**settings), {"experiment": "toy/row", "fold": "f", "repeat": 1, "flags": []})


def tone(seconds, level=0.5):
    return level * np.sign(np.sin(np.arange(round(seconds * RATE)) * 0.3))


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (1.5, [(0, 1.5)]),
        (2.0, [(0, 2)]),
        (2.5, [(0, 2), (0.5, 2.5)]),
        (5.0, [(0, 2), (1, 3), (2, 4), (3, 5)]),
        (5.05, [(0, 2), (1, 3), (2, 4), (3.05, 5.05)]),
        (5.2, [(0, 2), (1, 3), (2, 4), (3, 5), (3.2, 5.2)]),
        (2.05, [(0, 2), (0.05, 2.05)]),
    ],
)
def test_windows_cover_a_recording_and_overlap_by_half(seconds, expected):
    np.testing.assert_allclose(windows(seconds, 2.0), expected)


def test_all_of_a_long_recording_is_heard(tmp_path):
    """The first second is soft, the rest is loud: an answer from the beginning alone would be wrong."""
    signal = np.concatenate([tone(2, 0.1), tone(59, 0.5)])
    soundfile.write(tmp_path / "long.wav", signal, RATE, subtype="FLOAT")
    one = model()
    (answer,) = one.predict(tmp_path / "long.wav").to_dict("records")
    timeline = one.timeline(tmp_path / "long.wav")
    assert len(timeline) == 60 and set(one.fitted.lengths) == {2 * RATE}
    assert timeline["end"].iloc[-1] == 61.0 and list(timeline.columns) == ["start", "end", "p_loud", "p_soft"]
    np.testing.assert_allclose(timeline["p_loud"].iloc[[0, 5]], [0.2, 1.0], atol=1e-3)
    assert answer == pytest.approx({"p_loud": timeline["p_loud"].mean(), "p_soft": timeline["p_soft"].mean()})
    assert len(one.timeline(tmp_path / "long.wav", window_s=30)) == 3


def test_arrays_and_files_of_any_rate_give_the_same(tmp_path):
    signal = tone(1.5, 0.3).astype(np.float32)
    soundfile.write(tmp_path / "a.flac", signal, RATE)
    found = model().predict(tmp_path / "a.flac", signal, np.stack([signal, signal], axis=1))
    assert found.index.tolist() == [str(tmp_path / "a.flac"), "audio 2", "audio 3"]
    np.testing.assert_allclose(found["p_loud"], 0.6, atol=1e-3)
    with pytest.raises(UserError, match="audio 1: the audio is silent"):
        model().predict(np.zeros(RATE))
    np.testing.assert_allclose(model().predict(signal, sample_rate=8000)["p_loud"], 0.6, atol=0.05)


def test_silent_windows_are_left_out(tmp_path):
    signal = np.concatenate([tone(4), np.zeros(4 * RATE)])
    timeline = model().timeline(signal)
    assert timeline["start"].tolist() == [0, 1, 2, 3]


def test_what_words_name(tmp_path, monkeypatch):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("b.wav", "a.FLAC", "notes.txt", "deep/c.ogg"):
        (tmp_path / "in" / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    names = [one.name for one in find_recordings(["in"])]
    assert names == ["in/a.FLAC", "in/b.wav", "in/deep/c.ogg"]
    assert [one.name for one in find_recordings(["in/*.wav", "in/notes.txt", "in/b.wav"])] == [
        "in/b.wav",
        "in/notes.txt",
    ]
    monkeypatch.setattr("sys.stdin", io.StringIO("in/b.wav\n\nin/deep\n"))
    assert [one.name for one in find_recordings(["-"])] == ["in/b.wav", "in/deep/c.ogg"]
    (tmp_path / "empty").mkdir()
    for word, message in (("empty", "holds no audio file"), ("*.mp3", "No file matches")):
        with pytest.raises(UserError, match=message):
            find_recordings([word])
    (tmp_path / "a[1].wav").write_bytes(b"")
    assert find_recordings(["a[1].wav"]) == [Recording("a[1].wav")]


def test_bad_files_are_named_and_the_others_go_on(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    soundfile.write("good.wav", tone(5), RATE, subtype="FLOAT")
    soundfile.write("silent.wav", np.zeros(RATE), RATE)
    soundfile.write("none.wav", np.zeros(0), RATE)
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    words = ["broken.wav", "good.wav", "silent.wav", "none.wav", "missing.wav"]
    assert predict(model(), words, form="csv", timeline=True, window_s=None) == 1
    printed = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(printed.out)))
    assert {row["file"] for row in rows} == {"good.wav"} and len(rows) == 1 + 4
    assert (float(rows[0]["start"]), float(rows[0]["end"])) == (0.0, 5.0) and float(rows[2]["start"]) == 1.0
    problems = printed.err.splitlines()
    assert [line.split(":")[1].strip() for line in problems] == ["broken.wav", "silent.wav", "none.wav", "missing.wav"]

    assert predict(model(), ["good.wav"], form="json", timeline=True, window_s=2.5) == 0
    found = json.loads(capsys.readouterr().out)
    (recording,) = found["recordings"]
    assert recording["seconds"] == 5.0 and recording["p_loud"] == pytest.approx(1.0, abs=1e-3)
    assert [window["start"] for window in recording["windows"]] == [0, 1.25, 2.5]

    assert predict(model(), ["good.wav"], form="table", timeline=True, window_s=None) == 0
    out = capsys.readouterr().out
    assert "loud 1.00, soft 0.00" in out and "3.0 … 5.0" in out


def test_batches_of_windows_are_one_recording(monkeypatch):
    monkeypatch.setattr(prediction, "BATCH", 3)
    signal = np.concatenate([tone(1, level) for level in np.linspace(0.1, 0.5, 11)])
    whole = model().timeline(signal)
    monkeypatch.setattr(prediction, "BATCH", 32)
    np.testing.assert_allclose(whole, model().timeline(signal))
