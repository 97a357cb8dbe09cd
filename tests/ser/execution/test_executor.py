"""Workers on one machine: no result is lost when workers or drivers die, or when the disk is full."""

import os
import signal
import subprocess
import sys
import time
import tracemalloc
from contextlib import nullcontext
from pathlib import Path

import pytest

from benchmarks.executors import SimulatedPool
from common.errors import UserError
from ser.execution import resources
from ser.execution.executor import execute
from ser.execution.local import LocalProcesses
from ser.execution.resources import Plan, Request, plan
from tests.helpers import ROOT, toy


@pytest.fixture(autouse=True)
def _without_keras(monkeypatch):
    toy.without_keras(monkeypatch.setitem, monkeypatch.setattr)


def processes(log: Path) -> list[int]:
    return [int(line.split()[0]) for line in log.read_text().splitlines()]


def seeds(log: Path) -> list[int]:
    return sorted(int(line.split()[1]) for line in log.read_text().splitlines())


ALL_SEEDS = [1000 * repeat + fold for repeat in (1, 2) for fold in (1, 2, 3, 4)]


def alive(process: int) -> bool:
    try:
        return f"{process} (" in Path(f"/proc/{process}/stat").read_text() and not is_zombie(process)
    except OSError:
        return False


def is_zombie(process: int) -> bool:
    return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"


def gone(process: int) -> bool:
    deadline = time.monotonic() + 10
    while alive(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(process)


def test_workers_share_the_trials_and_give_the_same_as_one_process(tmp_path, undisturbed):
    log, results = tmp_path / "log", tmp_path / "results"
    result = toy.result_of(
        toy.start({"results": results, "pool": "local", "workers": 2, "config": {"sleep_s": 0.6}}, log)
    )
    assert result == {"done": 8, "found": 0, "failures": [], "notes": []}
    assert len(set(processes(log))) == 2 and seeds(log) == ALL_SEEDS
    assert toy.contents(results) == undisturbed


def test_the_trial_of_a_lost_worker_is_done_again(tmp_path, undisturbed):
    log, results = tmp_path / "log", tmp_path / "results"
    driver = toy.start({"results": results, "pool": "local", "workers": 2, "config": {"sleep_s": 0.5}}, log)
    toy.wait_for_trials(results, 2)
    os.kill(processes(log)[-1], signal.SIGKILL)
    result = toy.result_of(driver)
    assert result["done"] == 8 and result["failures"] == []
    (note,) = result["notes"]
    assert note.startswith("A worker was lost (killed by SIGKILL")
    assert toy.contents(results) == undisturbed
    assert not list(results.glob("**/.tmp-*"))


def test_trials_that_fail_or_kill_their_worker_are_reported_and_the_others_continue(tmp_path, undisturbed):
    results = tmp_path / "results"
    request = {"results": results, "pool": "local", "workers": 2, "config": {"fails": 1002, "dies": 2003}}
    result = toy.result_of(toy.start(request, tmp_path / "log"))
    assert result["done"] == 6 and len(result["notes"]) == 2
    failed, died = sorted(result["failures"])
    assert failed.startswith("speaker-B--1: RuntimeError: this trial always fails (details: ")
    assert died.startswith("speaker-C--2: its worker was lost 3 times, the last time killed by SIGKILL")
    assert seeds(tmp_path / "log").count(1002) == 1 and seeds(tmp_path / "log").count(2003) == 3
    others = {name: content for name, content in undisturbed.items() if name not in ("speaker-B--1", "speaker-C--2")}
    assert toy.contents(results) == others


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_driver_and_the_same_command_continues(tmp_path, undisturbed, number):
    log, results = tmp_path / "log", tmp_path / "results"
    request = {"results": results, "pool": "local", "workers": 2, "config": {"sleep_s": 0.5}}
    driver = toy.start(request, log)
    toy.wait_for_trials(results, 3)
    driver.send_signal(number)
    driver.communicate(timeout=20)
    assert all(gone(process) for process in set(processes(log)))
    finished = toy.trial_names(results)
    assert 3 <= len(finished) < 8
    result = toy.result_of(toy.start(request, log))
    assert result["found"] == len(finished) and result["done"] == 8 - len(finished)
    assert toy.contents(results) == undisturbed


def test_a_full_disk_ends_the_command_and_finished_trials_are_kept(tmp_path, small_disk, undisturbed):
    results = small_disk / "results"
    results.mkdir()
    (small_disk / "ballast").write_bytes(bytes(250_000))
    request = {"results": results, "pool": "local", "workers": 2}
    result = toy.result_of(toy.start(request, tmp_path / "log"), code=1)
    assert result["error"].startswith("The disk of ") and "is full. Finished trials are kept" in result["error"]
    finished = toy.trial_names(results)
    assert len(finished) < 8 and not list(results.glob("**/.tmp-*"))
    (small_disk / "ballast").unlink()
    result = toy.result_of(toy.start(request, tmp_path / "log"))
    assert result["found"] == len(finished) and result["done"] == 8 - len(finished)
    assert toy.contents(results) == undisturbed


def test_two_drivers_with_two_workers_each_share_the_trials(tmp_path, undisturbed):
    log, results = tmp_path / "log", tmp_path / "results"
    request = {"results": results, "pool": "local", "workers": 2, "config": {"sleep_s": 0.5}}
    outcomes = [toy.result_of(driver) for driver in [toy.start(request, log) for _ in range(2)]]
    assert sum(one["done"] for one in outcomes) == 8 and seeds(log) == ALL_SEEDS
    assert toy.contents(results) == undisturbed


def test_a_worker_that_keeps_too_much_memory_is_replaced(tmp_path, monkeypatch, undisturbed):
    monkeypatch.setattr("ser.execution.local.LEFTOVER_SHARE", -1.0)
    monkeypatch.setenv("SER_TOY_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("TOY_LIGHT", "1")
    outcome, _ = toy.execute(
        [toy.run(repeats=1, folds=2)], tmp_path / "r", lambda trials: LocalProcesses(Request(1), trials)
    )
    assert outcome.done == 2 and len(set(processes(tmp_path / "log"))) == 2
    assert toy.contents(tmp_path / "r").items() <= undisturbed.items()


def test_the_drivers_memory_does_not_grow_during_ten_thousand_trials(tmp_path):
    from rich.console import Console

    from ser.progress import Progress

    pool = SimulatedPool(lambda: tracemalloc.get_traced_memory()[0])
    with open(os.devnull, "w") as nowhere, Progress(Console(file=nowhere, highlight=False)) as observer:
        run = toy.run(repeats=2500)
        observer.runs_planned([run], tmp_path)
        tracemalloc.start()
        try:
            outcome, _ = toy.execute([run], tmp_path, lambda trials: nullcontext(pool), observer)
            late = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
    assert outcome.done == 10_000 and observer.done == 10_000
    assert pool.early > 100_000  # the 10,000 pending trials
    assert late - pool.early < 100_000


@pytest.mark.parametrize(
    ("request_", "trials", "cores", "gpus", "expected"),
    [
        (Request(), 20, 4, (), Plan(4, 1, ())),
        (Request(), 2, 16, (), Plan(2, 8, ())),
        (Request(cpus=4), 20, 16, (), Plan(4, 4, ())),
        (Request(workers=3), 20, 2, (), Plan(3, 1, ())),
        (Request(deterministic=True), 2, 16, (), Plan(2, 1, ())),
        (Request(), 20, 16, ("0", "1"), Plan(2, 8, (("0",), ("1",)))),
        (Request(gpus=0.5), 20, 16, ("0", "1"), Plan(4, 4, (("0",), ("1",), ("0",), ("1",)))),
        (Request(gpus=0.3), 20, 12, ("0",), Plan(3, 4, (("0",),) * 3)),
        (Request(gpus=2), 20, 16, ("0", "1", "2", "3", "4"), Plan(2, 8, (("0", "1"), ("2", "3")))),
        (Request(gpus=0), 20, 2, ("0",), Plan(2, 1, ())),
        (Request(workers=9), 20, 16, ("0", "1"), Plan(2, 8, (("0",), ("1",)))),
    ],
)
def test_workers_threads_and_gpus_for_a_machine(monkeypatch, request_, trials, cores, gpus, expected):
    monkeypatch.setattr(resources, "gpu_names", lambda: gpus)
    monkeypatch.setattr(resources, "machine_bytes", lambda: 2**40)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert plan(request_, trials) == expected


def test_the_suite_starts_on_systems_with_less_information(tmp_path):
    """macOS has no `sched_getaffinity` and no /proc, Windows no `resource` either."""
    program = """
import builtins, os, sys
del os.sched_getaffinity
sys.modules["resource"] = None
opened = builtins.open
def without_proc(file, *arguments, **keywords):
    if str(file).startswith("/proc/"):
        raise FileNotFoundError(file)
    return opened(file, *arguments, **keywords)
builtins.open = without_proc
from common import machine
from common.features.store import FeatureStore
from ser import cli
from ser.execution.resources import Request, plan
assert machine.cores() == os.cpu_count() == FeatureStore("cache").jobs
machine.reset_peak()
assert (machine.peak_bytes(), machine.resident_bytes()) == (0, 0)
assert plan(Request(workers=1), 1).workers == 1
sys.exit(cli.main(["list", "mtap"]))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_workers_do_not_run_a_script_without_a_main_guard_again(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "print('script', flush=True)\n"
        "from pathlib import Path\n"
        "from tests.helpers import toy\n"
        f"results = Path({str(tmp_path / 'results')!r})\n"
        "print(toy.execute([toy.run()], results, toy.pool_of('local', results, 2))[0].done)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TOY_LIGHT": "1"}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, timeout=120)
    assert done.stdout.split() == ["script", "8"], done.stderr


def test_memory_limits_workers_and_missing_gpus_are_named(monkeypatch):
    monkeypatch.setattr(resources, "gpu_names", lambda: ())
    monkeypatch.setattr(resources, "machine_bytes", lambda: 10 * 2**30)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert plan(Request(), 100).workers == 4  # four trials of 2 GiB fit in 0.8 x 10 GiB
    with pytest.raises(UserError, match="asks for 2 GPUs per trial, but this machine has 0"):
        plan(Request(gpus=2), 1)


def test_a_worker_sees_only_its_gpus_and_threads():
    environment = Plan(2, 3, (("0",), ("GPU-abc", "GPU-def"))).environment(1)
    assert environment["CUDA_VISIBLE_DEVICES"] == "GPU-abc,GPU-def"
    assert environment["OMP_NUM_THREADS"] == environment["TF_NUM_INTRAOP_THREADS"] == "3"
    assert "CUDA_VISIBLE_DEVICES" not in Plan(1, 1, ()).environment(0)


def test_only_visible_gpus_are_used(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert resources.gpu_names() == ("3", "5")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert resources.gpu_names() == ()


def test_no_pool_is_made_if_all_trials_are_done(tmp_path):
    toy.execute([toy.run()], tmp_path)

    def no_pool(trials):
        raise AssertionError("workers were started although all trials are done")

    assert execute([], no_pool, toy.Recorder()).done == 0
    outcome, _ = toy.execute([toy.run()], tmp_path, no_pool)
    assert (outcome.done, outcome.found) == (0, 8)


def test_a_failed_extraction_fails_its_run_and_no_other(tmp_path):
    class Broken(toy.ToyData):
        def part(self, run, observer):
            if run.config.shift:
                raise UserError("bad.wav: the audio file is empty.")
            return super().part(run, observer)

    outcome, _ = toy.execute([toy.run(toy.ToyConfig(shift=1.0)), toy.run()], tmp_path, data_source=Broken())
    assert outcome.done == 8 and len(outcome.failures) == 8
    assert {failure.message for failure in outcome.failures} == {"bad.wav: the audio file is empty."}


def test_a_results_folder_that_cannot_be_written_is_named():
    with pytest.raises(UserError, match="The results folder /proc/nowhere cannot be written"):
        toy.execute([toy.run()], Path("/proc/nowhere"))
