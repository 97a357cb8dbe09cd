"""The embedded demo corpus follows the grammar of IEMOCAP's files and has the stated counts.

It is read with regular expressions that are written here, not with the reader.
"""

import collections
import json
import pathlib
import re

import numpy as np
import pytest
import soundfile

from data_prep.demo import annotation, make, texts

DEMO = pathlib.Path(make.__file__).parent
CORPUS = DEMO / "corpus"
LINE = re.compile(r"^\[(\d+\.\d{4}) - (\d+\.\d{4})\]\t(\w+)\t([a-z]{3})\t\[(\d\.\d{4}), (\d\.\d{4}), (\d\.\d{4})\]$")
NAME = re.compile(r"^Ses0([1-5])[MF]_(impro\d\d|script\d\d_\d[ab]?)_([MF])\d{3}$")
CATEGORICAL = re.compile(r"^C-([EFM][1-6]):\t((?:[A-Z][a-z]+; )*[A-Z][a-z]+;)\t\((.*)\)$")
ATTRIBUTE = re.compile(r"^A-([EFM][1-6]):\tval ([1-5]); act ([1-5]);(?: dom  ([1-5]?);)?\t\((.*)\)$")
SPOKEN = re.compile(r"^(Ses\w+_[MF]\d{3}) \[(\d{3}\.\d{4})-(\d{3}\.\d{4})\]: (.+)$")
ENGLISH = dict(neu="Neutral", hap="Happiness", ang="Anger", sad="Sadness", exc="Excited", fru="Frustration",
               sur="Surprise", fea="Fear", dis="Disgust", oth="Other")  # fmt: skip
EXPECTED = json.loads((DEMO / "expected.json").read_text())


@pytest.fixture(scope="module")
def blocks():
    """For each utterance the match of its line, and the raters' lines."""
    found = {}
    for path in sorted(CORPUS.glob("Session*/dialog/EmoEvaluation/*.txt")):
        header, *rest = path.read_text().strip("\n").split("\n\n")
        assert header == "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]"
        for block in rest:
            first, *raters = block.strip("\n").split("\n")
            match = LINE.match(first)
            assert match, f"{path}: {first}"
            assert match[3].startswith(f"{path.stem}_") and match[3] not in found
            assert path.parts[-4] == f"Session{match[3][4]}"
            found[match[3]] = (match, raters)
    return found


@pytest.fixture(scope="module")
def spoken():
    """For each utterance the match of its transcript; and the lines of no utterance."""
    found, others = {}, []
    for path in sorted(CORPUS.glob("Session*/dialog/transcriptions/*.txt")):
        for line in path.read_text().splitlines():
            if match := SPOKEN.match(line):
                found[match[1]] = match
            else:
                others.append(line)
    return found, others


def audio_files():
    return sorted(CORPUS.glob("Session*/sentences/wav/*/*.flac"))


def test_the_corpus_is_smaller_than_8_mb_and_has_no_other_files():
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 8_000_000
    assert {path.suffix for path in files} == {".flac", ".txt"}
    assert not [path for path in files if path.name.startswith(".")]


def test_audio_is_16_khz_mono_flac_neither_silent_nor_clipped():
    durations, levels = [], []
    for path in audio_files():
        info = soundfile.info(path)
        assert (info.format, info.subtype, info.samplerate, info.channels) == ("FLAC", "PCM_16", 16000, 1), path
        samples, _ = soundfile.read(path, dtype="int16")
        assert np.mean(np.abs(samples.astype(int)) >= 32752) <= 0.001, f"{path} is clipped"
        assert not np.any(samples % 16), f"{path}: the four lowest bits should be zero, for FLAC"
        levels.append(20 * np.log10(np.sqrt(np.mean((samples / 32768) ** 2)) + 1e-9))
        assert levels[-1] > -50, f"{path} is silent"
        durations.append(len(samples) / 16000)
    assert min(durations) < 0.96 < 4.0 < max(durations)  # shorter than one VGGish example, and much longer than most
    assert max(levels) - min(levels) > 12  # levels are not normalised away


def test_labels_audio_and_transcripts_name_the_same_utterances(blocks, spoken):
    assert all(NAME.match(utterance) for utterance in blocks)
    assert set(blocks) == {path.stem for path in audio_files()} == set(spoken[0])
    assert all(path.parent.name == path.stem.rsplit("_", 1)[0] for path in audio_files())


def test_times_agree_between_files(blocks, spoken):
    for path in audio_files():
        match, transcript = blocks[path.stem][0], spoken[0][path.stem]
        start, end = float(match[1]), float(match[2])
        assert (float(transcript[2]), float(transcript[3])) == (start, end)
        assert end - start == pytest.approx(soundfile.info(path).duration, abs=2e-4)


def test_transcripts_have_the_pitfalls_of_iemocap(spoken):
    others = spoken[1]
    assert any(re.match(r"^Ses\w+_[MF]XX0 \[\d{3}\.\d{4}-\d{3}\.\d{4}\]: ", line) for line in others)
    assert any(re.match(r"^[MF]: ", line) for line in others)


def test_there_are_raters_lines_of_all_kinds(blocks):
    kinds = collections.Counter()
    for utterance, (_, raters) in blocks.items():
        session, letter = utterance[4], NAME.match(utterance)[3]
        for line in raters:
            match = CATEGORICAL.match(line) or ATTRIBUTE.match(line)
            assert match, f"{utterance}: {line}"
            own = match[1][0] != "E"
            assert not own or match[1] == letter + session
            kinds[line[0], "self report" if own else "evaluator"] += 1
            if line[0] == "C":
                kinds["several labels"] += match[2].count(";") > 1
                kinds["comment"] += bool(match[3])
            else:
                kinds["dominance" if match[4] else "empty dominance" if "dom" in line else "no dominance"] += 1
    for kind in ("C", "evaluator"), ("C", "self report"), ("A", "evaluator"), ("A", "self report"):
        assert kinds[kind] > 100
    for kind in "several labels", "comment", "dominance", "empty dominance", "no dominance":
        assert kinds[kind] > 0, kind


def test_the_label_is_the_majority_of_the_evaluators(blocks):
    short = {name: label for label, name in ENGLISH.items()}
    for utterance, (line, raters) in blocks.items():
        votes = [match[2][:-1].split("; ") for rater in raters if (match := CATEGORICAL.match(rater))
                 and match[1][0] == "E"]  # fmt: skip
        assert len(votes) == 3
        counts = collections.Counter(short[label] for vote in votes for label in vote)
        winners = [label for label, count in counts.items() if count == max(counts.values()) and count >= 2]
        assert line[4] == (winners[0] if len(winners) == 1 else "xxx"), utterance


def test_vad_is_the_mean_over_the_evaluators(blocks):
    for utterance, (line, raters) in blocks.items():
        rated = [match for rater in raters if (match := ATTRIBUTE.match(rater)) and match[1][0] == "E"]
        assert len(rated) in (2, 3)
        for field, group in ((5, 2), (6, 3), (7, 4)):
            given = [int(match[group]) for match in rated if match[group]]
            assert float(line[field]) == pytest.approx(sum(given) / len(given), abs=6e-5), utterance


def test_counts_are_the_stated_ones(blocks):
    rows = [(*NAME.match(utterance).groups(), match[4]) for utterance, (match, _) in blocks.items()]
    emotions = collections.Counter(label for *_, label in rows)
    improvised = collections.Counter(label for _, part, _, label in rows if part.startswith("impro"))
    four = ("ang", "hap", "neu", "sad")
    assert {
        "total": len(rows),
        "emotion": dict(emotions),
        "part": {"improvised": improvised.total(), "scripted": len(rows) - improvised.total()},
        "session": {f"Session{n}": sum(row[0] == n for row in rows) for n in "12345"},
        "speaker": {f"0{n}{g}": sum((row[0], row[2]) == (n, g) for row in rows) for n in "12345" for g in "FM"},
        "4class-improvised": {label: improvised[label] for label in four},
        "4class-excited": {label: emotions[label] + (label == "hap") * emotions["exc"] for label in four},
        "4class": {label: emotions[label] for label in four},
        "4class-improvised-excited": {
            label: improvised[label] + (label == "hap") * improvised["exc"] for label in four
        },
    } == EXPECTED
    assert set(emotions) == {*ENGLISH, "xxx"}


def test_every_speaker_improvises_each_of_the_four_classes_three_times(blocks):
    counts = collections.Counter()
    for utterance, (match, _) in blocks.items():
        session, part, letter = NAME.match(utterance).groups()
        if part.startswith("impro"):
            counts[session, letter, match[4]] += 1
    for session in "12345":
        for letter in "FM":
            assert all(counts[session, letter, label] >= 3 for label in ("ang", "hap", "neu", "sad"))


def test_both_speakers_are_in_dialogues_of_both_prefixes(blocks):
    seen = {(u[4], u[5], "impro" in u, NAME.match(u)[3]) for u in blocks}
    assert len(seen) == 5 * 2 * 2 * 2  # session, who wore the markers, improvised or not, who speaks


def test_scripted_texts_are_shared_and_improvised_ones_are_not(spoken):
    sessions = collections.defaultdict(set)
    counts = collections.Counter()
    for utterance, match in spoken[0].items():
        if "impro" in utterance:
            counts[match[4]] += 1
        else:
            sessions[match[4]].add(utterance[4])
    assert set(counts.values()) == {1}
    assert all(found == set("12345") for found in sessions.values())


def test_lines_are_written_as_in_iemocap():
    vad = annotation.mean_vad([(3, 2, 2), (2, 3, 3)])
    assert vad == (2.5, 2.5, 2.5)
    assert (
        annotation.evaluation_line(6.2901, 8.2357, "Ses01F_impro01_F000", "neu", vad)
        == "[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]"
    )
    assert annotation.categorical_line("E2", ["neu"]) == "C-E2:\tNeutral;\t()"
    assert annotation.categorical_line("E3", ["neu", "sad"]) == "C-E3:\tNeutral; Sadness;\t()"
    assert annotation.categorical_line("F1", ["neu"], "curious") == "C-F1:\tNeutral;\t(curious)"
    assert annotation.attribute_line("E3", (3, 2, 2)) == "A-E3:\tval 3; act 2; dom  2;\t()"
    assert annotation.attribute_line("E3", (3, 2, None)) == "A-E3:\tval 3; act 2;\t()"
    assert annotation.attribute_line("E3", (3, 2, None), blank=True) == "A-E3:\tval 3; act 2; dom  ;\t()"
    assert (
        annotation.transcription_line("Ses01F_impro01_F000", 6.2901, 8.2357, "Excuse me.")
        == "Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me."
    )


def test_mean_vad_ignores_missing_dominance():
    assert annotation.mean_vad([(2, 4, 4), (1, 4, None)]) == (1.5, 4.0, 4.0)


@pytest.mark.parametrize(
    ("votes", "label"),
    [
        ([["ang"], ["ang"], ["fru"]], "ang"),
        ([["ang"], ["sad"], ["fru"]], "xxx"),
        ([["neu", "sad"], ["neu"], ["sad"]], "xxx"),
        ([["neu", "sad"], ["neu"], ["neu"]], "neu"),
        ([["hap"], ["exc"], ["hap", "exc"], ["hap"]], "hap"),
        ([["hap"], ["hap"], ["exc"], ["neu"]], "xxx"),
    ],
)
def test_the_majority_of_votes(votes, label):
    assert annotation.majority(votes) == label


def test_the_plan_gives_the_shipped_corpus(spoken):
    turns = make.plan()
    assert {turn.utterance: turn.text for turn in turns} == {name: match[4] for name, match in spoken[0].items()}
    assert make.count(turns) == EXPECTED
    turn = next(turn for turn in turns if turn.utterance.startswith("Ses03F") and "_M0" in turn.utterance)
    assert (turn.session, turn.speaker) == (3, "3M")  # not the F of Ses03F


def test_fillings_use_every_slot_value():
    assert texts.fillings("{place}!") == [f"{place[0].upper()}{place[1:]}!" for place in texts.SLOTS["place"]]
    assert len(texts.fillings("{who} {time}")) == len(texts.SLOTS["who"]) * len(texts.SLOTS["time"])


def test_missing_espeak_is_an_error_of_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["make", str(tmp_path / "out")])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"^espeak-ng was not found: install it \(.*\)\.$"):
        make.main()


def test_a_folder_that_is_not_empty_is_refused(monkeypatch, tmp_path):
    (tmp_path / "mine.txt").write_text("")
    monkeypatch.setattr("sys.argv", ["make", str(tmp_path)])
    with pytest.raises(SystemExit, match="is not empty"):
        make.main()
