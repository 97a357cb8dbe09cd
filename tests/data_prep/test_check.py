import io
import json

import numpy as np
import pytest
import soundfile

from common.errors import CorpusAbsent, UserError, WrongFolder
from data_prep import check as module
from data_prep.check import BadAudio, Count, Length, check
from tests.helpers import REAL_CORPORA, corpora

REAL = REAL_CORPORA


def emodb(folder, names):
    """EMODB with utterances of 0.25 s."""
    corpora.emodb(folder, names)
    for file in (folder / "wav").iterdir():
        file.write_bytes(corpora.tone(duration_s=0.25))
    return folder


@pytest.fixture
def whole(tmp_path):
    return emodb(tmp_path / "emodb", corpora.emodb_names())


@pytest.fixture
def root(tmp_path):
    """EMODB with twenty utterances."""
    return emodb(tmp_path / "emodb", ["03a01Fa", "03a02Wa", *corpora.emodb_names()[40:58]])


def audio(samples, suffix=".wav", subtype=None, rate=16000):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=suffix[1:].upper(), subtype=subtype)
    return buffer.getvalue()


def with_nan():
    samples = np.full(8000, 0.1, np.float32)
    samples[100] = np.nan
    return audio(samples, subtype="FLOAT")


def test_a_complete_corpus_is_as_stated(whole):
    result = check("emodb", whole)
    assert result.differences == [] and result.refusal is None and not result.quick
    assert (result.utterances, result.speakers, result.sessions) == (Count(535, 535), Count(10, 10), None)
    assert set(result.subsets) == {"7class", "4class"}
    assert result.subsets["7class"].classes["angry"] == Count(127, 127)
    assert (result.subsets["4class"].found, result.subsets["4class"].difference) == (339, "")
    assert (result.bad_audio, result.unused_files, result.notes) == ([], [], [])
    assert (result.sample_rates, result.channels) == ({16000: 535}, {1: 535})
    assert result.durations.total_s == pytest.approx(535 * 0.25)
    assert result.durations.median_s == result.durations.longest.seconds == 0.25


def test_missing_utterances_are_counted_by_subset_and_class(whole):
    for file in (whole / "wav").glob("03*W*.wav"):
        file.unlink()
    gone = 535 - len(list((whole / "wav").iterdir()))
    result = check("emodb", whole)
    assert result.utterances == Count(535 - gone, 535) and result.speakers == Count(10, 10)
    assert result.subsets["7class"].classes["angry"] == Count(127 - gone, 127)
    assert result.subsets["4class"].difference == f"angry {127 - gone} instead of 127"
    assert result.differences == [
        f"{535 - gone} utterances instead of 535", "unexpected counts in 7class, 4class",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "problem", "seen_by_header"),
    [
        (b"RIFF but not audio", "not readable as audio", True),
        (b"", "not readable as audio", True),
        (audio(np.zeros(0)), "empty", True),
        (corpora.tone(duration_s=0.5)[:8044], "cut short: 8000 of 16000 bytes of samples are there", True),
        (corpora.tone(".flac", duration_s=0.5)[:2000], "not readable as audio", False),
        (audio(np.zeros(8000)), "silent (its peak is below -80 dB of full scale)", False),
        (with_nan(), "the audio contains samples that are not finite numbers", False),
    ],
    ids=["no audio", "no byte", "no sample", "cut wav", "cut flac", "silent", "nan"],
)
def test_bad_audio_is_named(root, data, problem, seen_by_header):
    (root / "wav" / "03a01Fa.wav").write_bytes(data)
    (bad,) = check("emodb", root).bad_audio
    assert bad.path == "wav/03a01Fa.wav" and bad.problem.startswith(problem)
    assert "1 audio files that cannot be used" in check("emodb", root).differences
    quick = check("emodb", root, quick=True)
    assert quick.quick and [bad.path for bad in quick.bad_audio] == ["wav/03a01Fa.wav"] * seen_by_header


def test_a_file_written_to_a_pipe_is_not_cut_short(root):
    data = bytearray(corpora.tone(duration_s=0.25))
    data[40:44] = b"\xff\xff\xff\xff"  # the size of the samples, which such a program cannot know
    (root / "wav" / "03a01Fa.wav").write_bytes(data)
    assert check("emodb", root).bad_audio == []


def test_a_folder_or_a_broken_link_in_place_of_a_file_is_bad_audio(root):
    for name in ("03a01Fa", "03a02Wa"):
        (root / "wav" / f"{name}.wav").unlink()
    (root / "wav" / "03a01Fa.wav").mkdir()
    (root / "wav" / "03a02Wa.wav").symlink_to("nowhere")
    assert check("emodb", root).bad_audio == [
        BadAudio("wav/03a01Fa.wav", "not readable as audio"), BadAudio("wav/03a02Wa.wav", "not readable as audio"),
    ]  # fmt: skip


def test_durations_sampling_rates_and_channels(root):
    for name, rate, seconds, channels in (("03a01Fa", 48000, 0.05, 2), ("03a02Wa", 8000, 61, 1)):
        (root / "wav" / f"{name}.wav").write_bytes(corpora.tone(".wav", rate, seconds, channels))
    result = check("emodb", root)
    assert (result.sample_rates, result.channels) == ({8000: 1, 16000: 18, 48000: 1}, {1: 19, 2: 1})
    assert result.durations.shortest == Length("03a01Fa", 0.05) == result.durations.too_short[0]
    assert result.durations.longest == Length("03a02Wa", 61.0) == result.durations.too_long[0]
    assert result.durations.total_s == pytest.approx(18 * 0.25 + 61.05)
    assert result.differences[-2:] == ["1 utterances under 0.1 s", "1 utterances over 60 s"]


def test_unused_files_are_listed_but_are_no_difference(root):
    for name in ("wav/._03a01Fa.wav", "wav/03a01Fa.txt", ".trash/a.wav"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"")
    corpora.write_audio(root / "silence" / "03a01Fa.FLAC")
    (root / "b.mp3").write_bytes(b"")
    result = check("emodb", root)
    assert result.unused_files == ["b.mp3", "silence/03a01Fa.FLAC"]
    assert result.differences == ["20 utterances instead of 535", "unexpected counts in 7class, 4class"]


def test_notes_sessions_transcripts_and_missing_parts(tmp_path):
    corpora.librispeech(tmp_path / "a", [("dev-clean", "84", "F", "121550", "1", 2)], lists=False)
    result = check("librispeech", tmp_path / "a")
    assert len(result.notes) == 2 and result.sessions is None
    assert result.subsets["dev-clean"].difference == "2 utterances instead of 2703"
    assert result.subsets["test-clean"].difference == "no utterance instead of 2620"
    corpora.iemocap(tmp_path / "b")
    assert check("iemocap", tmp_path / "b").sessions == Count(2, 5)
    assert check("iemocap", tmp_path / "b").texts == 12  # of 13


@pytest.mark.parametrize("gone", ["sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav",
                                  "dialog/EmoEvaluation/Ses01F_impro01.txt"])  # fmt: skip
def test_a_refusal_of_the_reader_is_the_only_difference(tmp_path, gone):
    corpora.iemocap(tmp_path)
    (tmp_path / "Session1" / gone).unlink()
    result = check("iemocap", tmp_path)
    assert "Ses01F_impro01_F000.wav" in result.refusal and result.differences == [result.refusal]
    assert (result.utterances, result.subsets, result.durations) == (None, {}, None)


def test_wrong_and_missing_folders_are_errors(tmp_path):
    corpora.emodb(tmp_path, ["03a01Fa"])
    with pytest.raises(WrongFolder, match="is not SAVEE"):
        check("savee", tmp_path)
    with pytest.raises(CorpusAbsent):
        check("emodb", tmp_path / "nowhere")
    with pytest.raises(UserError, match="no corpus 'emobd'"):
        check("emobd", tmp_path)


def test_without_readable_audio_there_are_no_durations(tmp_path):
    corpora.emodb(tmp_path, ["03a01Fa"])
    (tmp_path / "wav" / "03a01Fa.wav").write_bytes(b"")
    result = check("emodb", tmp_path)
    assert (result.durations, result.sample_rates, result.channels) == (None, {}, {})


def test_progress_counts_every_file(tmp_path):
    corpora.emodb(tmp_path, corpora.emodb_names()[:9])
    calls = []
    check("emodb", tmp_path, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(number, 9) for number in range(1, 10)]


def test_the_keys_of_the_json_output(whole):
    record = json.loads(json.dumps(check("emodb", whole).as_dict(), allow_nan=False))
    assert list(record) == [
        "corpus", "root", "quick", "refusal", "utterances", "speakers", "sessions", "texts", "subsets", "bad_audio",
        "unused_files", "durations", "sample_rates", "channels", "notes", "differences",
    ]  # fmt: skip
    assert record["subsets"]["7class"]["classes"]["sad"] == {"found": 62, "expected": 62}
    assert record["durations"]["longest"]["seconds"] == 0.25 and record["sample_rates"] == {"16000": 535}
    assert set(record["durations"]) == {"total_s", "median_s", "shortest", "longest", "too_short", "too_long"}


def test_suffixes_are_lower_case():
    assert all(suffix.islower() and suffix.startswith(".") for suffix in module.AUDIO_SUFFIXES)


@pytest.mark.corpus
@pytest.mark.skipif(not (REAL / "emodb").is_dir(), reason="EMODB is not here (SER_CORPORA)")
def test_real_emodb_is_as_stated():
    result = check("emodb", REAL / "emodb")
    assert result.differences == []
    assert (result.sample_rates, result.channels) == ({16000: 535}, {1: 535})
