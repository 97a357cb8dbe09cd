import pytest

from common.audit import audit
from common.corpus import build_table
from common.splits import Fold


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
