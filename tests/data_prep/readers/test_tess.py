from pathlib import Path

import pytest
import soundfile

from common.errors import UserError
from data_prep import load
from data_prep.readers import tess
from tests.helpers import REAL_CORPORA, corpora

REAL = REAL_CORPORA / "tess"


@pytest.fixture(scope="module", params=["folders", "nested", "flat"])
def folder(request, tmp_path_factory):
    return corpora.tess(tmp_path_factory.mktemp("tess"), layout=request.param)


def test_full_corpus_has_the_counts_of_the_release(folder):
    loaded = load("tess", "7class", folder)
    table = loaded.table
    assert loaded.flags == ()
    assert (tess.CORPUS.utterances, tess.CORPUS.speakers) == (2800, 2)
    # Pichora-Fuller and Dupuis, 2010: 200 words in seven emotions by two actresses.
    assert table["emotion"].value_counts().to_dict() == {
        "angry": 400, "disgusted": 400, "fearful": 400, "happy": 400, "neutral": 400, "surprised": 400, "sad": 400,
    }  # fmt: skip
    assert table["speaker"].value_counts().to_dict() == {"OAF": 1400, "YAF": 1400}
    assert set(table["gender"]) == {"female"}
    assert set(table["script"].value_counts()) == {14} and table["script"].nunique() == 200
    assert table[["session", "dialogue", "valence", "start", "end"]].isna().all(axis=None)


def test_a_row_is_read_from_its_name(tmp_path):
    row = tess.read(corpora.tess(tmp_path, ["YAF_back_ps"])).iloc[0]
    assert row["path"] == str(tmp_path / "YAF_pleasant_surprised" / "YAF_back_ps.wav")
    assert list(row[["utterance", "speaker", "gender", "emotion", "script", "text"]]) == [
        "YAF_back_ps", "YAF", "female", "surprised", "back", "Say the word back",
    ]  # fmt: skip
    assert row["duration"] == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("word", "emotion"),
    [("angry", "angry"), ("disgust", "disgusted"), ("fear", "fearful"), ("happy", "happy"), ("neutral", "neutral"),
     ("ps", "surprised"), ("sad", "sad")],
)  # fmt: skip
def test_the_word_of_every_emotion(tmp_path, word, emotion):
    corpora.tess(tmp_path, [f"OAF_doll_{word}", f"YAF_doll_{word}"])
    assert list(tess.read(tmp_path)["emotion"]) == [emotion, emotion]


@pytest.mark.parametrize("layout", ["folders", "flat"])
def test_the_misnamed_file_is_spoken_by_oaf(tmp_path, layout):
    table = tess.read(corpora.tess(tmp_path, ["OA_bite_neutral", "OAF_back_neutral"], layout))
    assert sorted(zip(table["utterance"], table["speaker"], strict=True)) == [
        ("OAF_back_neutral", "OAF"), ("OAF_bite_neutral", "OAF"),
    ]  # fmt: skip
    assert sorted(Path(path).name for path in table["path"]) == ["OAF_back_neutral.wav", "OA_bite_neutral.wav"]


def test_the_misnamed_file_beside_its_correction_is_refused(tmp_path):
    corpora.tess(tmp_path, ["OA_bite_neutral", "OAF_bite_neutral"])
    with pytest.raises(UserError, match="OAF_bite_neutral occurs more than once"):
        tess.read(tmp_path)


@pytest.mark.parametrize(
    ("folder", "name"),
    [("OAF_Fear", "OAF_back_fear"), ("oaf_sad", "OAF_back_sad"), ("YAF_pleasant_surprise", "YAF_back_ps"),
     ("OAF_Pleasant_surprise", "OAF_back_ps"), ("YAF_pleasant_surprised", "YAF_back_ps"), ("OAF_ps", "OAF_back_ps")],
)  # fmt: skip
def test_folders_may_be_spelt_differently(tmp_path, folder, name):
    corpora.write_audio(tmp_path / folder / f"{name}.wav")
    assert list(tess.read(tmp_path)["utterance"]) == [name]


def test_durations_of_aiff_named_wav_and_of_another_sampling_rate(tmp_path):
    corpora.tess(tmp_path, ["YAF_germ_angry", "YAF_dead_angry"])
    (tmp_path / "YAF_angry" / "YAF_germ_angry.wav").write_bytes(corpora.tone(".aiff", 24414, 0.25))
    (tmp_path / "YAF_angry" / "YAF_dead_angry.wav").write_bytes(corpora.tone(".wav", 96000, 0.5))
    duration = tess.read(tmp_path).set_index("utterance")["duration"]
    assert duration["YAF_germ_angry"] == pytest.approx(0.25, abs=1e-4)
    assert duration["YAF_dead_angry"] == pytest.approx(0.5)


def test_other_files_are_ignored(tmp_path):
    corpora.tess(tmp_path, ["OAF_back_sad"])
    (tmp_path / "OAF_Sad" / "._OAF_back_sad.wav").write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / "OAF_Sad" / "readme.txt").write_text("")
    (tmp_path / "notes").mkdir()
    assert len(tess.read(tmp_path)) == 1


def test_a_copy_inside_the_folder_is_not_read(tmp_path):
    corpora.tess(tmp_path, ["OAF_back_sad", "YAF_back_sad"])
    corpora.tess(tmp_path, ["OAF_back_sad"], layout="nested")
    assert len(tess.read(tmp_path)) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("OA_back_neutral", "unknown speaker 'OA' in the name; TESS has OAF, YAF"),
        ("MAF_back_neutral", "unknown speaker 'MAF'"),
        ("OAF_back_surprise", "unknown emotion 'surprise' in the name; TESS has angry, disgust, fear, happy, neutral,"),
        ("OAF_back_calm", "unknown emotion 'calm'"),
        ("OAF_back2_sad", "not a TESS file name"),
        ("oaf_back_sad", "not a TESS file name"),
    ],
)
@pytest.mark.parametrize("layout", ["folders", "flat"])
def test_a_malformed_name_is_an_error_that_names_the_file(tmp_path, layout, name, message):
    corpora.tess(tmp_path, ["OAF_back_sad", name], layout)
    with pytest.raises(UserError) as caught:
        tess.read(tmp_path)
    assert message in str(caught.value)
    assert f"{name}.wav: " in str(caught.value)


@pytest.mark.parametrize(
    ("folder", "name"),
    [("OAF_sad", "YAF_back_sad"), ("OAF_sad", "OAF_back_ps"), ("OAF_joy", "OAF_back_happy")],
)
def test_a_file_in_the_wrong_folder_is_refused(tmp_path, folder, name):
    corpora.write_audio(tmp_path / folder / f"{name}.wav")
    with pytest.raises(UserError, match=f"{name}.wav: the name says {name}, but the folder is {folder}"):
        tess.read(tmp_path)


@pytest.mark.parametrize(
    ("write", "found"),
    [
        (lambda root: corpora.ravdess(root, ["03-01-06-01-02-01-12"]), "Actor_12/03-01-06-01-02-01-12.wav"),
        (lambda root: corpora.emodb(root, ["03a01Fa"]), "wav/03a01Fa.wav"),
        (lambda root: corpora.savee(root, "flat", [("DC", "a01")]), "DC_a01.wav"),
    ],
)
def test_a_folder_of_another_corpus_is_refused(tmp_path, write, found):
    write(tmp_path)
    with pytest.raises(UserError, match="is not TESS: expected the folders OAF_angry and so on") as caught:
        tess.read(tmp_path)
    assert f"but found 1 wav file such as {found}." in str(caught.value)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"is not TESS: .* but found nothing\."):
        tess.read(tmp_path)


@pytest.mark.corpus
@pytest.mark.skipif(not REAL.is_dir(), reason="TESS is not here (SER_CORPORA)")
def test_real_corpus():
    loaded = load("tess", "7class", REAL, partial=True)
    table = loaded.table
    # Each word that is there was said in every emotion by both speakers.
    assert set(table["script"].value_counts()) == {14}
    assert set(table["emotion"].value_counts()) == {len(table) // 7}
    assert set(table["speaker"].value_counts()) == {len(table) // 2}
    assert loaded.flags == (() if len(table) == 2800 else (f"partial: {len(table)} of 2800 utterances",))
    # "Say the word" and a word take about two seconds; all but a few files have 24.414 kHz.
    assert table["duration"].between(1.0, 4.0).all()
    rates = [soundfile.info(path).samplerate for path in table["path"]]
    assert rates.count(24414) > 0.98 * len(table)
