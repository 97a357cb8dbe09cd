import pytest

from common.errors import UserError
from data_prep import load
from data_prep.readers import emodb
from tests.helpers import REAL_CORPORA, corpora

REAL = REAL_CORPORA / "emodb"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return corpora.emodb(tmp_path_factory.mktemp("emodb"))


def test_full_corpus_has_the_counts_of_the_paper(folder):
    table = emodb.read(folder)
    assert len(table) == emodb.CORPUS.utterances == 535
    # MTAP, Sec. 5.1.
    assert table["emotion"].value_counts().to_dict() == {
        "angry": 127, "bored": 81, "disgusted": 46, "fearful": 69, "happy": 71, "neutral": 79, "sad": 62,
    }  # fmt: skip
    assert table["speaker"].nunique() == emodb.CORPUS.speakers == 10
    assert sorted(table["speaker"][table["gender"] == "male"].unique()) == ["03", "10", "11", "12", "15"]
    assert sorted(table["speaker"][table["gender"] == "female"].unique()) == ["08", "09", "13", "14", "16"]
    assert table["utterance"].is_unique
    assert table["text"].notna().all() and table["text"].nunique() == 10
    assert table.groupby("script")["text"].nunique().eq(1).all()


def test_a_row_is_read_from_its_name(tmp_path):
    corpora.emodb(tmp_path, ["03a01Fa"])
    row = emodb.read(tmp_path).iloc[0]
    assert row["utterance"] == "03a01Fa"
    assert row["path"] == str(tmp_path / "wav" / "03a01Fa.wav")
    assert (row["speaker"], row["gender"], row["emotion"]) == ("03", "male", "happy")
    assert (row["script"], row["text"]) == ("a01", "Der Lappen liegt auf dem Eisschrank.")
    assert row["duration"] == pytest.approx(0.01)
    assert row[["session", "dialogue", "start", "end", "valence", "arousal", "dominance"]].isna().all()


@pytest.mark.parametrize(
    ("name", "speaker", "gender", "script", "emotion"),
    [
        ("08a02Wc", "08", "female", "a02", "angry"),
        ("09b10La", "09", "female", "b10", "bored"),
        ("10a04Ea", "10", "male", "a04", "disgusted"),
        ("11b09Ab", "11", "male", "b09", "fearful"),
        ("15a07Nd", "15", "male", "a07", "neutral"),
        ("16b01Tf", "16", "female", "b01", "sad"),
    ],
)
def test_all_parts_of_a_name_are_read(tmp_path, name, speaker, gender, script, emotion):
    corpora.emodb(tmp_path, [name])
    row = emodb.read(tmp_path).iloc[0]
    assert row["utterance"] == name
    assert list(row[["speaker", "gender", "script", "emotion"]]) == [speaker, gender, script, emotion]


def test_every_code_has_its_own_sentence(folder):
    pairs = emodb.read(folder)[["script", "text"]].drop_duplicates()
    assert sorted(pairs["script"]) == sorted(corpora.EMODB_TEXTS)
    assert pairs["text"].is_unique
    assert pairs.set_index("script")["text"]["a05"].endswith("neben dem Holzstück.")


def test_files_may_lie_directly_in_the_folder(tmp_path):
    corpora.emodb(tmp_path, ["03a01Fa", "16b10Wb"], folder=".")
    assert list(emodb.read(tmp_path)["utterance"]) == ["03a01Fa", "16b10Wb"]


def test_other_files_are_ignored(tmp_path):
    corpora.emodb(tmp_path, ["03a01Fa"])
    (tmp_path / "wav" / "._03a01Fa.wav").write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / "wav" / "03a01Fa.lab").write_text("")
    (tmp_path / "erkennung.txt").write_text("")
    corpora.write_audio(tmp_path / "wav" / "08a01Na.WAV")
    assert list(emodb.read(tmp_path)["utterance"]) == ["03a01Fa", "08a01Na"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("07a01Fa", "unknown speaker '07'; EMODB has 03, 08, 09"),
        ("03a03Fa", "unknown text 'a03'; EMODB has a01, a02, a04"),
        ("03a01Xa", "unknown emotion 'X'; EMODB has W, L, E, A, F, N, T"),
        ("03a01F", "not an EMODB file name"),
        ("03a01FA", "not an EMODB file name"),
        ("3a01Fa", "not an EMODB file name"),
        ("03a01Fa copy", "not an EMODB file name"),
    ],
)
def test_a_malformed_name_is_an_error_that_names_the_file(tmp_path, name, message):
    corpora.emodb(tmp_path, ["03a01Fa", name])
    with pytest.raises(UserError) as caught:
        emodb.read(tmp_path)
    shown = str(caught.value).replace(" in the name;", ";")
    assert message in shown
    assert str(tmp_path / "wav" / f"{name}.wav") in shown


@pytest.mark.parametrize(("layout", "found"), [("flat", "480 wav files such as DC_a01.wav"), ("folders", "AudioData")])
def test_a_folder_of_savee_is_refused(tmp_path, layout, found):
    corpora.savee(tmp_path, layout)
    with pytest.raises(UserError, match=r"is not EMODB: expected files such as 03a01Fa.wav") as caught:
        emodb.read(tmp_path)
    assert f"found {found}." in str(caught.value)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"is not EMODB: .* but found nothing\."):
        emodb.read(tmp_path)


def test_an_unreadable_file_keeps_its_row(tmp_path):
    corpora.emodb(tmp_path, ["03a01Fa"])
    (tmp_path / "wav" / "03a01Wa.wav").write_bytes(b"not audio")
    table = emodb.read(tmp_path)
    assert list(table["utterance"]) == ["03a01Fa", "03a01Wa"]
    assert list(table["duration"].isna()) == [False, True]


def test_the_subset_of_four_classes(folder):
    table = load("emodb", "4class", folder).table
    assert len(table) == 339
    assert set(table["emotion"]) == {"angry", "happy", "neutral", "sad"}


@pytest.mark.corpus
@pytest.mark.skipif(not REAL.is_dir(), reason="EMODB is not here (SER_CORPORA)")
def test_real_corpus():
    loaded = load("emodb", "7class", REAL)
    table = loaded.table
    assert loaded.flags == ()
    assert len(table) == 535
    # Utterances of each speaker in the release.
    assert table["speaker"].value_counts().sort_index().to_dict() == {
        "03": 49, "08": 58, "09": 43, "10": 38, "11": 55, "12": 35, "13": 61, "14": 69, "15": 56, "16": 71,
    }  # fmt: skip
    assert table["script"].nunique() == 10
    # 24.8 minutes; the longest of its 16 kHz files is just under 9 s.
    assert table["duration"].sum() == pytest.approx(1487.1, abs=0.1)
    assert table["duration"].between(1.0, 9.0).all()
