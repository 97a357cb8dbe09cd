import pytest

from common.errors import UserError
from data_prep import load
from data_prep.readers import savee
from tests.helpers import corpora


@pytest.fixture(scope="module", params=["flat", "folders"])
def folder(request, tmp_path_factory):
    return corpora.savee(tmp_path_factory.mktemp("savee"), request.param)


def test_full_corpus_has_the_counts_of_the_paper(folder):
    table = load("savee", "7class", folder).table
    assert (savee.CORPUS.utterances, savee.CORPUS.speakers) == (480, 4)
    # MTAP, Sec. 5.1.
    assert table["emotion"].value_counts().to_dict() == {
        "neutral": 120, "angry": 60, "disgusted": 60, "fearful": 60, "happy": 60, "sad": 60, "surprised": 60,
    }  # fmt: skip
    assert table["speaker"].value_counts().to_dict() == {"DC": 120, "JE": 120, "JK": 120, "KL": 120}
    assert set(table["gender"]) == {"male"}
    assert table.groupby("speaker")["emotion"].value_counts().to_dict()["KL", "sad"] == 15
    assert table[["text", "session", "dialogue", "valence"]].isna().all(axis=None)


def test_scripts_are_shared_by_the_speakers(folder):
    table = savee.read(folder)
    speakers = table.groupby("script")["speaker"].nunique()
    assert len(speakers) == 120
    assert set(speakers) == {4}


def test_both_layouts_give_the_same_table(tmp_path):
    names = [("DC", "a01"), ("JE", "sa15"), ("KL", "n30"), ("JK", "su07")]
    flat = savee.read(corpora.savee(tmp_path / "one", "flat", names)).sort_values("utterance")
    folders = savee.read(corpora.savee(tmp_path / "two", "folders", names)).sort_values("utterance")
    columns = ["utterance", "speaker", "gender", "script", "emotion", "duration"]
    expected = [
        ["DC_a01", "DC", "male", "a01", "angry", 0.01],
        ["JE_sa15", "JE", "male", "sa15", "sad", 0.01],
        ["JK_su07", "JK", "male", "su07", "surprised", 0.01],
        ["KL_n30", "KL", "male", "n30", "neutral", 0.01],
    ]
    assert flat[columns].to_numpy().tolist() == expected
    assert folders[columns].to_numpy().tolist() == expected
    assert str(tmp_path / "one" / "DC_a01.wav") in set(flat["path"])
    assert str(tmp_path / "two" / "AudioData" / "DC" / "a01.wav") in set(folders["path"])


@pytest.mark.parametrize(
    ("letters", "emotion"),
    [("a", "angry"), ("d", "disgusted"), ("f", "fearful"), ("h", "happy"), ("n", "neutral"), ("sa", "sad"),
     ("su", "surprised")],
)  # fmt: skip
def test_the_letters_of_every_emotion(tmp_path, letters, emotion):
    corpora.savee(tmp_path, "folders", [("JK", f"{letters}09")])
    assert list(savee.read(tmp_path)["emotion"]) == [emotion]


def test_root_may_be_audiodata_itself(tmp_path):
    corpora.savee(tmp_path, "folders", [("DC", "a01"), ("KL", "f02")])
    assert list(savee.read(tmp_path / "AudioData")["utterance"]) == ["DC_a01", "KL_f02"]


def test_root_may_hold_the_repackaged_folder(tmp_path):
    corpora.savee(tmp_path / "ALL", "flat", [("DC", "a01")])
    assert list(savee.read(tmp_path)["utterance"]) == ["DC_a01"]


def test_other_files_are_ignored(tmp_path):
    corpora.savee(tmp_path, "folders", [("DC", "a01")])
    (tmp_path / "AudioData" / "DC" / "._a01.wav").write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / "AudioData" / "Info.txt").write_text("")
    corpora.write_audio(tmp_path / "AudioData" / "DC" / "d01.WAV")
    assert list(savee.read(tmp_path)["utterance"]) == ["DC_a01", "DC_d01"]


@pytest.mark.parametrize(
    ("speaker", "name", "message"),
    [
        ("XY", "a01", "unknown speaker 'XY' in the name; SAVEE has DC, JE, JK, KL"),
        ("DC", "s01", "unknown emotion 's' in the name; SAVEE has a, d, f, h, n, sa, su"),
        ("DC", "a16", "there is no sentence 16; SAVEE has 01 to 15 for angry"),
        ("DC", "a00", "there is no sentence 00"),
        ("DC", "n31", "there is no sentence 31; SAVEE has 01 to 30 for neutral"),
        ("DC", "a1", "not a SAVEE file name"),
    ],
)
@pytest.mark.parametrize("layout", ["flat", "folders"])
def test_a_malformed_name_is_an_error_that_names_the_file(tmp_path, layout, speaker, name, message):
    corpora.savee(tmp_path, layout, [("DC", "a02"), (speaker, name)])
    with pytest.raises(UserError) as caught:
        savee.read(tmp_path)
    assert message in str(caught.value)
    assert f"{name}.wav: " in str(caught.value)


@pytest.mark.parametrize(("folder", "found"), [("wav", "wav/03a01Fa.wav"), (".", "03a01Fa.wav")])
def test_a_folder_of_emodb_is_refused(tmp_path, folder, found):
    corpora.emodb(tmp_path, ["03a01Fa", "03a01Wa"], folder)
    with pytest.raises(UserError, match=r"is not SAVEE: expected the folder AudioData .* DC_a01.wav") as caught:
        savee.read(tmp_path)
    assert f"found 2 wav files such as {found}." in str(caught.value)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"is not SAVEE: .* but found nothing\."):
        savee.read(tmp_path)


def test_an_utterance_with_two_files_is_refused(tmp_path):
    corpora.savee(tmp_path, "flat", [("DC", "a01")])
    corpora.write_audio(tmp_path / "DC_a01.WAV")
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this file system does not tell the two names apart")
    with pytest.raises(UserError, match="DC_a01 occurs more than once"):
        savee.read(tmp_path)
