"""Protocols of tables of recordings: given parts, and groups of speakers."""

import itertools

import pandas as pd
import pytest

from common.corpus import COLUMNS
from common.errors import UserError
from common.table_splits import GivenSplit, SpeakerGroups


def made(speakers, counts, genders=None, **columns):
    rows = [
        {"utterance": f"{speaker}-{k}", "speaker": speaker, "gender": gender, "emotion": "ab"[k % 2]}
        for speaker, count, gender in zip(speakers, counts, genders or itertools.repeat(None), strict=False)
        for k in range(count)
    ]
    return pd.DataFrame(rows).reindex(columns=list(COLUMNS)).assign(**columns)


def test_every_speaker_tests_once_and_groups_are_even():
    speakers = [f"s{k:02d}" for k in range(24)]
    table = made(speakers, [60] * 24, ["male", "female"] * 12)
    folds = SpeakerGroups(6)(table)
    speaker = dict(zip(table["utterance"], table["speaker"], strict=True))
    gender = dict(zip(table["speaker"], table["gender"], strict=True))
    tested = [{speaker[one] for one in fold.test} for fold in folds]
    assert sorted(itertools.chain(*tested)) == speakers
    assert [sorted(gender[one] for one in group) for group in tested] == [["female"] * 2 + ["male"] * 2] * 6
    for number, fold in enumerate(folds):
        parts = [{speaker[one] for one in part} for part in (fold.train, fold.validation, fold.test)]
        assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
        assert parts[1] == tested[(number + 1) % 6]
        assert len(fold.train) + len(fold.validation) + len(fold.test) == len(table)
    shares = len(folds[0].train) / len(table), len(folds[0].validation) / len(table)
    assert shares == pytest.approx(SpeakerGroups(6).shares(None))


def test_speakers_of_different_sizes_are_evened_out():
    table = made("abcdef", [50, 40, 30, 20, 10, 10])
    sizes = [len(fold.test) for fold in SpeakerGroups(3)(table)]
    assert sum(sizes) == 160 and max(sizes) - min(sizes) <= 20
    with pytest.raises(UserError, match="there are 6 speakers for 7 groups"):
        SpeakerGroups(7)(table)


def test_the_given_parts_are_used_as_they_are():
    table = made("ab", [20, 5], split=["train"] * 15 + ["validation"] * 5 + ["test"] * 5)
    (fold,) = GivenSplit()(table)
    assert [len(part) for part in (fold.train, fold.validation, fold.test)] == [15, 5, 5]
    without = table.assign(split=["train"] * 20 + ["test"] * 5)
    (fold,) = GivenSplit()(without)
    assert [len(part) for part in (fold.train, fold.validation, fold.test)] == [18, 2, 5]
    assert all(one.startswith("a-") for one in fold.validation)
    with pytest.raises(UserError, match="no utterance for 'test'"):
        GivenSplit()(table.assign(split="train"))
    with pytest.raises(UserError, match="5 utterances have no split, the first b-0"):
        GivenSplit()(table.assign(split=["train"] * 20 + [None] * 5))
