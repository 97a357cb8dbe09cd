from collections import Counter

import numpy as np
import pytest

from common.audit import audit
from common.corpus import build_table
from common.errors import UserError
from common.splits import FixedTestSession, HoldOut, LeaveOneSessionOut, LeaveOneSpeakerOut, StratifiedKFold


def corpus(speakers=6, each=(7, 10, 13), sessions=True):
    """A corpus with `each` utterances per speaker and emotion, and two speakers per session."""
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
    "session, speaker": LeaveOneSessionOut("half-speaker"),
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
def test_folds_do_not_depend_on_other_random_numbers(protocol):
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
def test_the_seed_changes_the_folds(protocol):
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
def test_k_folds_are_stratified_up_to_one_utterance(folds):
    table = corpus()
    totals = table["emotion"].value_counts()
    for fold in StratifiedKFold(folds)(table):
        tested = column(table, "emotion", fold.test).value_counts()
        validating = column(table, "emotion", fold.validation).value_counts()
        for emotion, total in totals.items():
            assert abs(tested[emotion] - total / folds) < 1
            assert abs(validating[emotion] - 0.1 * (total - tested[emotion])) <= 0.5


@pytest.mark.parametrize("seed", range(3))
def test_halves_of_a_session_are_stratified_up_to_one_utterance(seed):
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
    for fold in LeaveOneSessionOut("half-speaker")(table):
        (validating,) = set(column(table, "speaker", fold.validation))
        (tested,) = set(column(table, "speaker", fold.test))
        assert validating < tested


@pytest.mark.parametrize(
    ("protocol", "speakers", "message"),
    [
        (LeaveOneSpeakerOut("speaker"), 2, "needs 3 speakers; there are 2"),
        (LeaveOneSpeakerOut("none"), 1, "needs 2 speakers; there are 1"),
        (LeaveOneSpeakerOut("stratified"), 1, "needs 2 speakers; there are 1"),
        (LeaveOneSessionOut(), 2, "needs 2 sessions; there are 1"),
        (LeaveOneSessionOut("half-speaker"), 3, "session 2 has 1"),
        (StratifiedKFold(50), 6, "the rarest has 42"),
    ],
)
def test_too_few_speakers_sessions_or_utterances(protocol, speakers, message):
    with pytest.raises(UserError, match=message):
        protocol(corpus(speakers))


@pytest.mark.parametrize("validation", ["none", "stratified"])
def test_two_speakers_are_enough_without_a_validation_speaker(validation):
    assert [len(fold.test) for fold in LeaveOneSpeakerOut(validation)(corpus(2))] == [30, 30]


def test_a_corpus_without_sessions():
    with pytest.raises(UserError, match="this one has none"):
        LeaveOneSessionOut()(corpus(sessions=False))


def test_a_whole_session_validates_or_nothing_does():
    table = corpus()
    for fold, tested, validating in zip(LeaveOneSessionOut("session")(table), "123", "231", strict=True):
        assert set(column(table, "session", fold.test)) == {tested} and len(fold.test) == 60
        assert set(column(table, "session", fold.validation)) == {validating} and len(fold.validation) == 60
    for fold in LeaveOneSessionOut("none")(table):
        assert (len(fold.train), len(fold.validation), len(fold.test)) == (120, 0, 60)
    with pytest.raises(UserError, match="needs 3 sessions; there are 2"):
        LeaveOneSessionOut("session")(corpus(4))


def test_folds_stratified_by_speaker_train_on_eight_of_ten():
    table = corpus()
    folds = StratifiedKFold(10, by="speaker", validation="fold")(table)
    assert [(len(fold.train), len(fold.validation), len(fold.test)) for fold in folds] == [(144, 18, 18)] * 10
    for fold, following in zip(folds, folds[1:] + folds[:1], strict=True):
        assert set(fold.validation) == set(following.test)
        # 30 utterances of each speaker in ten folds: three each.
        assert set(column(table, "speaker", fold.test).value_counts()) == {3}


def test_with_a_fixed_test_session_the_end_of_the_rest_validates():
    table = corpus(each=(7, 10, 14))  # 31 utterances of each of 6 speakers
    (fold,) = FixedTestSession("3")(table)
    assert len(fold.test) == 62 and set(column(table, "session", fold.test)) == {"3"}
    # 20 % of 124 are 24.8, so the last 24 by path, which are all of the last training speaker.
    rest = [u for u, s in zip(table["utterance"], table["session"], strict=True) if s != "3"]
    assert fold.validation == tuple(rest[-24:])
    assert set(column(table, "speaker", fold.validation)) == {"03"}
    assert audit_names(table, fold) == set()
    (honest,) = FixedTestSession("3", "session")(table)
    assert set(column(table, "session", honest.validation)) == {"2"} and len(honest.train) == 62
    with pytest.raises(UserError, match="no session 5 to test on; there are 1, 2, 3"):
        FixedTestSession()(table)


def audit_names(table, fold):
    return {name.split()[0] for name in audit(table, fold)}


def test_the_fixed_split_has_the_papers_sizes():
    """IEMOCAP: 7869 utterances of Sessions 1 to 4, of which 1573 validate, and 2170 of Session 5."""
    rows = [
        {"utterance": f"{s}-{k:04d}", "path": f"/n/{s}-{k:04d}.wav", "speaker": s, "session": s, "duration": 1.0}
        for s, count in zip("12345", (1819, 1811, 2136, 2103, 2170), strict=True)
        for k in range(count)
    ]
    (fold,) = FixedTestSession()(build_table(rows, "test"))
    assert (len(fold.train), len(fold.validation), len(fold.test)) == (7869 - 1573, 1573, 2170)
    assert {utterance[0] for utterance in fold.validation} == {"4"}


@pytest.mark.parametrize(("units", "cut"), [(4, (2, 1, 1)), (5, (3, 1, 1)), (24, (17, 5, 2)), (25, (18, 5, 2))])
def test_speakers_are_cut_as_the_authors_code_cuts_them(units, cut):
    table = corpus(units, each=(1, 1, 1))
    (fold,) = HoldOut("speaker")(table)
    parts = [sorted(set(column(table, "speaker", part))) for part in (fold.train, fold.validation, fold.test)]
    assert tuple(len(part) for part in parts) == cut
    assert parts[0] + parts[1] + parts[2] == sorted(table["speaker"].unique())


def test_sessions_are_cut_three_one_one():
    table = corpus(10, each=(2, 2, 2))
    (fold,) = HoldOut("session")(table)
    sessions = [sorted(set(column(table, "session", part))) for part in (fold.train, fold.validation, fold.test)]
    assert sessions == [["1", "2", "3"], ["4"], ["5"]]


def test_of_two_speakers_one_trains_and_the_other_is_halved():
    """The authors' actor split of TESS: one actress trains, half of the other validates, half tests (Table 1)."""
    table = corpus(2, each=(7, 10, 13), sessions=False)
    (fold,) = HoldOut("half-speaker")(table)
    sizes = [Counter(column(table, "speaker", part)) for part in (fold.train, fold.validation, fold.test)]
    assert sizes == [{"00": 30}, {"01": 15}, {"01": 15}]
    assert not set(fold.validation) & set(fold.test)
    assert HoldOut("half-speaker")(table) == [fold] and HoldOut("half-speaker", seed=1)(table) != [fold]


def test_random_utterances_depend_on_the_seed_and_share_speakers():
    table = corpus()
    (fold,) = HoldOut()(table)
    assert (len(fold.train), len(fold.validation), len(fold.test)) == (126, 36, 18)
    assert HoldOut()(table) == [fold] and HoldOut(seed=1)(table) != [fold]
    assert audit_names(table, fold) == {"speaker"}


@pytest.mark.parametrize("unit", ["speaker", "session"])
def test_in_turn_every_utterance_is_tested_once_and_nothing_is_shared(unit):
    table = corpus(14, each=(2, 2, 2))
    folds = HoldOut(unit, in_turn=True)(table)
    assert len(folds) == {"speaker": 14, "session": 7}[unit]
    assert Counter(u for fold in folds for u in fold.test) == Counter(table["utterance"])
    for fold in folds:
        assert Counter(fold.train + fold.validation + fold.test) == Counter(table["utterance"])
        parts = [set(column(table, unit, part)) for part in (fold.train, fold.validation, fold.test)]
        assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
        assert all(parts)


def test_numbers_of_folds_without_a_corpus_on_disk():
    import data_prep

    iemocap, ravdess = data_prep.corpus("iemocap"), data_prep.corpus("ravdess")
    assert LeaveOneSpeakerOut().count(iemocap) == 10 and LeaveOneSessionOut("none").count(iemocap) == 5
    assert FixedTestSession().count(iemocap) == 1 and StratifiedKFold(10).count(iemocap) == 10
    assert HoldOut("speaker").count(ravdess) == 1
    assert HoldOut("speaker", in_turn=True).count(ravdess) == 12  # 24 actors, two per fold


@every_protocol
def test_the_audit_of_the_protocols(protocol):
    table = corpus()
    for fold in protocol(table):
        shared = audit(table, fold)
        if isinstance(protocol, LeaveOneSpeakerOut):
            assert shared == {}
        elif isinstance(protocol, StratifiedKFold):
            assert shared["speaker"] >= 5
        elif protocol.validation == "half":
            assert shared == {"speaker (validation)": 2}
        else:
            assert shared == {}
