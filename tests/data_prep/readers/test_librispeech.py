import math
import time
from pathlib import Path

import pytest
import soundfile

from common.errors import UserError
from data_prep import load
from data_prep.readers import librispeech
from tests.helpers import REAL_CORPORA, corpora

REAL = REAL_CORPORA / "librispeech"

CHAPTERS = [
    ("train-clean-100", "19", "F", "198", "121", 3),
    ("train-clean-100", "26", "M", "495", "376", 2),
    ("dev-other", "116", "M", "288045", "376", 2),
]


@pytest.fixture
def root(tmp_path):
    return corpora.librispeech(tmp_path, CHAPTERS)


def aligned(root, *lines, chapter="1272-128104"):
    path = root / "dev-clean" / Path(*chapter.split("-")) / f"{chapter}.alignment.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def test_rows_of_three_chapters(root):
    table = librispeech.read(root).set_index("utterance")
    columns = ["speaker", "gender", "dialogue", "script", "text"]
    assert {utterance: list(row) for utterance, row in table[columns].iterrows()} == {
        "19-198-0000": ["19", "female", "198", "book121", "IT IS 0"],
        "19-198-0001": ["19", "female", "198", "book121", "IT IS 1"],
        "19-198-0002": ["19", "female", "198", "book121", "IT IS 2"],
        "26-495-0000": ["26", "male", "495", "book376", "IT IS 0"],
        "26-495-0001": ["26", "male", "495", "book376", "IT IS 1"],
        "116-288045-0000": ["116", "male", "288045", "book376", "IT IS 0"],
        "116-288045-0001": ["116", "male", "288045", "book376", "IT IS 1"],
    }
    assert table.loc["19-198-0001", "path"] == str(root / "train-clean-100/19/198/19-198-0001.flac")
    assert table[["emotion", "session", "valence", "arousal", "dominance", "start", "end"]].isna().all(axis=None)
    assert table["duration"].to_numpy() == pytest.approx(0.01)


def test_root_may_hold_the_release(tmp_path):
    corpora.librispeech(tmp_path / "LibriSpeech", CHAPTERS)
    assert len(librispeech.read(tmp_path)) == 7


def test_parts_are_subsets(root):
    loaded = load("librispeech", "train-clean-100", root, partial=True)
    assert set(loaded.table["speaker"]) == {"19", "26"}
    assert loaded.flags == ("partial: 5 of 28539 utterances",)
    assert load("librispeech", "dev-other", root, partial=True).flags == ("partial: 2 of 2864 utterances",)
    assert load("librispeech", "all", root, partial=True).flags == ("partial: 7 of 292367 utterances",)
    with pytest.raises(UserError, match="should have 28539 utterances but the folder gives 5"):
        load("librispeech", "train-clean-100", root)
    with pytest.raises(UserError, match="no utterance of librispeech/test-clean"):
        load("librispeech", "test-clean", root, partial=True)


def test_official_counts():
    # Panayotov et al., 2015, by counting the release's archives.
    assert (librispeech.CORPUS.utterances, librispeech.CORPUS.speakers) == (292367, 2484)
    assert {subset.name: subset.expected for subset in librispeech.CORPUS.subsets} == {
        "train-clean-100": 28539, "train-clean-360": 104014, "train-other-500": 148688, "dev-clean": 2703,
        "dev-other": 2864, "test-clean": 2620, "test-other": 2939, "all": 292367,
    }  # fmt: skip


def test_a_parent_folder_with_the_name_of_a_part_is_not_mistaken_for_it(tmp_path):
    root = corpora.librispeech(tmp_path / "dev-clean-copy" / "test-clean", CHAPTERS)
    with pytest.raises(UserError, match="no utterance of librispeech/test-clean"):
        load("librispeech", "test-clean", root, partial=True)


def test_without_lists_gender_and_books_are_missing_and_results_say_so(tmp_path):
    corpora.librispeech(tmp_path, CHAPTERS, lists=False)
    loaded = load("librispeech", "dev-other", tmp_path, partial=True)
    assert loaded.table["gender"].isna().all()
    assert set(loaded.table["script"]) == {"chapter288045"}
    assert [flag.split(":")[0] for flag in loaded.flags] == [
        "partial", "gender is missing", "books that several speakers read are not detected",
    ]  # fmt: skip


def test_a_chapter_without_transcripts_has_missing_texts(root):
    (root / "train-clean-100" / "26" / "495" / "26-495.trans.txt").unlink()
    table = librispeech.read(root)
    assert list(table["utterance"][table["text"].isna()]) == ["26-495-0000", "26-495-0001"]


def test_a_suffix_may_be_in_capitals(root):
    chapter = root / "train-clean-100" / "19" / "198"
    (chapter / "19-198-0000.flac").rename(chapter / "19-198-0000.FLAC")
    assert len(librispeech.read(root)) == 7


def test_other_files_are_ignored(root):
    chapter = root / "train-clean-100" / "19" / "198"
    (chapter / "._19-198-0000.flac").write_bytes(b"\x00\x05\x16\x07")
    (chapter / "19-198.alignment.txt").write_text("")
    (root / "train-clean-100" / "19" / "._198").write_bytes(b"\x00\x05\x16\x07")
    (root / "mp3" / "19" / "198").mkdir(parents=True)
    (root / "intro").mkdir()
    assert len(librispeech.read(root)) == 7


@pytest.mark.parametrize("name", ["19-199-0000", "26-198-0000", "19-198-000", "19-198-0000-copy", "19-198"])
def test_a_malformed_name_is_an_error_that_names_the_file(root, name):
    path = corpora.write_audio(root / "train-clean-100" / "19" / "198" / f"{name}.flac")
    with pytest.raises(UserError, match=r"expected the name 19-198-0000\.flac") as caught:
        librispeech.read(root)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_malformed_transcript_names_file_and_line(root):
    path = root / "train-clean-100" / "19" / "198" / "19-198.trans.txt"
    path.write_text("19-198-0000 NORTHANGER\n\n19-198-0001\n")
    with pytest.raises(UserError) as caught:
        librispeech.read(root)
    assert str(caught.value) == f"{path}, line 3: expected '19-198-0000 TEXT', but found '19-198-0001'."


@pytest.mark.parametrize(
    ("name", "line", "fields"),
    [("SPEAKERS.TXT", "19 | F | train-clean-100", 5), ("CHAPTERS.TXT", "x|1|2|3|4|5|6|7", 8)],
)
def test_a_malformed_list_names_file_and_line(root, name, line, fields):
    (root / name).write_text(f"; comment\n\n{line}\n")
    with pytest.raises(UserError) as caught:
        librispeech.read(root)
    assert str(caught.value) == f"{root / name}, line 3: expected {fields} fields separated by '|', but found '{line}'."


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("SPEAKERS.TXT", "\n19 ", "\n20 ", "no F or M for speaker 19, whose audio is in"),
        ("SPEAKERS.TXT", "\n19   | F", "\n19   | X", "no F or M for speaker 19, whose audio is in"),
        ("CHAPTERS.TXT", "\n198 ", "\n199 ", "no chapter 198, whose audio is in"),
    ],
)
def test_a_speaker_or_chapter_that_a_list_lacks_is_an_error(root, name, old, new, message):
    text = (root / name).read_text()
    assert old in text
    (root / name).write_text(text.replace(old, new))
    with pytest.raises(UserError) as caught:
        librispeech.read(root)
    assert str(caught.value).startswith(f"{root / name}: {message}")


@pytest.mark.parametrize("sample_rate", [8000, 16000, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_duration_from_the_first_block_is_that_of_libsndfile(tmp_path, sample_rate, channels):
    path = tmp_path / "a.flac"
    path.write_bytes(corpora.tone(".flac", sample_rate, 0.73, channels=channels))
    info = soundfile.info(path)
    assert librispeech._duration(str(path)) == info.frames / info.samplerate == pytest.approx(0.73)


def test_the_duration_of_a_long_file_uses_all_36_bits(tmp_path):
    header = bytearray(corpora.tone(".flac", 16000, 0.01)[:42])
    header[21:26] = ((header[21] & 0xF0) << 32 | 5_000_000_000).to_bytes(5, "big")
    (tmp_path / "a.flac").write_bytes(header)
    assert librispeech._duration(str(tmp_path / "a.flac")) == 312_500.0


def test_files_that_do_not_say_their_length_are_opened(root):
    chapter = root / "train-clean-100" / "19" / "198"
    (chapter / "19-198-0000.flac").write_bytes(corpora.tone(".wav", 16000, 0.25))
    (chapter / "19-198-0001.flac").write_bytes(b"")
    (chapter / "19-198-0002.flac").write_bytes(b"fLaC and then nothing that is a header of that format")
    duration = librispeech.read(root).set_index("utterance")["duration"]
    assert duration["19-198-0000"] == pytest.approx(0.25)
    assert math.isnan(duration["19-198-0001"]) and math.isnan(duration["19-198-0002"])
    assert duration["26-495-0000"] == pytest.approx(0.01)


def test_a_part_of_official_size_is_read_in_the_stated_time(tmp_path):
    # dev-clean: 40 speakers; 2,703 utterances in as many chapters as a small part has.
    sizes = [68] * 39 + [51]
    corpora.librispeech(tmp_path, [("dev-clean", f"{index}", "FM"[index % 2], f"{1000 + index}", "1", size)
                                   for index, size in enumerate(sizes, start=1)])  # fmt: skip
    started = time.process_time()
    loaded = load("librispeech", "dev-clean", tmp_path)
    seconds = time.process_time() - started
    assert loaded.flags == () and len(loaded.table) == 2703
    # The limit is 15 s for 100,000 utterances.
    assert seconds < 15 * 2703 / 100_000


@pytest.mark.parametrize(
    ("write", "found"),
    [
        (lambda root: corpora.ravdess(root, ["03-01-06-01-02-01-12"]), "Actor_12"),
        (lambda root: corpora.tess(root, ["OAF_back_sad"]), "OAF_Sad"),
        (lambda root: root, "nothing"),
    ],
)
def test_a_folder_of_another_corpus_is_refused(tmp_path, write, found):
    write(tmp_path)
    with pytest.raises(
        UserError, match="is not LibriSpeech: expected at least one of the folders train-clean-100"
    ) as caught:
        librispeech.read(tmp_path)
    assert f"but found {found}." in str(caught.value)


def test_a_part_without_audio_is_refused(tmp_path):
    (tmp_path / "dev-clean" / "84" / "121550").mkdir(parents=True)
    with pytest.raises(UserError, match="has parts of LibriSpeech, but no utterance"):
        librispeech.read(tmp_path)


def test_alignments_give_words_with_start_and_end(tmp_path):
    aligned(
        tmp_path,
        '1272-128104-0000 ",A,MAN,SAID,,TO,THE,UNIVERSE," "0.210,0.430,0.780,1.120,1.300,1.450,1.530,2.250,2.600"',
        '1272-128104-0001 "DON\'T" "0.5"',
        "",
    )
    aligned(tmp_path, '84-121550-0000 ",YES," "0.1,0.4,0.5,"', chapter="84-121550")  # a comma may follow the last end
    assert librispeech.read_alignments(tmp_path) == {
        "1272-128104-0000": [
            ("A", 0.21, 0.43), ("MAN", 0.43, 0.78), ("SAID", 0.78, 1.12), ("TO", 1.3, 1.45), ("THE", 1.45, 1.53),
            ("UNIVERSE", 1.53, 2.25),
        ],
        "1272-128104-0001": [("DON'T", 0.0, 0.5)],
        "84-121550-0000": [("YES", 0.1, 0.4)],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('1272-128104-0001 ",A," "0.2,0.4"', "3 words (silences count) but 2 ends"),
        ('1272-128104-0001 ",A," "0.2,0.4,0.5,0.6"', "3 words (silences count) but 4 ends"),
        ('1272-128104-0001 ",A," "0.2,x,0.5"', "an end that is not a number of seconds in '0.2,x,0.5'"),
        ('1272-128104-0001 ",A," "0.2,,0.5"', "an end that is not a number"),
        ('1272-128104-0001 ",A," "0.4,0.2,0.5"', "go back in time"),
        ('1272-128104-0001 ",A," "-0.1,0.2,0.5"', "go back in time"),
        ('1272-128104-0001 ",A," "0.1,nan,0.5"', "go back in time or are not finite"),
        ('1272-128104-0001 ",A," "0.1,0.2,inf"', "go back in time or are not finite"),
        ('1272-128104-0001 ",A,"', "expected 'UTTERANCE"),
        ("1272-128104-0001 ,A, 0.1,0.2,0.3", "expected 'UTTERANCE"),
        ('1272-128104 ",A," "0.1,0.2,0.3"', "expected 'UTTERANCE"),
        ('1272-128104-0001 ",A," "0.1,0.2,0.3" more', "expected 'UTTERANCE"),
        ('1272-128104-0000 ",A," "0.1,0.2,0.3"', "utterance 1272-128104-0000 is aligned a second time"),
    ],
)
def test_a_malformed_alignment_names_file_and_line(tmp_path, line, message):
    path = aligned(tmp_path, '1272-128104-0000 ",A," "0.2,0.4,0.5"', line)
    with pytest.raises(UserError) as caught:
        librispeech.read_alignments(tmp_path)
    assert str(caught.value).startswith(f"{path}, line 2: ")
    assert message in str(caught.value)


def test_a_folder_without_alignments_is_refused(root):
    with pytest.raises(UserError, match=r"holds no alignments: no file such as 19-198.alignment.txt"):
        librispeech.read_alignments(root)


@pytest.mark.corpus
@pytest.mark.skipif(not REAL.is_dir(), reason="LibriSpeech is not here (SER_CORPORA)")
def test_real_corpus():
    table = librispeech.read(REAL)
    assert table.attrs["notes"] == []
    assert table["gender"].notna().all() and table["script"].str.fullmatch(r"book\d+").all()
    parts = {subset.name: int(subset.where(table).sum()) for subset in librispeech.CORPUS.subsets if subset.where}
    assert sum(parts.values()) == len(table)
    assert all(count <= librispeech.PARTS[part] for part, count in parts.items())
    some = table.iloc[:: max(1, len(table) // 300)]
    assert [soundfile.info(path).duration for path in some["path"]] == list(some["duration"])
    # No utterance of the release is longer than 36 s.
    assert table["duration"].between(1.0, 36.0).all()
