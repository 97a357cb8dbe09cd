import json
import multiprocessing
import os
import signal
import time

import pytest

from common.artefacts import RECORD, Artefacts


def make(text, calls=None, record=None):
    def write(folder):
        if calls is not None:
            calls.append(folder)
        (folder / "sub").mkdir()
        (folder / "sub" / "weights.txt").write_text(text)
        return record

    return write


def test_an_artefact_is_made_once_for_equal_inputs(tmp_path):
    store, calls = Artefacts(tmp_path), []
    first = store.get("toy/words", {"config": {"width": 8}, "seed": 1}, make("a", calls, {"flags": ["partial"]}))
    again = store.get("toy/words", {"seed": 1, "config": {"width": 8}}, make("b", calls))
    other = store.get("toy/words", {"config": {"width": 8}, "seed": 2}, make("c", calls))
    assert len(calls) == 2
    assert (again.folder, again.record) == (first.folder, {"flags": ["partial"]})
    assert (first.folder / "sub" / "weights.txt").read_text() == "a" and other.folder != first.folder
    assert store.find("toy/words", first.digest) == first and store.find("toy/words", "0" * 16) is None
    described = json.loads((first.folder / RECORD).read_text())
    assert described["made_of"] == {"config": {"width": 8}, "seed": 1, "made_with": {}}
    assert described["files"] == dict(first.files) and list(first.files) == ["sub/weights.txt"]


def test_other_versions_make_their_own_artefacts_and_files_have_one_checksum(tmp_path):
    made = [
        Artefacts(tmp_path, versions).get("toy/words", {"seed": 1}, make(text, []))
        for versions, text in (({"keras": "1"}, "a"), ({"keras": "2"}, "b"), ({"keras": "3"}, "a"))
    ]
    assert len({one.digest for one in made}) == 3
    assert made[0].checksum == made[2].checksum != made[1].checksum


@pytest.mark.parametrize("damage", ["change", "remove", "record"])
def test_a_damaged_artefact_counts_as_absent_and_is_made_again(tmp_path, damage):
    store = Artefacts(tmp_path)
    made = store.get("w", {"seed": 1}, make("a"))
    file = made.folder / "sub" / "weights.txt"
    {
        "change": lambda: file.write_text("x"),
        "remove": file.unlink,
        "record": lambda: (made.folder / RECORD).write_text("{"),
    }[damage]()
    assert store.find("w", made.digest) is None and store.newest("w", {}) is None
    assert store.get("w", {"seed": 1}, make("b")).folder == made.folder
    assert file.read_text() == "b"


def test_newest_is_the_last_matching_artefact(tmp_path):
    store = Artefacts(tmp_path)
    assert store.newest("w", {}) is None
    made = {}
    for number, (seed, width) in enumerate([(1, 8), (2, 8), (3, 16)]):
        made[seed] = store.get("w", {"config": {"width": width, "layers": [1]}, "seed": seed}, make("a"))
        os.utime(made[seed].folder / RECORD, ns=(10**18 + number, 10**18 + number))
    assert store.newest("w", {"width": 8, "layers": (1,)}) == made[2]
    assert store.newest("w", {}) == made[3]
    assert store.newest("w", {"width": 4}) is None


def test_a_failure_leaves_nothing_behind(tmp_path):
    def fail(folder):
        (folder / "half").write_text("half")
        raise RuntimeError("no")

    store = Artefacts(tmp_path)
    with pytest.raises(RuntimeError):
        store.get("w", {"seed": 1}, fail)
    assert store.newest("w", {}) is None
    made = store.get("w", {"seed": 1}, make("a"))
    assert not (made.folder / "half").exists() and not list(tmp_path.glob("w/.tmp-*"))


def slow_make(root, log, seconds):
    def write(folder):
        with open(log, "a") as file:
            file.write("started\n")
        (folder / "half").write_text("half")
        time.sleep(seconds)
        (folder / "weights").write_text("whole")

    Artefacts(root).get("w", {"seed": 1}, write)


def lines(log):
    return log.read_text().splitlines() if log.exists() else []


def test_of_several_processes_one_makes_the_artefact(tmp_path):
    spawn, log = multiprocessing.get_context("fork"), tmp_path / "log"
    workers = [spawn.Process(target=slow_make, args=(tmp_path / "a", log, 0.5)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0, 0, 0] and lines(log) == ["started"]


def test_an_artefact_of_a_killed_process_is_made_again(tmp_path):
    spawn, log = multiprocessing.get_context("fork"), tmp_path / "log"
    worker = spawn.Process(target=slow_make, args=(tmp_path / "a", log, 60))
    worker.start()
    while not lines(log):
        time.sleep(0.01)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join(30)
    store = Artefacts(tmp_path / "a")
    assert store.newest("w", {}) is None
    slow_make(tmp_path / "a", log, 0)
    assert len(lines(log)) == 2 and not list(tmp_path.glob("a/w/.tmp-*"))
    assert (store.newest("w", {}).folder / "weights").read_text() == "whole"
