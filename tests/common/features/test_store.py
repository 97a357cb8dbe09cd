import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import soundfile

from common.corpus import build_table
from common.errors import AudioError, UserError
from common.features import store as store_module
from common.features.spectrogram import Spectrogram
from common.features.store import FeatureStore

RATE = 8000


@dataclasses.dataclass(frozen=True)
class Level:
    """Mean of |x| times a factor, the number of samples; appends a line to `log` at every call."""

    name: ClassVar[str] = "level"
    version: ClassVar[int] = 1

    sample_rate: int = RATE
    factor: float = 1.0
    log: str = ""

    def __call__(self, samples):
        if self.log:
            with open(self.log, "a", encoding="ascii") as file:
                file.write("x\n")
        return np.array([self.factor * np.abs(samples).mean(), len(samples)], np.float32)


@dataclasses.dataclass(frozen=True)
class NewLevel(Level):
    version: ClassVar[int] = 2


@dataclasses.dataclass(frozen=True)
class Broken(Level):
    name: ClassVar[str] = "broken"

    def __call__(self, samples):
        return np.array([np.inf, 0], np.float32)


def level(number):
    return (number + 1) / 64


def record(folder, count=4, first=0):
    """Utterances u0, u1, ... of alternating +-level, which 16-bit samples hold exactly."""
    rows = []
    for number in range(first, first + count):
        path = folder / f"{number}.wav"
        soundfile.write(path, level(number) * np.tile([1.0, -1.0], 400), RATE)
        rows.append({"utterance": f"u{number}", "path": str(path), "speaker": "s", "emotion": "sad"})
    return build_table(rows, "test")


def calls(log):
    return len(Path(log).read_text().splitlines()) if Path(log).exists() else 0


@pytest.fixture
def audio(tmp_path):
    folder = tmp_path / "audio"
    folder.mkdir()
    return folder


@pytest.fixture
def log(tmp_path):
    return str(tmp_path / "log")


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "cache", jobs=1)


def entries(store):
    return sorted(store.root.rglob("*.npy"))


def test_features_are_what_the_extractor_returned(store, audio):
    features = store.get(record(audio), Level(factor=2.0))
    assert list(features) == ["u0", "u1", "u2", "u3"]
    assert features.skipped == {}
    for number in range(4):
        np.testing.assert_allclose(features[f"u{number}"], [2 * level(number), 800])
        assert features[f"u{number}"].dtype == np.float32
    with pytest.raises(KeyError):
        features["u4"]


def test_cached_features_are_not_extracted_again(store, audio, log):
    table = record(audio)
    first = store.get(table, Level(log=log))
    assert calls(log) == 4
    stamps = [entry.stat().st_mtime_ns for entry in entries(store)]
    seen = []
    second = FeatureStore(store.root, jobs=1).get(table, Level(log=log), progress=lambda *at: seen.append(at))
    assert calls(log) == 4
    assert [entry.stat().st_mtime_ns for entry in entries(store)] == stamps
    assert second.paths == first.paths
    assert seen == []


def test_a_renamed_file_keeps_its_entry(store, audio, log):
    table = record(audio)
    store.get(table, Level(log=log))
    moved = audio.parent / "elsewhere"
    audio.rename(moved)
    table["path"] = [str(moved / Path(path).name) for path in table["path"]]
    table["utterance"] = ["v" + name for name in table["utterance"]]
    assert store.get(table, Level(log=log))["vu3"][0] == level(3)
    assert calls(log) == 4


def test_one_changed_byte_of_audio_makes_a_new_entry(store, audio, log):
    table = record(audio)
    store.get(table, Level(log=log))
    path = audio / "2.wav"
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 0x40  # the last sample, -3/64 = 0xFA00, becomes 0xBA00 = -3/64 - 1/2
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # size and time are unchanged
    features = store.get(table, Level(log=log))
    assert calls(log) == 5
    assert features["u2"][0] == pytest.approx((799 * level(2) + 0.5 + level(2)) / 800, rel=1e-5)


@pytest.mark.parametrize("other", [Level(factor=3.0), NewLevel(), Level(sample_rate=16000)])
def test_another_setting_or_version_makes_a_new_entry(store, audio, other):
    table = record(audio)
    first = store.get(table, Level())
    second = store.get(table, other)
    assert not set(first.paths.values()) & set(second.paths.values())
    assert len(entries(store)) == 8
    np.testing.assert_allclose(first["u1"], [level(1), 800])


def damage_truncate(content):
    return content[:-1]


def damage_half(content):
    return content[: len(content) // 2]


def damage_value(content):
    return content[:-20] + bytes([content[-20] ^ 1]) + content[-19:]


def damage_header(content):
    return bytes([content[0] ^ 1]) + content[1:]


def damage_checksum(content):
    return content[:-1] + bytes([content[-1] ^ 1])


def damage_empty(content):
    return b""


def damage_checksum_only(content):
    return hashlib.blake2b(b"", digest_size=16).digest()


DAMAGES = [value for name, value in sorted(globals().items()) if name.startswith("damage_")]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_extracted_again(store, audio, log, damage):
    table = record(audio)
    features = store.get(table, Level(log=log))
    entry = features.paths["u1"]
    whole = entry.read_bytes()
    entry.write_bytes(damage(whole))
    with pytest.raises(UserError, match="was damaged"):
        features["u1"]
    again = store.get(table, Level(log=log))
    assert calls(log) == 5
    np.testing.assert_allclose(again["u1"], [level(1), 800])
    assert entry.read_bytes() == whole


def test_a_deleted_entry_is_extracted_again(store, audio, log):
    table = record(audio)
    store.get(table, Level(log=log)).paths["u1"].unlink()
    np.testing.assert_allclose(store.get(table, Level(log=log))["u1"], [level(1), 800])
    assert calls(log) == 5


def test_numpy_can_memory_map_an_entry(store, audio):
    table = record(audio)
    small = Spectrogram(sample_rate=RATE, dft_length=400, bins=20)
    features = store.get(table, small)
    for name, entry in features.paths.items():
        mapped = np.load(entry, mmap_mode="r", allow_pickle=False)
        assert isinstance(mapped, np.memmap)
        assert mapped.shape == (7, 20)  # 1 + (800 - 320) // 80
        np.testing.assert_array_equal(mapped, features[name])


def test_spans_of_one_file_have_separate_entries(store, audio):
    path = audio / "long.wav"
    soundfile.write(path, np.repeat([0.25, 0.5], RATE), RATE)
    rows = [
        {"utterance": name, "path": str(path), "start": start, "end": end, "speaker": "s", "emotion": "sad"}
        for name, start, end in (("a", 0.0, 1.0), ("b", 1.0, 2.0), ("c", 0.5, 2.0), ("d", None, None), ("e", 0.0, 0.5))
    ]
    features = store.get(build_table(rows, "test"), Level())
    expected = {
        "a": [0.25, 8000],
        "b": [0.5, 8000],
        "c": [1 / 12 + 1 / 3, 12000],
        "d": [0.375, 16000],
        "e": [0.25, 4000],
    }
    for name, value in expected.items():
        np.testing.assert_allclose(features[name], value, rtol=1e-6)
    assert len(entries(store)) == 5


def test_copies_of_a_file_share_an_entry(store, audio):
    table = record(audio, 2)
    (audio / "1.wav").write_bytes((audio / "0.wav").read_bytes())
    features = store.get(table, Level())
    assert len(entries(store)) == 1
    assert features["u0"].tolist() == features["u1"].tolist()


def test_features_have_the_order_of_the_table(store, audio):
    table = record(audio, 6)
    store.get(table.iloc[[4, 1]], Level())
    assert list(store.get(table.iloc[::-1], Level())) == ["u5", "u4", "u3", "u2", "u1", "u0"]


# bad audio

BAD = {
    "missing": (lambda path: path.unlink(), "does not exist"),
    "unreadable": (lambda path: path.write_bytes(b"these bytes are no audio" * 9), "not readable as audio"),
    "empty": (lambda path: soundfile.write(path, np.zeros(0), RATE), "is empty"),
    "silent": (lambda path: soundfile.write(path, np.zeros(800), RATE), "is silent"),
    "nan": (lambda path: soundfile.write(path, np.full(800, np.nan), RATE, subtype="FLOAT"), "not finite"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "1.wav"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_audio_is_named_and_can_be_skipped(store, audio, kind):
    table = record(audio)
    spoil, reason = BAD[kind]
    spoil(audio / "1.wav")
    with pytest.raises(UserError, match=reason) as caught:
        store.get(table, Level())
    assert str(audio / "1.wav") in str(caught.value)
    assert "--skip-bad-audio" in str(caught.value)
    assert "0.wav" not in str(caught.value)
    features = store.get(table, Level(), skip_bad_audio=True)
    assert list(features) == ["u0", "u2", "u3"]
    assert list(features.skipped) == ["u1"]
    assert reason in features.skipped["u1"]


def test_many_bad_files_are_counted(store, audio):
    table = record(audio, 8)
    for number, (spoil, _) in enumerate(BAD.values()):
        spoil(audio / f"{number}.wav")
    with pytest.raises(UserError) as caught:
        store.get(table, Level())
    message = str(caught.value)
    assert sum(str(audio / f"{number}.wav") in message for number in range(6)) == 3
    assert "and 3 more files" in message
    features = store.get(table, Level(), skip_bad_audio=True)
    assert list(features) == ["u6", "u7"]
    assert set(features.skipped) == {f"u{number}" for number in range(6)}


def test_entries_of_good_files_are_kept_if_others_are_bad(store, audio, log):
    table = record(audio)
    good = (audio / "1.wav").read_bytes()
    (audio / "1.wav").write_bytes(b"")
    with pytest.raises(UserError):
        store.get(table, Level(log=log))
    assert calls(log) == 3
    (audio / "1.wav").write_bytes(good)
    assert len(store.get(table, Level(log=log))) == 4
    assert calls(log) == 4


def test_features_that_are_not_finite_are_refused(store, audio):
    with pytest.raises(UserError, match="broken gives values that are not finite"):
        store.get(record(audio, 1), Broken())
    assert entries(store) == []


def test_progress_counts_only_what_is_extracted(store, audio):
    store.get(record(audio, 2), Level())
    seen = []
    store.get(record(audio, 5), Level(), progress=lambda done, all_: seen.append((done, all_)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


# parallel extraction, killed extraction


def test_two_jobs_give_the_same_as_one(tmp_path, audio):
    table = record(audio, 20)
    extractor = Spectrogram(sample_rate=RATE, dft_length=400, bins=20)
    seen = []
    one = FeatureStore(tmp_path / "one", jobs=1).get(table, extractor)
    two = FeatureStore(tmp_path / "two", jobs=2).get(table, extractor, progress=lambda *at: seen.append(at))
    assert seen == [(done, 20) for done in range(1, 21)]
    assert list(one) == list(two)
    for name in one:
        assert one.paths[name].relative_to(tmp_path / "one") == two.paths[name].relative_to(tmp_path / "two")
        assert one.paths[name].read_bytes() == two.paths[name].read_bytes()


SLOW = """
import dataclasses, sys, time
from pathlib import Path
import numpy as np, pandas as pd
from common.features import store

@dataclasses.dataclass(frozen=True)
class Slow:
    sample_rate: int = 8000
    def __call__(self, samples):
        return np.full(200_000, samples[0], np.float32)
Slow.name, Slow.version = "slow", 1

# Every entry is written in small pieces, so that the process is most likely killed during a write.
write = store.write_atomic
def slowly(path, write_file):
    def pieces(file):
        class Drip:
            def write(self, content):
                for at in range(0, len(content), 80_000):
                    file.write(content[at : at + 80_000]); file.flush(); time.sleep(0.005)
        write_file(Drip())
    write(path, pieces)
store.write_atomic = slowly
table = pd.read_json(sys.argv[1], orient="split")
features = store.FeatureStore(Path(sys.argv[2]), jobs=1).get(table, Slow())
print({name: float(features[name][-1]) for name in features})
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_killed_extraction_leaves_complete_entries_and_can_be_continued(tmp_path, audio):
    table = record(audio, 16)
    (tmp_path / "table.json").write_text(table.to_json(orient="split"))
    (tmp_path / "slow.py").write_text(SLOW)
    cache = tmp_path / "cache"
    command = [sys.executable, tmp_path / "slow.py", tmp_path / "table.json", cache]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))}

    def whole(entry):
        content = entry.read_bytes()
        return hashlib.blake2b(content[:-16], digest_size=16).digest() == content[-16:]

    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while len(list(cache.rglob("*.npy"))) < 3 and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait()
    process.stdout.close()
    assert process.returncode == -signal.SIGKILL
    left = list(cache.rglob("*.npy"))
    assert 3 <= len(left) < 16
    assert all(whole(entry) for entry in left)
    stamps = {entry: entry.stat().st_mtime_ns for entry in left}

    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    values = json.loads(done.stdout.replace("'", '"'))
    assert values == {f"u{number}": level(number) for number in range(16)}
    assert len(list(cache.rglob("*.npy"))) == 16
    assert {entry: entry.stat().st_mtime_ns for entry in left} == stamps


# transcripts, extractors in this process


@dataclasses.dataclass(frozen=True)
class Letters:
    """Counts of a and b in a text; remembers its batches. `folder` is not part of the key."""

    name: ClassVar[str] = "letters"
    version: ClassVar[int] = 1
    reads: ClassVar[str] = "text"
    in_process: ClassVar[bool] = True
    batches: ClassVar[list] = []

    folder: str = dataclasses.field(default="", compare=False)
    digest: str = ""

    def __call__(self, text):
        return self.batch([text])[0]

    def batch(self, texts):
        self.batches.append(list(texts))
        for text in texts:
            if len(text) > 40:
                raise UserError(f"The transcript has {len(text)} letters.")
        return [np.array([text.count("a"), text.count("b")], np.float32) for text in texts]


@dataclasses.dataclass(frozen=True)
class Here(Level):
    """`Level` as an extractor that runs in this process."""

    name: ClassVar[str] = "here"
    in_process: ClassVar[bool] = True
    batches: ClassVar[list] = []

    def batch(self, signals):
        self.batches.append(len(signals))
        return [Level.__call__(self, signal) for signal in signals]


@pytest.fixture(autouse=True)
def _no_batches():
    Letters.batches.clear()
    Here.batches.clear()


def spoken(audio, texts):
    table = record(audio, len(texts))
    table["text"] = texts
    return table


def test_a_sentence_that_occurs_twice_is_extracted_once(store, audio):
    table = spoken(audio, ["abba", "bab", "abba", "abba "])
    seen = []
    features = store.get(table, Letters(), progress=lambda *at: seen.append(at))
    assert Letters.batches == [["abba", "bab"]]
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [features[f"u{k}"].tolist() for k in range(4)] == [[2, 2], [1, 2], [2, 2], [2, 2]]
    assert list(features) == ["u0", "u1", "u2", "u3"] and len(entries(store)) == 2
    store.get(table, Letters())
    assert len(Letters.batches) == 1


def test_the_key_of_a_text_entry_depends_on_text_and_digest_alone(store, audio):
    table = spoken(audio, ["abba", "bab"])
    first = store.get(table, Letters(folder="/here", digest="1"))
    (audio / "0.wav").unlink()  # its transcript is read, not its audio
    assert store.get(table, Letters(folder="/there", digest="1")).paths == first.paths
    assert len(Letters.batches) == 1
    other = store.get(table, Letters(folder="/here", digest="2"))
    assert not set(other.paths.values()) & set(first.paths.values())
    table.loc[1, "text"] = "bob"
    assert store.get(table, Letters(digest="1"))["u1"].tolist() == [0, 2]
    assert Letters.batches[-1] == ["bob"]


def test_a_damaged_text_entry_is_extracted_again(store, audio):
    table = spoken(audio, ["abba", "bab"])
    entry = store.get(table, Letters()).paths["u1"]
    entry.write_bytes(entry.read_bytes()[:-3])
    assert store.get(table, Letters())["u1"].tolist() == [1, 2]
    assert Letters.batches == [["abba", "bab"], ["bab"]]


@pytest.mark.parametrize("nothing", [None, float("nan"), "", "  "])
def test_missing_transcripts_are_an_error_unless_all_are_missing(store, audio, nothing):
    table = spoken(audio, ["abba", nothing, nothing])
    with pytest.raises(UserError, match=r"2 of 3 utterances have no transcript; the first is u1"):
        store.get(table, Letters())
    table["text"] = nothing
    features = store.get(table, Letters())
    assert [features[name].tolist() for name in features] == [[0, 0]] * 3
    assert Letters.batches == [[""]]


def test_the_utterance_of_an_unusable_transcript_is_named(store, audio):
    with pytest.raises(UserError, match=r"u2: The transcript has 50 letters"):
        store.get(spoken(audio, ["a", "b", "ab" * 25]), Letters())


def test_extraction_in_this_process_gives_the_same_as_in_workers(tmp_path, audio):
    table = record(audio, 60)
    (audio / "5.wav").write_bytes(b"")
    store = FeatureStore(tmp_path / "cache", jobs=2)
    seen = []
    found = store.get(table, Here(), skip_bad_audio=True, progress=lambda *at: seen.append(at))
    assert sum(Here.batches) == 59 and max(Here.batches) <= store_module.BATCH and len(Here.batches) > 1
    assert seen == [(done, 60) for done in range(1, 61)]
    assert list(found.skipped) == ["u5"]
    expected = store.get(table, Level(), skip_bad_audio=True)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])
    Here.batches.clear()
    store.get(table, Here(), skip_bad_audio=True)
    assert Here.batches == []


def test_keys_do_not_change_between_versions(store, audio):
    """Users keep their caches, so the name of an entry is computed here independently."""
    table = record(audio, 1)
    (entry,) = store.get(table, Level()).paths.values()
    described = {"name": "level", "version": 1, "sample_rate": RATE, "factor": 1.0, "log": ""}
    settings = hashlib.blake2b(json.dumps(described, sort_keys=True).encode(), digest_size=16).hexdigest()
    checksum = hashlib.blake2b((audio / "0.wav").read_bytes(), digest_size=16).hexdigest()
    digest = hashlib.blake2b(f"{checksum}|{settings}|nan|nan".encode(), digest_size=16)
    assert entry == store.root / f"level-v1-{settings[:8]}" / digest.hexdigest()[:2] / f"{digest.hexdigest()}.npy"


@dataclasses.dataclass(frozen=True)
class Picky(Here):
    """`Here` that needs more than 100 samples."""

    name: ClassVar[str] = "picky"

    def batch(self, signals):
        if any(len(signal) <= 100 for signal in signals):
            raise AudioError("fewer than 100 samples.")
        return super().batch(signals)


@dataclasses.dataclass(frozen=True)
class PickyWorker(Level):
    """The same for worker processes."""

    name: ClassVar[str] = "picky-worker"

    def __call__(self, signal):
        if len(signal) <= 100:
            raise AudioError("fewer than 100 samples.")
        return super().__call__(signal)


@pytest.mark.parametrize("extractor", [Picky(), PickyWorker()])
def test_audio_that_an_extractor_refuses_is_named_and_can_be_skipped(store, audio, extractor):
    table = record(audio, 4)
    soundfile.write(audio / "2.wav", np.full(50, 0.1), RATE, subtype="PCM_16")
    with pytest.raises(UserError, match=r"2\.wav: fewer than 100 samples"):
        store.get(table, extractor)
    found = store.get(table, extractor, skip_bad_audio=True)
    assert list(found) == ["u0", "u1", "u3"] and "2.wav" in found.skipped["u2"]
