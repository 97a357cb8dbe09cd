"""A table of recordings becomes a corpus; a line that cannot be meant is named."""

import json
import pickle

import pandas as pd
import pytest

import data_prep
from common.errors import UserError
from data_prep import recordings
from data_prep.recordings import Recordings, TableOptions
from tests.helpers.corpora import tone

HEAD = "path,emotion,speaker,gender"
LINES = ["a.wav,joy,anna,F", "b.wav,anger,anna,female", "c.wav,joy,ben,m", "d.wav,anger,ben,Male"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SER_CORPORA", str(tmp_path / "corpora"))
    monkeypatch.setattr(recordings, "_opened", {})
    for name in "abcdef":
        (tmp_path / f"{name}.wav").write_bytes(tone(duration_s=0.5))
    return tmp_path


def table(folder, *lines, name="labels.csv"):
    file = folder / name
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def read(file, **options):
    return Recordings(file, TableOptions(**options))


def test_classes_counts_and_speakers_are_those_of_the_table(folder):
    found = read(table(folder, HEAD, *LINES))
    (subset,) = found.CORPUS.subsets
    assert (found.CORPUS.name, subset.name) == ("labels", "emotions")
    assert dict(subset.counts) == {"anger": 2, "joy": 2}
    assert (found.CORPUS.utterances, found.CORPUS.speakers, found.CORPUS.sessions) == (4, 2, 0)
    row = found.table.iloc[0]
    assert row["utterance"] == "a.wav" and row["path"] == str(folder / "a.wav")
    assert row["duration"] == 0.5 and row["gender"] == "female"
    assert found.table["gender"].tolist() == ["female", "female", "male", "male"]
    pickle.dumps(found.CORPUS)  # workers receive it


def test_all_formats_give_the_same_table(folder):
    expected = read(table(folder, HEAD, *LINES)).table
    semicolons = [line.replace(",", ";") for line in (HEAD, *LINES)]
    tabs = [line.replace(",", "\t") for line in (HEAD, *LINES)]
    frame = pd.read_csv(folder / "labels.csv")
    frame.to_parquet(folder / "labels.parquet")
    files = [
        table(folder, *semicolons, name="semicolons.csv"),
        table(folder, *tabs, name="tabs.tsv"),
        folder / "labels.parquet",
    ]
    (folder / "bom.csv").write_bytes(b"\xef\xbb\xbf" + (folder / "labels.csv").read_bytes())
    for file in (*files, folder / "bom.csv"):
        pd.testing.assert_frame_equal(read(file).table, expected)


def test_a_folder_of_hugging_face_datasets_has_its_parts(folder):
    for part, names in (("train", "ab"), ("test", "cd")):
        (folder / "audio" / part).mkdir(parents=True)
        lines = []
        for name, label in zip(names, ("joy", "anger"), strict=True):
            (folder / f"{name}.wav").rename(folder / "audio" / part / f"{name}.wav")
            lines.append(f"{name}.wav,{label}")
        table(folder / "audio" / part, "file_name,label", *lines, name="metadata.csv")
    found = read(folder / "audio", columns={"emotion": "label"}).table
    assert dict(zip(found["utterance"], found["split"], strict=True)) == {
        "a.wav": "train", "b.wav": "train", "c.wav": "test", "d.wav": "test",
    }  # fmt: skip


def test_columns_of_other_names_labels_merged_and_dropped(folder):
    file = table(folder, "file,label,note", "a.wav,joy,x", "b.wav,fun,", "c.wav,anger,", "d.wav,anger,", "e.wav,odd,")
    found = read(file, columns={"path": "file", "emotion": "label"}, merge={"fun": "joy"}, drop=["odd"])
    assert dict(found.CORPUS.subsets[0].counts) == {"anger": 2, "joy": 2}
    assert found.table.attrs["notes"] == ["speakers are not known: a speaker may be in the training and the test part"]


def test_ratings_are_a_subset_of_their_own_and_unlabelled_utterances_are_counted(folder):
    file = table(folder, "path,emotion,valence,arousal", "a.wav,joy,1,2.5", "b.wav,joy,,", "c.wav,anger,-1,3",
                 "d.wav,anger,0,0", "e.wav,,,")  # fmt: skip
    found = read(file)
    assert {subset.name: subset.expected for subset in found.CORPUS.subsets} == {"emotions": 4, "ratings": 3}
    assert "1 of 5 utterances have no label and are left out" in found.table.attrs["notes"]
    recordings.open_table(file, TableOptions())
    assert data_prep.load("labels", "ratings").table["valence"].tolist() == [1.0, -1.0, 0.0]


def test_spans_of_one_recording_are_utterances(folder):
    found = read(table(folder, "path,emotion,start,end", "a.wav,x,0,0.2", "a.wav,x,0.2,0.5", "b.wav,y,,", "c.wav,y,,"))
    assert found.table["utterance"].tolist()[:2] == ["a.wav#0-0.2", "a.wav#0.2-0.5"]
    assert found.table["duration"].round(6).tolist() == [0.2, 0.3, 0.5, 0.5]


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        (["file,emotion", "a.wav,x"], {}, r"has no column path; it has file, emotion\. `--column path=NAME`"),
        (["path,emotoin", "a.wav,x"], {}, r"column 'emotoin', which is not known.*--column emotion=emotoin"),
        (["path,label", "a.wav,x"], {"columns": {"emotion": "lable"}}, "no column of labels.csv 'lable'.*label"),
        (["path,label", "a.wav,x"], {"columns": {"emotoin": "label"}}, "no column for --column 'emotoin'.*emotion"),
        (["path,emotion", "a.wav,x", "a.wav"], {}, r"labels\.csv, line 3: 1 fields, but the first line names 2"),
        (["path,path", "a.wav,x"], {}, "line 1: the column path occurs twice"),
        ([HEAD, *LINES, "zz.wav,joy,ben,m"], {}, r"labels\.csv, line 6: there is no file .*zz\.wav\. Paths are"),
        ([HEAD, *LINES, ",joy,ben,m"], {}, r"line 6: the path is missing"),
        ([HEAD, *LINES, "e.wav,sad,ben,m"], {}, r"line 6: the emotion 'sad' has one utterance.*--drop sad.*--merge"),
        ([HEAD, LINES[0], LINES[2]], {}, "has one emotion, 'joy'; at least two"),
        ([HEAD, *LINES, LINES[0]], {}, r"line 6: a\.wav was there before \(labels\.csv, line 2\)"),
        ([HEAD, *LINES, "e.wav,joy,,m"], {}, "line 6: the speaker is missing, and other lines have one"),
        ([HEAD, *LINES, "e.wav,joy,ben,x"], {}, "line 6: the gender is 'x'; it is one of female, male"),
        ([HEAD, *LINES, "e.wav,joy,ben,f"], {}, r"line 6: speaker ben is female, but male in labels\.csv, line 4"),
        ([HEAD, *LINES, "e.wav,joy,a/b,f", "f.wav,joy,a b,f"], {}, "speakers 'a/b' and 'a b' differ only in charact"),
        (["path,valence", "a.wav,1", "b.wav,high"], {}, r"line 3: the valence is 'high', which is no number"),
        (["path,valence", "a.wav,1", "b.wav,nan"], {}, r"line 3: the valence is 'nan', which is no number"),
        (["path,emotion,start,end", "a.wav,x,2,1"], {}, "line 2: start is 2 and end is 1; 0 <= start < end"),
        (["path,emotion,end", "a.wav,x,9", "b.wav,x,", "c.wav,y,", "d.wav,y,"], {}, r"ends at 9 s, .* 0\.50 s long"),
        (["path,emotion,split", "a.wav,x,tset"], {}, "line 2: the split is 'tset'; it is one of train, validation"),
        (["path,text", "a.wav,hello"], {}, "has neither emotions nor ratings"),
        ([HEAD, *LINES], {"merge": {"fear": "anger"}}, "--merge names the label 'fear', which labels.csv does not"),
        ([HEAD, *LINES], {"drop": ["fear"]}, "--drop names the label 'fear'.*it has anger, joy"),
        (["path,emotion"], {}, "has no rows"),
        (['path,emotion', '"a.wav,x'], {}, r"labels\.csv, line 2: unexpected end of data"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_named(folder, lines, options, message):
    with pytest.raises(UserError, match=message):
        read(table(folder, *lines), **options)


def test_other_files_are_refused(folder):
    (folder / "labels.csv").write_bytes("path,emotion\na.wav,fröh\n".encode("latin-1"))
    (folder / "labels.parquet").write_bytes(b"PAR1 no PAR1")
    (folder / "empty").mkdir()
    for name, message in (
        ("labels.csv", "is not UTF-8"),
        ("labels.parquet", "cannot be read as Parquet"),
        ("a.wav", "no table that can be read"),
        ("empty", "has no metadata.csv"),
        ("nothing.csv", "There is no table"),
    ):
        with pytest.raises(UserError, match=message):
            read(folder / name)


def test_an_added_table_is_found_by_its_name(folder):
    file = table(folder, "file,label", "a.wav,joy", "b.wav,joy", "c.wav,anger", "d.wav,anger")
    options = TableOptions({"path": "file", "emotion": "label"}, {"joy": "happy"})
    recordings.add("mine", file, options)
    recordings._opened.clear()
    assert recordings.added() == ["mine"]
    assert dict(data_prep.corpus("mine").subsets[0].counts) == {"anger": 2, "happy": 2}
    assert data_prep.load("mine", "emotions").corpus.own == file
    with pytest.raises(UserError, match="cannot be a corpus's name"):
        recordings.add("../x", file, options)
    with pytest.raises(UserError, match="emodb is the name of a published corpus"):
        recordings.add("emodb", file, options)
    with pytest.raises(UserError, match=r"There is no corpus 'mnie'\. Did you mean mine"):
        data_prep.corpus("mnie")
    entry = folder / "corpora" / "mine.json"
    entry.write_text(json.dumps({"table": str(folder / "moved.csv"), "columns": {}, "merge": {}, "drop": []}))
    recordings._opened.clear()
    with pytest.raises(UserError, match="There is no table"):
        data_prep.corpus("mine")
    entry.write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        data_prep.corpus("mine")


def test_a_table_named_like_a_published_corpus_does_not_take_its_place(folder):
    assert read(table(folder, HEAD, *LINES, name="EmoDB.csv")).CORPUS.name == "emodb-table"
