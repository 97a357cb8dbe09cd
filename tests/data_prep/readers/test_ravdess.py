import pytest

from common.audit import audit
from common.errors import UserError
from common.splits import Fold
from data_prep import load
from data_prep.readers import ravdess
from tests.helpers import corpora


@pytest.fixture(scope="module", params=["actors", "release", "flat"])
def folder(request, tmp_path_factory):
    return corpora.ravdess(tmp_path_factory.mktemp("ravdess"), layout=request.param)


def test_full_corpus_has_the_counts_of_the_release(folder):
    loaded = load("ravdess", "8class", folder)
    table = loaded.table
    assert loaded.flags == ()
    assert (ravdess.CORPUS.utterances, ravdess.CORPUS.speakers) == (1440, 24)
    # Livingstone and Russo, 2018: 60 utterances of each of 24 actors.
    assert table["emotion"].value_counts().to_dict() == {
        "neutral": 96, "calm": 192, "happy": 192, "sad": 192, "angry": 192, "fearful": 192, "disgusted": 192,
        "surprised": 192,
    }  # fmt: skip
    assert set(table["speaker"].value_counts()) == {60}
    assert table.groupby("gender")["speaker"].nunique().to_dict() == {"female": 12, "male": 12}
    assert table.groupby("script")["speaker"].nunique().to_dict() == {"01": 24, "02": 24}
    assert table[["session", "dialogue", "valence", "start", "end"]].isna().all(axis=None)


def test_classes_are_numbered_as_in_the_names():
    assert ravdess.CORPUS.subset("8class").classes == (
        "neutral", "calm", "happy", "sad", "angry", "fearful", "disgusted", "surprised",
    )  # fmt: skip


def test_a_row_is_read_from_its_name(tmp_path):
    row = ravdess.read(corpora.ravdess(tmp_path, ["03-01-06-01-02-01-12"])).iloc[0]
    assert row["path"] == str(tmp_path / "Actor_12" / "03-01-06-01-02-01-12.wav")
    # The example that the release's description spells out: fearful, normal intensity, "dogs", actor 12, a woman.
    assert list(row[["utterance", "speaker", "gender", "emotion", "script", "text"]]) == [
        "03-01-06-01-02-01-12", "12", "female", "fearful", "02", "Dogs are sitting by the door",
    ]  # fmt: skip
    assert row["duration"] == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("name", "emotion", "gender", "text"),
    [
        ("03-01-01-01-01-01-01", "neutral", "male", "Kids are talking by the door"),
        ("03-01-02-02-01-02-24", "calm", "female", "Kids are talking by the door"),
        ("03-01-03-01-02-01-23", "happy", "male", "Dogs are sitting by the door"),
        ("03-01-04-01-02-01-02", "sad", "female", "Dogs are sitting by the door"),
        ("03-01-05-02-02-01-11", "angry", "male", "Dogs are sitting by the door"),
        ("03-01-07-01-01-01-07", "disgusted", "male", "Kids are talking by the door"),
        ("03-01-08-01-01-02-08", "surprised", "female", "Kids are talking by the door"),
    ],
)
def test_all_codes_of_a_name_are_read(tmp_path, name, emotion, gender, text):
    row = ravdess.read(corpora.ravdess(tmp_path, [name])).iloc[0]
    assert list(row[["speaker", "emotion", "gender", "script", "text"]]) == [
        name[-2:],
        emotion,
        gender,
        name[12:14],
        text,
    ]


def test_songs_and_video_recordings_are_ignored(tmp_path):
    names = ["03-01-06-01-02-01-12", "03-02-06-01-02-01-12", "01-01-06-01-02-01-12", "02-01-06-01-02-01-12"]
    corpora.ravdess(tmp_path, names)
    (tmp_path / "Actor_12" / "01-01-06-01-02-01-12.mp4").write_bytes(b"")
    (tmp_path / "Actor_12" / "._03-01-06-01-02-01-12.wav").write_bytes(b"\x00\x05\x16\x07")
    assert list(ravdess.read(tmp_path)["utterance"]) == names[:1]


def test_speech_and_songs_unpacked_side_by_side(tmp_path):
    corpora.ravdess(tmp_path, ["03-01-06-01-02-01-12"], layout="release")
    corpora.write_audio(tmp_path / "Audio_Song_Actors_01-24" / "Actor_12" / "03-02-06-01-02-01-12.wav")
    assert list(ravdess.read(tmp_path)["utterance"]) == ["03-01-06-01-02-01-12"]


def test_a_folder_with_songs_only_is_refused(tmp_path):
    corpora.ravdess(tmp_path, ["03-02-06-01-02-01-12"])
    with pytest.raises(UserError, match=r"is not RAVDESS with its speech: .* Actor_12/03-02-06-01-02-01-12.wav"):
        ravdess.read(tmp_path)


def test_a_copy_inside_the_folder_is_not_read(tmp_path):
    corpora.ravdess(tmp_path, ["03-01-06-01-02-01-12", "03-01-06-01-02-02-12"])
    corpora.ravdess(tmp_path / "audio_speech_actors_01-24", ["03-01-06-01-02-01-12"])
    assert len(ravdess.read(tmp_path)) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("04-01-06-01-02-01-12", "unknown modality '04' in the name; RAVDESS has 01, 02, 03"),
        ("03-03-06-01-02-01-12", "unknown channel '03' in the name; RAVDESS has 01, 02"),
        ("03-01-09-01-02-01-12", "unknown emotion '09' in the name; RAVDESS has 01, 02, 03"),
        ("03-01-00-01-02-01-12", "unknown emotion '00'"),
        ("03-01-06-03-02-01-12", "unknown intensity '03'"),
        ("03-01-06-01-03-01-12", "unknown statement '03'"),
        ("03-01-06-01-02-03-12", "unknown repetition '03'"),
        ("03-01-06-01-02-01-25", "unknown actor '25'"),
        ("03-01-06-01-02-01-00", "unknown actor '00'"),
        ("03-02-09-01-02-01-12", "unknown emotion '09'"),
        ("03-01-01-02-02-01-12", "neutral has no strong intensity"),
        ("03-01-06-01-02-12", "not a RAVDESS file name; expected seven codes"),
        ("03-01-06-01-02-01-12 (1)-12", "not a RAVDESS file name"),
    ],
)
@pytest.mark.parametrize("layout", ["actors", "flat"])
def test_a_malformed_name_is_an_error_that_names_the_file(tmp_path, layout, name, message):
    corpora.ravdess(tmp_path, ["03-01-06-01-02-01-01", name], layout=layout)
    with pytest.raises(UserError) as caught:
        ravdess.read(tmp_path)
    assert message in str(caught.value)
    assert f"{name}.wav: " in str(caught.value)


def test_a_file_in_another_actors_folder_is_refused(tmp_path):
    corpora.ravdess(tmp_path, ["03-01-06-01-02-01-01"])
    corpora.write_audio(tmp_path / "Actor_01" / "03-01-06-01-02-01-02.wav")
    with pytest.raises(UserError, match=r"01-02.wav: actor 02 in the name, but the folder is Actor_01\."):
        ravdess.read(tmp_path)


def test_stereo_files_and_files_of_equal_content_are_kept(tmp_path):
    names = ["03-01-08-01-01-01-01", "03-01-08-01-01-02-02", "03-01-08-02-01-01-03"]
    corpora.ravdess(tmp_path, names)
    stereo = tmp_path / "Actor_03" / f"{names[2]}.wav"
    stereo.write_bytes(corpora.tone(".wav", 48000, 0.5, channels=2))
    table = ravdess.read(tmp_path)
    assert list(table["utterance"]) == names
    assert table["duration"].to_numpy() == pytest.approx([0.01, 0.01, 0.5])
    fold = Fold("first", (names[0], names[2]), (), (names[1],))
    assert audit(table, fold)["audio"] == 1


@pytest.mark.parametrize(
    ("write", "found"),
    [
        (lambda root: corpora.tess(root, ["OAF_back_angry"]), "1 wav file such as OAF_angry/OAF_back_angry.wav"),
        (lambda root: corpora.emodb(root, ["03a01Fa"]), "1 wav file such as wav/03a01Fa.wav"),
        (lambda root: corpora.savee(root, "flat", [("DC", "a01")]), "1 wav file such as DC_a01.wav"),
        (
            lambda root: corpora.librispeech(root, [("dev-clean", "84", "F", "121550", "1", 1)]),
            "CHAPTERS.TXT, SPEAKERS.TXT, dev-clean",
        ),
        (lambda root: root, "nothing"),
    ],
)
def test_a_folder_of_another_corpus_is_refused(tmp_path, write, found):
    write(tmp_path)
    with pytest.raises(UserError, match=r"is not RAVDESS with its speech: expected the folders Actor_01") as caught:
        ravdess.read(tmp_path)
    assert f"but found {found}." in str(caught.value)
