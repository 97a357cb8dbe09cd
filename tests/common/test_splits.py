from collections import Counter

import numpy as np
import pytest

from common.corpus import build_table
from common.errors import UserError
from common.splits import Fold, LeaveOneSessionOut, LeaveOneSpeakerOut, StratifiedKFold, audit


def corpus(speakers=6, each=(7, 10, 13), sessions=True):
    """A corpus of `speakers` with `each` utterances an emotion; two speakers a session."""
    emotions = ("angry", "happy", "sad")
    return build_table(
        [
            {
                "utterance": f"s{speaker}-{emotion}-{number:02d}",
                "path": f"/nowhere/s{speaker}-{emotion}-{number:02d}.wav",
                "speaker": f"{speaker:02d}",
                "session": str(1 + speaker // 2) if sessions else None,
                "emotion": emotion,
                "duration": 1.0,
            }
            for speaker in range(speakers)
            for emotion, count in zip(emotions, each, strict=True)
            for number in range(count)
        ],
        "test",
    )


PROTOCOLS = {
    "speaker, speaker": LeaveOneSpeakerOut(),
    "speaker, stratified": LeaveOneSpeakerOut("stratified"),
    "speaker, none": LeaveOneSpeakerOut("none"),
    "k-fold": StratifiedKFold(5),
    "k-fold, none": StratifiedKFold(7, share=0.0),
    "session, emotion": LeaveOneSessionOut(),
    "session, speaker": LeaveOneSessionOut("speaker"),
}
every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)


def column(table, name, ids):
    return table.set_index("utterance").loc[list(ids), name]


@every_protocol
def test_parts_of_a_fold_partition_the_utterances(protocol):
    table = corpus()
    for fold in protocol(table):
        assert Counter(fold.train + fold.validation + fold.test) == Counter(table["utterance"])
        assert fold.train
        assert fold.test


@every_protocol
def test_every_utterance_is_tested_once(protocol):
    table = corpus()
    tested = Counter(utterance for fold in protocol(table) for utterance in fold.test)
    if isinstance(protocol, LeaveOneSessionOut):
        # Half of a held-out session validates; both halves together are every utterance once.
        held_out = Counter(u for fold in protocol(table) for u in fold.test + fold.validation)
        assert held_out == Counter(table["utterance"])
        assert set(tested.values()) == {1}
    else:
        assert tested == Counter(table["utterance"])


@every_protocol
def test_the_same_folds_every_time_whatever_else_draws(protocol):
    table = corpus()
    first = protocol(table)
    np.random.seed(7)
    assert protocol(table.copy()) == first
    assert len({fold.name for fold in first}) == len(first)


@every_protocol
def test_the_tables_index_does_not_matter(protocol):
    table = corpus()
    moved = table.set_axis(np.random.default_rng(0).permutation(len(table)) + 1000)
    assert protocol(moved) == protocol(table)


@pytest.mark.parametrize("protocol", [StratifiedKFold(5), LeaveOneSpeakerOut("stratified"), LeaveOneSessionOut()])
def test_the_seed_changes_the_draw(protocol):
    from dataclasses import replace

    assert replace(protocol, seed=1)(corpus()) != protocol(corpus())


@pytest.mark.parametrize("validation", ["speaker", "stratified", "none"])
def test_leave_one_speaker_out_shares_no_speaker_with_test(validation):
    table = corpus()
    folds = LeaveOneSpeakerOut(validation)(table)
    assert [fold.name for fold in folds] == [f"speaker-{s:02d}" for s in range(6)]
    for fold in folds:
        tested = set(column(table, "speaker", fold.test))
        assert len(tested) == 1
        assert not tested & set(column(table, "speaker", fold.train + fold.validation))


def test_every_speaker_validates_once_and_is_not_trained_on():
    table = corpus()
    validating = []
    for fold in LeaveOneSpeakerOut("speaker")(table):
        (speaker,) = set(column(table, "speaker", fold.validation))
        assert speaker not in set(column(table, "speaker", fold.train))
        validating.append(speaker)
    assert sorted(validating) == sorted(set(table["speaker"]))


def test_stratified_validation_has_its_share_of_each_emotion():
    table = corpus()
    for fold in LeaveOneSpeakerOut("stratified", share=0.2)(table):
        found = column(table, "emotion", fold.validation).value_counts()
        for emotion, count in {"angry": 35, "happy": 50, "sad": 65}.items():  # of the five other speakers
            assert found[emotion] == pytest.approx(0.2 * count, abs=0.5)


@pytest.mark.parametrize("folds", [5, 10])
def test_k_folds_are_stratified_within_one(folds):
    table = corpus()
    totals = table["emotion"].value_counts()
    for fold in StratifiedKFold(folds)(table):
        tested = column(table, "emotion", fold.test).value_counts()
        validating = column(table, "emotion", fold.validation).value_counts()
        for emotion, total in totals.items():
            assert abs(tested[emotion] - total / folds) < 1
            assert abs(validating[emotion] - 0.1 * (total - tested[emotion])) <= 0.5


@pytest.mark.parametrize("seed", range(3))
def test_halves_of_a_session_are_equal_within_one_of_each_emotion(seed):
    table = corpus()
    for fold in LeaveOneSessionOut(seed=seed)(table):
        session = fold.name.removeprefix("session-")
        assert set(column(table, "session", fold.test + fold.validation)) == {session}
        assert session not in set(column(table, "session", fold.train))
        halves = [column(table, "emotion", part).value_counts() for part in (fold.validation, fold.test)]
        assert (halves[0] - halves[1]).abs().max() <= 1
        for part in (fold.validation, fold.test):
            assert column(table, "speaker", part).nunique() == 2


def test_halves_by_speaker():
    table = corpus()
    for fold in LeaveOneSessionOut("speaker")(table):
        (validating,) = set(column(table, "speaker", fold.validation))
        (tested,) = set(column(table, "speaker", fold.test))
        assert validating < tested


@pytest.mark.parametrize(
    ("protocol", "speakers", "message"),
    [
        (LeaveOneSpeakerOut("speaker"), 2, "needs 3 speakers; here are 2"),
        (LeaveOneSpeakerOut("none"), 1, "needs 2 speakers; here are 1"),
        (LeaveOneSpeakerOut("stratified"), 1, "needs 2 speakers; here are 1"),
        (LeaveOneSessionOut(), 2, "needs 2 sessions; here are 1"),
        (LeaveOneSessionOut("speaker"), 3, "session 2 has 1"),
        (StratifiedKFold(50), 6, "the rarest has 42"),
    ],
)
def test_too_few(protocol, speakers, message):
    with pytest.raises(UserError, match=message):
        protocol(corpus(speakers))


@pytest.mark.parametrize("validation", ["none", "stratified"])
def test_two_speakers_are_enough_without_a_validation_speaker(validation):
    assert [len(fold.test) for fold in LeaveOneSpeakerOut(validation)(corpus(2))] == [30, 30]


def test_no_sessions():
    with pytest.raises(UserError, match="this one has none"):
        LeaveOneSessionOut()(corpus(sessions=False))


# --- audit ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def recorded(tmp_path):
    """Six utterances with nothing in common: own speaker, dialogue, script, text and audio."""
    rows = []
    for number in range(6):
        path = tmp_path / f"{number}.wav"
        path.write_bytes(bytes([number]) * 100)  # equal sizes, different bytes
        rows.append(
            {
                "utterance": f"u{number}", "path": str(path), "speaker": f"sp{number}", "dialogue": f"d{number}",
                "script": f"sc{number}", "text": f"words {number}", "emotion": "sad", "duration": 1.0,
            }
        )  # fmt: skip
    return build_table(rows, "test")


FOLD = Fold("fold", ("u0", "u1"), ("u2", "u3"), ("u4", "u5"))


def planted(table, column, source, target):
    table = table.copy()
    value = table.loc[table["utterance"] == source, column].iloc[0]
    table.loc[table["utterance"] == target, column] = value
    return table


def test_a_clean_fold_shares_nothing(recorded):
    assert audit(recorded, FOLD) == {}


@pytest.mark.parametrize("name", ["speaker", "dialogue", "script", "text"])
def test_a_shared_value_is_found(recorded, name):
    assert audit(planted(recorded, name, "u4", "u1"), FOLD) == {name: 1}
    assert audit(planted(recorded, name, "u4", "u2"), FOLD) == {f"{name} (validation)": 1}
    # Within one part nothing leaks.
    assert audit(planted(recorded, name, "u4", "u5"), FOLD) == {}
    assert audit(planted(recorded, name, "u0", "u2"), FOLD) == {}
    both = planted(planted(recorded, name, "u4", "u1"), name, "u5", "u0")
    assert audit(both, FOLD) == {name: 2}


def test_missing_values_are_not_shared(recorded):
    assert audit(recorded.assign(dialogue=None, script=None, text=None), FOLD) == {}


def test_a_shared_utterance_is_found(recorded):
    found = audit(recorded, Fold("fold", ("u0", "u4"), ("u2",), ("u4", "u5")))
    assert found["utterance"] == 1
    assert found["speaker"] == found["audio"] == 1
    assert audit(recorded, Fold("fold", ("u0",), ("u2", "u5"), ("u4", "u5")))["utterance"] == 1


@pytest.mark.parametrize("place", [0, 2])
def test_duplicate_audio_under_another_name_is_found(recorded, tmp_path, place):
    (tmp_path / f"{place}.wav").write_bytes((tmp_path / "5.wav").read_bytes())
    assert audit(recorded, FOLD) == {"audio": 1}


def test_equal_sizes_are_not_enough(recorded, tmp_path):
    assert (tmp_path / "0.wav").stat().st_size == (tmp_path / "5.wav").stat().st_size
    changed = bytearray((tmp_path / "5.wav").read_bytes())
    changed[-1] ^= 1
    (tmp_path / "0.wav").write_bytes(changed)
    assert audit(recorded, FOLD) == {}


def test_the_same_file_under_another_utterance_is_found(recorded):
    assert audit(planted(recorded, "path", "u4", "u0"), FOLD) == {"audio": 1}


def test_two_segments_of_one_recording_are_not_duplicates(recorded):
    table = planted(recorded, "path", "u4", "u0")
    for utterance, start, end in (("u0", 0.0, 1.0), ("u4", 1.0, 2.0)):
        table.loc[table["utterance"] == utterance, ["start", "end"]] = start, end
    assert audit(table, FOLD) == {}
    for start, end in ((0.0, 1.0), (0.9, 1.5), (float("nan"), float("nan"))):  # the same, overlapping, the whole file
        table.loc[table["utterance"] == "u4", ["start", "end"]] = start, end
        assert audit(table, FOLD) == {"audio": 1}


def test_absent_files_are_no_duplicates(recorded, tmp_path):
    for number in (0, 4):
        (tmp_path / f"{number}.wav").unlink()
    assert audit(recorded, FOLD) == {}


@every_protocol
def test_the_audit_of_the_protocols(protocol):
    table = corpus()
    for fold in protocol(table):
        shared = audit(table, fold)
        if isinstance(protocol, LeaveOneSpeakerOut):
            assert shared == {}
        elif isinstance(protocol, StratifiedKFold):
            assert shared["speaker"] >= 5
        elif protocol.halves == "emotion":
            assert shared == {"speaker (validation)": 2}
        else:
            assert shared == {}
