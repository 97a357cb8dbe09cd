"""Shared by all tests: quiet backends, no network, folders of their own."""

import os
import socket
import subprocess

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("SER_EXECUTOR", "here")  # a test that does not look at executors need not wait for processes


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    """No test reads a person's corpora, results, cache or downloaded weights unless it is in the corpus tier."""
    for variable in ("SER_RESULTS", "SER_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))


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
def undisturbed(tmp_path_factory):
    """Predictions of all trials of the toy paper, made in one process that nothing happens to."""
    from tests.helpers import toy

    folder = tmp_path_factory.mktemp("undisturbed")
    assert toy.answer(toy.start({"results": folder / "results"}, folder / "log"))["done"] == 8
    return toy.contents(folder / "results")
