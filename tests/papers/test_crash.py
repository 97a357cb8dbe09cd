"""A command that is killed while it extracts, trains, writes or reports completes when it is given again, unchanged."""

from concurrent.futures import ThreadPoolExecutor

import crash
import pytest


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The corpus, what the command leaves if nothing happens, and its changes on disk."""
    folder = tmp_path_factory.mktemp("crash")
    crash.corpus(folder)
    done = crash.run(folder, folder / "undisturbed", SER_CRASH_LOG=str(folder / "log"))
    assert done.returncode == 0, done.stderr
    outcome = crash.outcome(folder / "undisturbed")
    assert len([name for name in outcome if name.endswith("predictions.parquet")]) == 8
    return folder, outcome, (folder / "log").read_text().splitlines()


def phase(line: str) -> str:
    """What a command was doing when it made a change."""
    for part, name in (("cache/loudness", "extraction"), ("artefacts", "training"), ("report.", "reporting")):
        if part in line:
            return name
    return "writing"


def kill_points(lines, number: int) -> list[tuple[str, int, str]]:
    """Role, number and phase of changes: so many, spread over the phases and within each."""
    seen = {}
    for line in lines:
        role, count = line.split()[:2]
        seen.setdefault((role, int(count)), phase(line))
    points = []
    for name in ("extraction", "training", "writing", "reporting"):
        here = sorted(point for point, found in seen.items() if found == name)
        share = max(1, min(len(here), -(-number // 4)))
        points += [(*here[k * len(here) // share], name) for k in range(share)]
    # Phases of few changes leave more for the one of many.
    rest = sorted(set(seen) - {point[:2] for point in points})
    missing = max(0, number - len(points))
    return points + [(*rest[k * len(rest) // missing], seen[rest[k * len(rest) // missing]]) for k in range(missing)]


def killed_and_resumed(undisturbed, point) -> str:
    """What differs after a kill and the same command again; "" if nothing, "not killed" if the point never came."""
    folder, expected, _ = undisturbed
    role, number, _ = point
    root, flag = folder / f"{role}-{number}", folder / f"{role}-{number}.flag"
    first = crash.run(folder, root, SER_CRASH=f"{role}:{number}:{flag}")
    if not flag.exists():
        return "not killed"
    if role == "driver" and first.returncode == 0:
        return f"{point}: the driver was killed and ended well"
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


def test_every_phase_is_killed_in_driver_or_worker(undisturbed):
    points = kill_points(undisturbed[2], 56)
    assert len(points) == len(set(points)) >= 50
    assert {name for _, _, name in points} == {"extraction", "training", "writing", "reporting"}
    assert {role for role, _, _ in points} == {"driver", "worker"}


@pytest.mark.parametrize("number", range(4))
def test_a_killed_command_completes_when_it_is_given_again(undisturbed, number):
    assert killed_and_resumed(undisturbed, kill_points(undisturbed[2], 4)[number]) == ""


@pytest.mark.slow
def test_fifty_kill_points_lose_nothing(undisturbed):
    points = kill_points(undisturbed[2], 64)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda point: killed_and_resumed(undisturbed, point), points))
    assert [one for one in found if one not in ("", "not killed")] == []
    # A worker that got fewer trials this time may never come to its point.
    assert found.count("") >= 50
