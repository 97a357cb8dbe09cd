"""Sharded features: what comes back is what was extracted, damage is noticed, and only what is used is read."""

import json
import mmap
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import soundfile

from common.corpus import build_table
from common.errors import UserError
from common.features import shards
from common.features.store import FeatureStore

RATE = 8000


@dataclass(frozen=True)
class Ramp:
    """As many rows as the recording has hundreds of samples, with the first sample in the second column."""

    name: ClassVar[str] = "ramp"
    version: ClassVar[int] = 1
    sharded: ClassVar[bool] = True
    calls: ClassVar[list] = []

    sample_rate: int = RATE
    factor: float = 1.0

    def __call__(self, samples):
        self.calls.append(len(samples))
        rows = np.arange(len(samples) // 100)
        return np.stack([rows, np.full(len(rows), self.factor * samples[0])], axis=1).astype(np.float16)


@dataclass(frozen=True)
class Infinite(Ramp):
    name: ClassVar[str] = "infinite"

    def __call__(self, samples):
        return np.full((2, 2), np.inf if len(samples) == 200 else 1.0, np.float16)


@pytest.fixture(autouse=True)
def _no_calls():
    Ramp.calls.clear()


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "cache", jobs=1)


@pytest.fixture
def table(tmp_path):
    """u1 ... u7; u_k has k hundreds of samples of the value k / 8."""
    rows = []
    for number in range(1, 8):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, np.full(100 * number, number / 8), RATE)
        rows.append({"utterance": f"u{number}", "path": str(path), "speaker": "s", "emotion": "sad"})
    return build_table(rows, "test")


def check(features, numbers=range(1, 8)):
    assert list(features) == [f"u{number}" for number in numbers] and len(features) == len(numbers)
    for number in numbers:
        found = features[f"u{number}"]
        np.testing.assert_array_equal(found, [[row, number / 8] for row in range(number)])
        assert found.dtype == np.float16 and not found.flags.writeable


def files(store, ending="npy"):
    return sorted(store.root.rglob(f"*.{ending}"))


def test_features_come_back_and_are_not_extracted_again(store, table):
    seen = []
    features = store.get(table, Ramp(), progress=lambda done, total: seen.append((done, total)))
    check(features)
    assert [done for done, _ in seen] == [2, 4, 6, 7] and {total for _, total in seen} == {7}
    assert len(files(store)) == 4 and len(Ramp.calls) == 7  # two utterances per shard, so that four jobs have work
    check(store.get(table, Ramp()))
    assert len(Ramp.calls) == 7
    check(store.get(table.iloc[[4, 1]], Ramp()), (5, 2))
    store.get(table.head(1), Ramp(factor=2.0))
    assert len(Ramp.calls) == 8  # another setting, another folder


def test_the_features_are_parts_of_mapped_files(store, table):
    found = store.get(table, Ramp())["u6"]
    while not isinstance(found, np.memmap):
        found = found.base
    assert found.mode == "r" and found.shape[1] == 2


def test_what_is_announced_are_the_pages_of_the_parts(store):
    whole = np.arange(300_000, dtype=np.float32).reshape(-1, 3)
    shards.write_shard(store.root, ["a", "b"], [whole[:40_000], whole[40_000:]])
    found = shards.read_shards(store.root, {"a", "b"}, 1)
    seen = []

    class Recorded(mmap.mmap):
        def madvise(self, *arguments):
            seen.append(arguments)
            super().madvise(*arguments)

    (file,) = files(store)
    header = file.stat().st_size - whole.nbytes
    with file.open("rb") as opened:
        recorded = Recorded(opened.fileno(), 0, access=mmap.ACCESS_READ)
    array = np.ndarray(whole.shape, np.float32, recorded, header)
    shards.announce([array[50_000:50_100], array[:10], array[:0], whole[:10]])
    page = mmap.PAGESIZE
    first = (header + 50_000 * 12) // page * page
    assert seen == [
        (mmap.MADV_WILLNEED, first, header + 50_100 * 12 - first),
        (mmap.MADV_WILLNEED, 0, header + 10 * 12),
    ]
    shards.announce([found["b"][10:20]])
    np.testing.assert_array_equal(found["b"][10:20], whole[40_010:40_020])


def test_more_utterances_are_extracted_into_new_shards(store, table):
    store.get(table.head(3), Ramp())
    first = {file: file.stat().st_mtime_ns for file in files(store)}
    check(store.get(table, Ramp()))
    assert len(Ramp.calls) == 7
    assert first.items() <= {file: file.stat().st_mtime_ns for file in files(store)}.items()


@pytest.mark.parametrize("damage", ["changed", "short", "no array", "no index", "bad index"])
def test_a_damaged_shard_is_extracted_again(store, table, damage):
    store.get(table, Ramp())
    array = next(file for file in files(store) if len(json.loads(file.with_suffix(".json").read_bytes())["keys"]) == 1)
    index = array.with_suffix(".json")
    content = array.read_bytes()
    if damage == "changed":
        array.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "short":
        array.write_bytes(content[:-2])
    elif damage == "bad index":
        index.write_text('{"keys": 3')
    else:
        (array if damage == "no array" else index).unlink()
    check(store.get(table, Ramp()))
    assert len(Ramp.calls) == 8 and array.read_bytes() == content


def test_a_killed_extraction_keeps_its_complete_shards(store, table, monkeypatch):
    write, written = shards.write_json, []

    def killed(path, value):
        if written:
            raise KeyboardInterrupt
        write(path, value)
        written.append(path)

    monkeypatch.setattr(shards, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        store.get(table, Ramp())
    monkeypatch.undo()
    assert len(Ramp.calls) == 4 and len(files(store, "json")) == 1
    check(store.get(table, Ramp()))
    assert len(Ramp.calls) == 4 + 5


def test_bad_audio_stops_or_is_left_out(store, table, tmp_path):
    (tmp_path / "3.wav").write_bytes(b"no audio")
    (tmp_path / "5.wav").unlink()
    with pytest.raises(UserError, match=r"5\.wav: the audio file does not exist.*--skip-bad-audio"):
        store.get(table, Ramp())
    features = store.get(table, Ramp(), skip_bad_audio=True)
    check(features, (1, 2, 4, 6, 7))
    assert sorted(features.skipped) == ["u3", "u5"] and "3.wav" in features.skipped["u3"]
    with pytest.raises(UserError, match=r"2\.wav: infinite gives values that are not finite"):
        store.get(table.head(2), Infinite())


def test_copies_of_a_recording_are_extracted_once(store, table, tmp_path):
    (tmp_path / "2.wav").write_bytes((tmp_path / "1.wav").read_bytes())
    features = store.get(table, Ramp())
    np.testing.assert_array_equal(features["u1"], features["u2"])
    assert len(Ramp.calls) == 6


def test_shards_are_small_enough_for_all_jobs():
    assert shards.shard_size(56_307, 2) == shards.SHARD
    assert shards.shard_size(259, 2) == 33 and shards.shard_size(1, 8) == 1
