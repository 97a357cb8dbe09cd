"""A command that is killed while it extracts, trains, writes or reports gives the same results when it is repeated."""

import contextlib
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.helpers import crash, toy


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The corpus, the files that a command writes if it is not killed, and the log of its file operations."""
    folder = tmp_path_factory.mktemp("crash")
    crash.corpus(folder)
    done = crash.run(folder, folder / "undisturbed", SER_CRASH_LOG=str(folder / "log"))
    assert done.returncode == 0, done.stderr
    outcome = crash.outcome(folder / "undisturbed")
    assert len([name for name in outcome if name.endswith("predictions.parquet")]) == 8
    return folder, outcome, (folder / "log").read_text().splitlines()


def phase(line: str) -> str:
    """What a command was doing during a file operation."""
    for part, name in (("cache/loudness", "extraction"), ("artefacts", "training"), ("report.", "reporting")):
        if part in line:
            return name
    return "writing"


def kill_points(lines, number: int) -> list[tuple[str, int, str]]:
    """Role, number and phase of some file operations, spread over the phases and within each of them."""
    seen = {}
    for line in lines:
        role, count = line.split()[:2]
        seen.setdefault((role, int(count)), phase(line))
    points = []
    for name in ("extraction", "training", "writing", "reporting"):
        here = sorted(point for point, found in seen.items() if found == name)
        share = max(1, min(len(here), -(-number // 4)))
        points += [(*here[k * len(here) // share], name) for k in range(share)]
    # Phases with few operations leave more points for those with many.
    rest = sorted(set(seen) - {point[:2] for point in points})
    missing = max(0, number - len(points))
    return points + [(*rest[k * len(rest) // missing], seen[rest[k * len(rest) // missing]]) for k in range(missing)]


def killed_and_resumed(undisturbed, point) -> str:
    """Kills a command and repeats it; returns what differs (""), or "not killed" if the point was not reached."""
    folder, expected, _ = undisturbed
    role, number, _ = point
    root, flag = folder / f"{role}-{number}", folder / f"{role}-{number}.flag"
    first = crash.run(folder, root, SER_CRASH=f"{role}:{number}:{flag}")
    if not flag.exists():
        return "not killed"
    if role == "driver" and first.returncode == 0:
        return f"{point}: the driver was killed but returned 0"
    if role == "worker" and first.returncode != 0:
        return f"{point}: a lost worker ended the command: {first.stderr}"
    if role == "driver":
        second = crash.run(folder, root)
        if second.returncode:
            return f"{point}: the same command failed: {second.stderr}"
    found = crash.outcome(root)
    differing = [key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)]
    leftovers = [str(path) for path in (root / "results").rglob(".tmp-*")]
    return f"{point}: {sorted(differing)} {leftovers}" if differing or leftovers else ""


def test_kill_points_cover_all_phases_of_driver_and_workers(undisturbed):
    points = kill_points(undisturbed[2], 56)
    assert len(points) == len(set(points)) >= 50
    assert {name for _, _, name in points} == {"extraction", "training", "writing", "reporting"}
    assert {role for role, _, _ in points} == {"driver", "worker"}


@pytest.mark.parametrize("number", range(4))
def test_a_killed_command_completes_when_it_is_repeated(undisturbed, number):
    assert killed_and_resumed(undisturbed, kill_points(undisturbed[2], 4)[number]) == ""


@pytest.mark.slow
def test_nothing_is_lost_at_fifty_kill_points(undisturbed):
    points = kill_points(undisturbed[2], 64)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda point: killed_and_resumed(undisturbed, point), points))
    assert [one for one in found if one not in ("", "not killed")] == []
    # A worker that gets fewer trials this time may not reach its point.
    assert found.count("") >= 50


def children(process: int) -> list[int]:
    """Running child processes of a process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text().rsplit(")", 1)[1].split()[:2]
            if int(parent) == process and state != "Z":
                found.append(int(stat.parent.name))
    return found


@pytest.mark.slow
def test_training_after_a_killed_worker_and_a_killed_driver_gives_the_same_bytes(undisturbed, tmp_path):
    folder = undisturbed[0]
    command = [sys.executable, "-m", "ser.cli", "run", "mtap/table1/emodb/softmax", "--root", str(folder / "emodb")]
    command += ["--partial", "--scaled", "--set", "epochs=40", "--set", "frames=40", "--set", "bins=40", "--jobs", "1"]
    command += ["--no-yardstick", "--deterministic", "--workers", "2", "--executor", "local"]
    environment = {**os.environ, "PYTHONPATH": str(toy.ROOT)}

    def start(name):
        more = ["--results", str(tmp_path / name), "--cache", str(tmp_path / f"{name} cache")]
        return subprocess.Popen([*command, *more], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    plain = start("plain")
    assert plain.wait(300) == 0, plain.stderr.read()
    killed = start("killed")
    toy.wait_for_trials(tmp_path / "killed", 1)
    workers = [one for one in children(killed.pid) if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]
    os.kill(workers[0], signal.SIGKILL)
    toy.wait_for_trials(tmp_path / "killed", 2)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    again = start("killed")
    assert again.wait(300) == 0, again.stderr.read()
    assert len(toy.trial_names(tmp_path / "plain")) == 4
    assert toy.contents(tmp_path / "killed") == toy.contents(tmp_path / "plain")
