"""Shared by all tests: quiet backends, no network, folders of their own."""

import gc
import os
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.helpers import REAL_CORPORA

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
for name in [name for name in os.environ if name.startswith("SER_") and not name.startswith("SER_TESTS_")]:
    del os.environ[name]
NOWHERE = tempfile.mkdtemp(prefix="ser-tests-")
os.environ.update(SER_CORPORA=NOWHERE, SER_MODELS=NOWHERE, KERAS_HOME=NOWHERE)
os.environ["SER_EXECUTOR"] = "here"  # a test that does not look at executors need not wait for processes


LONGEST_FIRST = (
    "papers/gmp_atl/test_backends.py",
    "papers/mtap/test_mtap.py",
    "ser/test_cli.py",
    "ser/execution/test_cluster.py",
    "papers/quaternion_at/test_pretraining.py",
    "papers/gmp_atl/test_stages.py",
    "papers/dimensional_mtl/test_dimensional_mtl.py",
    "papers/quaternion_at/test_quaternion_at.py",
    "papers/gmp_atl/test_steps.py",
    "papers/mtl_aae/test_fit.py",
    "ser/execution/test_executor.py",
    "papers/mtl_aae/test_backends.py",
    "papers/quaternion_at/test_backends.py",
)
"""Files that take longest, often with few tests."""


def pytest_collection_modifyitems(items):
    """The files that take longest come first, so that no process computes alone at the end (`--dist loadfile`)."""
    rank = {Path(__file__).parent / name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


def pytest_collection_finish():
    """What the imports have left is never garbage; each trial collects garbage, and need not look through it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _own_folders(request, tmp_path, monkeypatch):
    """No test reads this machine's corpora, results, cache or models, but for the corpora in their tier."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    if request.node.get_closest_marker("corpus"):
        if not REAL_CORPORA.is_dir():
            pytest.skip("set SER_CORPORA to the folder that holds real corpora")
        monkeypatch.setenv("SER_CORPORA", str(REAL_CORPORA))


@pytest.fixture(autouse=True)
def _offline(request, monkeypatch):
    """The default tier never leaves this machine."""
    connect = socket.socket.connect

    def local_only(self, address):
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "localhost", "::1"):
            raise OSError(f"tests are offline; {address} was asked for")
        return connect(self, address)

    def local_names(host, *arguments, **keywords):
        if host not in (None, "127.0.0.1", "localhost", "::1"):
            raise socket.gaierror(f"tests are offline; {host} was asked for")
        return getaddrinfo(host, *arguments, **keywords)

    getaddrinfo = socket.getaddrinfo
    monkeypatch.setattr(socket.socket, "connect", local_only)
    monkeypatch.setattr(socket, "getaddrinfo", local_names)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 300 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)], capture_output=True
    ).returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="session")
def under_jax():
    """Calls functions under JAX, each in a fork of one process (`tests.helpers.jax_process`)."""
    pytest.importorskip("jax")
    from tests.helpers.jax_process import JaxProcess

    process = JaxProcess()
    yield process
    process.close()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """Predictions of all trials of the toy paper, made in one process that nothing happens to."""
    from tests.helpers import toy

    folder = tmp_path_factory.mktemp("undisturbed")
    assert toy.result_of(toy.start({"results": folder / "results"}, folder / "log"))["done"] == 8
    return toy.contents(folder / "results")
