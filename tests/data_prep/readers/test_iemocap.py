import time

import pytest

from common.corpus import select
from common.errors import UserError
from data_prep import load
from data_prep.readers import iemocap
from tests.helpers import corpora


@pytest.fixture
def root(tmp_path):
    return corpora.iemocap(tmp_path)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """The utterance table of a corpus of the release's size, and the processor time it took to read, in s."""
    root = corpora.iemocap_full(tmp_path_factory.mktemp("iemocap"))
    started = time.process_time()
    return iemocap.read(root), time.process_time() - started


def by_utterance(root):
    return iemocap.read(root).set_index("utterance")


def add_line(root, line, dialogue="Ses01F_impro01"):
    """Appends a line to a label file; returns file and number as an error should name them."""
    path = root / f"Session{dialogue[4]}" / "dialog" / "EmoEvaluation" / f"{dialogue}.txt"
    with path.open("a") as file:
        file.write(line + "\n")
    return f"{path}, line {len(path.read_text().splitlines())}:"


def test_exactly_the_labelled_utterances_are_read(root):
    table = iemocap.read(root)
    assert sorted(table["utterance"]) == sorted(
        [
            "Ses01F_impro01_F000", "Ses01F_impro01_M000", "Ses01F_impro01_F001", "Ses01F_impro01_M001",
            "Ses01M_script01_1_M000", "Ses01M_script01_1_F000", "Ses01F_script02_2_M012",
            "Ses02M_script01_1b_F000", "Ses02M_script01_1b_M000",
            "Ses02F_impro08a_M000", "Ses02F_impro08a_F000", "Ses02F_impro08a_F001", "Ses02F_impro08a_M001",
        ]
    )  # fmt: skip
    assert table["path"].is_monotonic_increasing


def test_two_rows_in_full(root):
    table = by_utterance(root)
    row = table.loc["Ses01F_impro01_M000"]
    assert row["path"] == str(root / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M000.wav")
    assert list(row[["speaker", "gender", "session", "dialogue", "emotion", "text"]]) == [
        "Ses01M", "male", "1", "Ses01F_impro01", "frustrated", "Do you have your forms?",
    ]  # fmt: skip
    assert list(row[["valence", "arousal", "dominance"]]) == [2.0, 3.5, 3.5]
    assert row["duration"] == pytest.approx(0.01)
    assert row[["script", "start", "end"]].isna().all()
    row = table.loc["Ses02M_script01_1b_F000"]
    assert list(row[["speaker", "gender", "session", "dialogue", "script", "emotion"]]) == [
        "Ses02F", "female", "2", "Ses02M_script01_1b", "script01_1", "sad",
    ]  # fmt: skip
    # The order in the file is valence, arousal, dominance; values may lie outside 1 to 5.
    assert list(table.loc["Ses01M_script01_1_F000", ["valence", "arousal", "dominance"]]) == [5.0, 5.5, 4.0]


def test_the_emotion_of_every_label(root):
    assert by_utterance(root)["emotion"].to_dict() == {
        "Ses01F_impro01_F000": "neutral", "Ses01F_impro01_M000": "frustrated",
        "Ses01F_impro01_F001": "unresolved", "Ses01F_impro01_M001": "angry",
        "Ses01M_script01_1_M000": "happy", "Ses01M_script01_1_F000": "excited",
        "Ses01F_script02_2_M012": "sad",
        "Ses02M_script01_1b_F000": "sad", "Ses02M_script01_1b_M000": "neutral",
        "Ses02F_impro08a_M000": "surprised", "Ses02F_impro08a_F000": "fearful",
        "Ses02F_impro08a_F001": "disgusted", "Ses02F_impro08a_M001": "other",
    }  # fmt: skip


def test_the_speaker_is_the_last_token_and_not_the_prefix(root):
    table = by_utterance(root)
    for utterance, row in table.iterrows():
        assert row["speaker"] == utterance[:5] + utterance.rsplit("_", 1)[1][0]
        assert row["gender"] == {"F": "female", "M": "male"}[row["speaker"][-1]]
    assert sorted(table["speaker"].unique()) == ["Ses01F", "Ses01M", "Ses02F", "Ses02M"]
    assert (table.index.str[:6] != table["speaker"]).sum() == 7


def test_transcripts(root):
    text = by_utterance(root)["text"]
    assert text["Ses01F_impro01_F000"] == "Excuse me."
    assert text["Ses01F_impro01_M001"] == "Yes: [LAUGHTER] and no."
    assert text.isna().sum() == 1
    assert text.isna()["Ses01F_impro01_F001"]


def test_without_a_folder_of_transcriptions_texts_are_missing(tmp_path):
    path = corpora.iemocap_dialogue(tmp_path, "Ses01F_impro01", [("F000", "neu", 3, 3, 3, None)])
    for file in (path.parents[1] / "transcriptions").iterdir():
        file.unlink()
    (path.parents[1] / "transcriptions").rmdir()
    assert iemocap.read(tmp_path)["text"].isna().all()


@pytest.mark.parametrize(
    ("dialogue", "token", "speaker", "gender", "script"),
    [
        ("Ses01F_impro01", "M003", "Ses01M", "male", None),
        ("Ses03M_impro05a", "F001", "Ses03F", "female", None),
        ("Ses05M_script01_1b", "F013", "Ses05F", "female", "script01_1"),
        ("Ses05M_script01_1", "M013", "Ses05M", "male", "script01_1"),
        ("Ses01F_script02_2", "M012", "Ses01M", "male", "script02_2"),
        ("Ses04F_script03", "F000", "Ses04F", "female", "script03"),
    ],
)
def test_all_parts_of_a_name_are_read(tmp_path, dialogue, token, speaker, gender, script):
    corpora.iemocap_dialogue(tmp_path, dialogue, [(token, "neu", 3, 3, 3, "Hm.")])
    row = by_utterance(tmp_path).loc[f"{dialogue}_{token}"]
    assert list(row[["speaker", "gender", "session", "dialogue"]]) == [speaker, gender, dialogue[4], dialogue]
    assert row["script"] == script if script else row.isna()["script"]


@pytest.mark.parametrize(
    "utterance",
    ["Ses06F_impro01_F000", "Ses01X_impro01_F000", "Ses01F_impro01_X000", "Ses01F_impro01_F00", "Ses01F_impro01_MXX0",
     "Ses01F_song01_F000", "Ses01F_impro01_F0001", "F000"],
)  # fmt: skip
def test_a_malformed_name_is_an_error_that_names_file_and_line(root, utterance):
    place = add_line(root, f"[1.0000 - 2.0000]\t{utterance}\tneu\t[2.5000, 2.5000, 2.5000]")
    with pytest.raises(UserError) as caught:
        iemocap.read(root)
    assert str(caught.value).startswith(place)
    assert utterance in str(caught.value)


@pytest.mark.parametrize(
    "line",
    ["[1.0000 - 2.0000]\tSes01F_impro01_F009\tneu\t[2.5000, 2.5000]",
     "[1.0000 - 2.0000]\tSes01F_impro01_F009\t[2.5000, 2.5000, 2.5000]",
     "[1.0000 - ]\tSes01F_impro01_F009\tneu\t[2.5000, 2.5000, 2.5000]",
     "[1.0000 - 2.0000]\tSes01F_impro01_F009\tneu\t[2.5000, x, 2.5000]",
     "[1.0000 - 2.0000]\tSes01F_impro01_F009\tneu\t[2.5000, 2.5000, 2.5000] and more",
     "["],
)  # fmt: skip
def test_a_malformed_line_is_an_error_that_names_file_and_line(root, line):
    place = add_line(root, line)
    with pytest.raises(UserError) as caught:
        iemocap.read(root)
    assert str(caught.value).startswith(f"{place} expected '[START - END] UTTERANCE LABEL [V, A, D]'")


def test_an_unknown_label_is_an_error_that_lists_the_known_ones(root):
    place = add_line(root, "[1.0000 - 2.0000]\tSes01F_impro01_F000\tjoy\t[2.5000, 2.5000, 2.5000]")
    with pytest.raises(UserError) as caught:
        iemocap.read(root)
    known = "neu, hap, ang, sad, exc, fru, sur, fea, dis, oth, xxx"
    assert str(caught.value) == f"{place} unknown label 'joy'; known are {known}."


@pytest.mark.parametrize("values", ["0.4000, 2.5000, 2.5000", "2.5000, 25.0000, 2.5000", "2.5000, 2.5000, 6.0000"])
def test_a_value_off_the_scale_is_an_error_that_names_file_and_line(root, values):
    place = add_line(root, f"[1.0000 - 2.0000]\tSes01F_impro01_F000\tneu\t[{values}]")
    with pytest.raises(UserError, match="IEMOCAP's scale is 1 to 5") as caught:
        iemocap.read(root)
    assert str(caught.value).startswith(place)


def test_lines_may_end_as_on_windows(root):
    path = root / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert len(iemocap.read(root)) == 13


def test_labels_without_audio_are_counted_in_the_error(root):
    waves = root / "Session1" / "sentences" / "wav" / "Ses01F_impro01"
    (waves / "Ses01F_impro01_F000.wav").unlink()
    (waves / "Ses01F_impro01_M001.wav").unlink()
    with pytest.raises(UserError, match=r"2 labelled utterances have no audio file; the first is .*_F000.wav"):
        iemocap.read(root)


def test_audio_without_label_is_counted_in_the_error(root):
    extra = root / "Session2" / "sentences" / "wav" / "Ses02F_impro08a" / "Ses02F_impro08a_F099.wav"
    corpora.write_audio(extra)
    with pytest.raises(UserError, match="iemocap: 1 audio files have no label") as caught:
        iemocap.read(root)
    assert str(extra) in str(caught.value)


def test_an_utterance_with_two_labels_is_refused(root):
    add_line(root, "[1.0000 - 2.0000]\tSes01F_impro01_F000\tsad\t[2.5000, 2.5000, 2.5000]")
    with pytest.raises(UserError, match="Ses01F_impro01_F000 occurs more than once"):
        iemocap.read(root)


def test_an_utterance_with_two_audio_files_is_refused(root):
    path = root / "Session1" / "sentences" / "wav" / "Ses01F_impro01" / "Ses01F_impro01_F000.flac"
    with pytest.raises(UserError, match=r"Two audio files for one utterance: .*F000.flac and .*F000.wav"):
        corpora.write_audio(path)
        iemocap.read(root)


def test_audio_may_be_flac(tmp_path):
    table = iemocap.read(corpora.iemocap(tmp_path, suffix=".flac"))
    assert len(table) == 13
    assert table["path"].str.endswith(".flac").all()
    assert table["duration"].to_numpy() == pytest.approx(0.01)


def test_root_may_be_the_parent_of_the_release(tmp_path):
    corpora.iemocap(tmp_path / "IEMOCAP_full_release")
    assert len(iemocap.read(tmp_path)) == 13


def test_a_folder_of_another_corpus_is_refused(tmp_path):
    corpora.emodb(tmp_path, ["03a01Fa"])
    with pytest.raises(UserError, match=r"is not iemocap: expected the folders Session1 to .* but found wav\."):
        iemocap.read(tmp_path)


def test_the_error_for_an_empty_folder_uses_the_given_name(tmp_path):
    with pytest.raises(UserError, match=r"is not demo: .* but found nothing\."):
        iemocap.read_release(tmp_path, corpus_name="demo")


@pytest.mark.parametrize("folder", ["dialog/EmoEvaluation", "sentences/wav"])
def test_a_session_without_labels_or_audio_is_refused(root, folder):
    for other in {"dialog/EmoEvaluation", "sentences/wav"} - {folder}:
        (root / "Session3" / other).mkdir(parents=True)
    with pytest.raises(UserError, match=f"Session3 should hold the folder {folder}"):
        iemocap.read(root)


def test_missing_sessions_are_left_out_and_selecting_a_subset_fails(root):
    with pytest.raises(UserError) as caught:
        load("iemocap", "4class-improvised", root)
    assert "angry 1 instead of 289, happy 0 instead of 284, neutral 1 instead of 1099, sad 0 instead of 608" in str(
        caught.value
    )


def test_subsets_of_the_small_release(root):
    expected = {
        "vad": 13,
        "4class-excited": 7,  # 1 angry, 1 happy, 1 excited, 2 neutral, 2 sad
        "4class": 6,
        "4class-improvised": 2,
        "4class-improvised-excited": 2,
        "4class-scripted-excited": 5,
    }
    assert {
        subset.name: len(load("iemocap", subset.name, root, partial=True).table) for subset in iemocap.CORPUS.subsets
    } == expected
    merged = load("iemocap", "4class-excited", root, partial=True)
    assert merged.table["emotion"].value_counts().to_dict() == {"neutral": 2, "happy": 2, "sad": 2, "angry": 1}
    assert merged.flags == ("partial: 7 of 5531 utterances",)


@pytest.mark.parametrize(
    ("subset", "size"),
    # The first four are the counts of the papers; 2,943 and 2,588 are the improvised and scripted part of 5,531.
    [("vad", 10039), ("4class-excited", 5531), ("4class", 4490), ("4class-improvised", 2280),
     ("4class-improvised-excited", 2943), ("4class-scripted-excited", 2588)],
)  # fmt: skip
def test_one_corpus_satisfies_all_subsets(full, subset, size):
    table, _ = full
    chosen, flags = select(table, "iemocap", iemocap.CORPUS.subset(subset))
    assert len(chosen) == size
    assert flags == []


def test_counts_by_emotion(full):
    # 10,039 without the four classes, frustrated (1,849) and unresolved (2,507) leaves 152.
    assert full[0]["emotion"].value_counts().to_dict() == {
        "unresolved": 2507, "frustrated": 1849, "neutral": 1708, "angry": 1103, "sad": 1084, "excited": 1041,
        "happy": 595, "surprised": 107, "fearful": 40, "other": 3, "disgusted": 2,
    }  # fmt: skip


def test_counts_of_the_four_classes_by_session_and_speaker(full):
    four, _ = select(full[0], "iemocap", iemocap.CORPUS.subset("4class-excited"))
    # Counted in the label files that public splits of the four classes hold.
    by_session = {session: rows["emotion"].value_counts() for session, rows in four.groupby("session")}
    assert {session: [int(counts[name]) for name in ("angry", "happy", "neutral", "sad")]
            for session, counts in by_session.items()} == {
        "1": [229, 278, 384, 194], "2": [137, 327, 362, 197], "3": [240, 286, 320, 305], "4": [327, 303, 258, 143],
        "5": [170, 442, 384, 245],
    }  # fmt: skip
    assert four["speaker"].value_counts().sort_index().to_dict() == {
        "Ses01F": 528, "Ses01M": 557, "Ses02F": 481, "Ses02M": 542, "Ses03F": 522, "Ses03M": 629, "Ses04F": 528,
        "Ses04M": 503, "Ses05F": 590, "Ses05M": 651,
    }  # fmt: skip
    # For so many utterances, a parser that takes the prefix gets the speaker wrong.
    assert int((four["utterance"].str[:6] != four["speaker"]).sum()) == 2750


def test_the_release_has_151_label_files(full):
    dialogues = full[0].groupby("session")["dialogue"].nunique()
    assert dialogues.to_dict() == {"1": 28, "2": 30, "3": 32, "4": 30, "5": 31}


def test_a_corpus_of_full_size_is_read_in_seconds(full):
    table, seconds = full
    assert seconds < 5
    assert len(table) == iemocap.CORPUS.utterances == 10039
    assert table["session"].value_counts().sort_index().to_dict() == {
        "1": 1819, "2": 1811, "3": 2136, "4": 2103, "5": 2170,
    }  # fmt: skip
    assert table["speaker"].nunique() == iemocap.CORPUS.speakers == 10
