"""A Ray cluster with two nodes on this machine, of which nodes, drivers and trials die."""

import json
import signal

import pytest

from common.errors import UserError
from ser.execution.cluster import RayCluster
from ser.execution.resources import Request
from tests.helpers import toy

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one core each; a test may remove the second one and add it again."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # other tests that run meanwhile would leave them no time
        patch.setenv("PYTHONPATH", str(toy.ROOT))  # as if the suite were installed on the nodes
        patch.setenv("TOY_LIGHT", "1")
        small = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
        made = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
        made.second = made.add_node(**small)
        made.wait_for_nodes()
        yield made
        made.shutdown()


def start(cluster, request, log):
    return toy.start({"pool": "ray", **request}, log, RAY_ADDRESS=cluster.address)


def seeds(log):
    return sorted(int(line.split()[1]) for line in log.read_text().splitlines())


def test_nodes_share_the_trials_and_give_the_same_as_one_process(tmp_path, cluster, undisturbed):
    log, results = tmp_path / "log", tmp_path / "results"
    result = toy.result_of(start(cluster, {"results": results, "config": {"sleep_s": 1.5}}, log))
    assert result == {"done": 8, "found": 0, "failures": [], "notes": []}
    assert len({line.split()[0] for line in log.read_text().splitlines()}) == 2
    assert toy.contents(results) == undisturbed
    assert not list(results.glob(".cluster-*"))


def test_the_trial_of_a_lost_node_is_done_again(tmp_path, cluster, undisturbed):
    log, results = tmp_path / "log", tmp_path / "results"
    driver = start(cluster, {"results": results, "config": {"sleep_s": 1.0}}, log)
    toy.wait_for_workers(log, 2)
    cluster.remove_node(cluster.second, allow_graceful=False)
    result = toy.result_of(driver)
    cluster.second = cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    assert result["done"] == 8 and result["failures"] == []
    assert result["notes"] and all("(its process or node died: " in note for note in result["notes"])
    assert toy.contents(results) == undisturbed
    assert not list(results.glob("**/.tmp-*"))
    cluster.wait_for_nodes()


def test_after_a_killed_driver_the_same_command_continues(tmp_path, cluster, undisturbed):
    log, results = tmp_path / "log", tmp_path / "results"
    request = {"results": results, "config": {"sleep_s": 0.7}}
    driver = start(cluster, request, log)
    toy.wait_for_trials(results, 3)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    result = toy.result_of(start(cluster, request, log))
    assert result["done"] + result["found"] == 8 and result["found"] >= 3
    assert toy.contents(results) == undisturbed
    assert not list(results.glob("**/.tmp-*"))


def test_trials_that_fail_or_kill_their_worker_are_reported_and_the_others_continue(tmp_path, cluster, undisturbed):
    results = tmp_path / "results"
    result = toy.result_of(
        start(cluster, {"results": results, "config": {"fails": 1002, "dies": 2003}}, tmp_path / "log")
    )
    assert result["done"] == 6
    failed, died = sorted(result["failures"])
    assert failed.startswith("speaker-B--1: RuntimeError: this trial always fails (details: ")
    assert died.startswith("speaker-C--2: its worker was lost 3 times")
    assert seeds(tmp_path / "log").count(1002) == 1
    others = {name: content for name, content in undisturbed.items() if name not in ("speaker-B--1", "speaker-C--2")}
    assert toy.contents(results) == others


def test_two_drivers_do_every_trial_once(tmp_path, cluster, undisturbed):
    log, results = tmp_path / "log", tmp_path / "results"
    drivers = [start(cluster, {"results": results, "workers": 1, "config": {"sleep_s": 0.5}}, log) for _ in range(2)]
    outcomes = [toy.result_of(driver) for driver in drivers]
    assert sum(one["done"] for one in outcomes) == 8
    assert seeds(log) == sorted(1000 * repeat + fold for repeat in (1, 2) for fold in (1, 2, 3, 4))
    assert toy.contents(results) == undisturbed


def test_a_full_disk_ends_the_command_and_finished_trials_are_kept(tmp_path, cluster, small_disk, undisturbed):
    results = small_disk / "results"
    results.mkdir()
    (small_disk / "ballast").write_bytes(bytes(250_000))
    result = toy.result_of(start(cluster, {"results": results}, tmp_path / "log"), code=1)
    assert "is full. Finished trials are kept" in result["error"]
    assert len(toy.trial_names(results)) < 8 and not list(results.glob("**/.tmp-*"))
    (small_disk / "ballast").unlink()
    result = toy.result_of(start(cluster, {"results": results}, tmp_path / "log"))
    assert result["done"] + result["found"] == 8
    assert toy.contents(results) == undisturbed


def test_a_request_that_no_node_can_meet_is_refused(tmp_path, cluster):
    driver = start(cluster, {"results": tmp_path / "r", "gpus": 1}, tmp_path / "log")
    assert "No node of the cluster has what a trial needs: 1 CPU, 1 GPU." in toy.result_of(driver, code=1)["error"]


def test_an_address_where_nothing_listens_is_refused_at_once(tmp_path):
    with pytest.raises(UserError, match=r"There is no Ray cluster at 127\.0\.0\.1:1 "):
        RayCluster(Request(), 1, tmp_path, "127.0.0.1:1").__enter__()


def test_without_an_address_no_cluster_of_others_is_joined(monkeypatch):
    import ray

    from ser.execution.cluster import _connect

    joined = []
    monkeypatch.setattr(ray, "init", lambda address, **_: joined.append(address))
    monkeypatch.setenv("RAY_ADDRESS", "")
    _connect(None)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    _connect(None)
    _connect("local")
    assert joined == ["local", "auto", "local"]


def test_actors_that_cannot_start_are_not_started_many_times_a_second(tmp_path):
    from types import SimpleNamespace

    import ray

    starts = []

    class Refusing:
        """Stands for Ray where every actor is refused at once."""

        exceptions = ray.exceptions
        remote = staticmethod(lambda _: SimpleNamespace(options=lambda **_: SimpleNamespace(remote=Refusing.start)))
        nodes = staticmethod(lambda: [{"Alive": True, "Resources": {"CPU": 1.0}}])
        wait = staticmethod(lambda pending, timeout: (pending, []))
        kill = staticmethod(lambda actor: None)

        @staticmethod
        def start(*_):
            starts.append(None)
            return SimpleNamespace(ready=SimpleNamespace(remote=object))

        @staticmethod
        def get(reference):
            raise ray.exceptions.RayActorError

    pool = RayCluster(Request(), 8, tmp_path)
    pool.ray, pool.needs, pool.shared = Refusing, {"CPU": 1.0, "GPU": 0.0}, tmp_path / "shared"
    for _ in range(4):
        pool.free(8)
        pool.wait(lambda event: None)
    assert len(starts) == 1


def test_a_missing_ray_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(UserError, match="--executor ray needs Ray: pip install"), RayCluster(Request(), 1, tmp_path):
        pass


def test_a_node_that_does_not_see_the_results_says_so(tmp_path):
    from ser.execution.cluster import Actor

    kind, (message, _), _ = Actor({}, str(tmp_path / "elsewhere" / ".cluster-1")).run_task("key", None, None, False)
    assert kind == "failed" and "does not see" in message and "a file system that all nodes mount" in message
    assert json.dumps(message)
