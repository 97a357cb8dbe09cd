"""Downloads one file over HTTP: resumed where it was interrupted, and under its own name only when it is complete."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from common.errors import UserError
from common.files import write_json

TIMEOUT_S = 30.0
"""How long a server may stay silent."""

_BLOCK = 1 << 18


class Observer(Protocol):
    """Is told of the progress while files are fetched; each method may do nothing."""

    def begin(self, what: str, total: int | None, done: int) -> None:
        """A long step begins: its name, its size in bytes if known, and how many of them are done already."""

    def advance(self, count: int) -> None:
        """This many more bytes are done."""

    def note(self, text: str) -> None:
        """A message that is worth a line."""


class Unreachable(Exception):
    """A file could not be downloaded; the message says why in a few words."""


class Broken(Unreachable):
    """A connection ended too early; what was received is kept."""


def partial_file(path: Path) -> Path:
    """The file that holds what was downloaded so far."""
    return path.with_name(f"{path.name}.part")


def state_file(path: Path) -> Path:
    """The file that says what is being downloaded; it stays beside the complete one, to show that we downloaded it."""
    return path.with_name(f"{path.name}.part.json")


def discard(path: Path) -> None:
    """Removes a downloaded file and everything that belongs to it."""
    for file in (path, partial_file(path), state_file(path)):
        file.unlink(missing_ok=True)


def download(
    session, address: str, path: Path, observer: Observer, *, encrypted: bool = True, timeout_s: float = TIMEOUT_S
) -> None:
    """Downloads a file, or the rest of it.

    The rest is requested only from the same address, and only if the server can confirm that the file has not changed
    (by its ETag, otherwise its date, otherwise its size). If it cannot, or if the file has changed, all of it is
    downloaded again.

    Args:
        session: a `requests.Session`.
        address: URL of the file.
        path: where the complete file will be.
        observer: is told of the progress.
        encrypted: refuse to be redirected from https to http.
        timeout_s: how long the server may stay silent.

    Raises:
        Unreachable: There is no answer, or one that is not the file.
        Broken: The connection ended too early; the next call continues.
        UserError: The disk is full.
    """
    import requests
    import urllib3

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_file(path)
    try:
        if _is_complete(path, address):
            os.replace(partial, path)
            return
        response, done, total = _request(session, address, path, timeout_s)
        with contextlib.closing(response), open(partial, "ab" if done else "wb") as file:
            if encrypted:
                _refuse_downgrade(response, address)
            observer.begin(path.name, total, done)
            for block in response.raw.stream(_BLOCK, decode_content=False):
                file.write(block)
                done += len(block)
                observer.advance(len(block))
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _unreachable(error, address, timeout_s, done=_size(partial)) from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise UserError(f"The disk of {path.parent} is full; make room and run the same command again.") from None
        raise
    if total is not None and done != total:
        raise Broken(f"the connection broke after {done} of {total} bytes")
    os.replace(partial, path)


def fetch_listing(session, server: str, doi: str, *, timeout_s: float = TIMEOUT_S) -> list[dict]:
    """Asks a Dataverse server for the list of files of a dataset, as its API returns it.

    Raises:
        Unreachable: There is no answer, or one that is not a list of files.
    """
    import requests

    address = f"{server}/api/datasets/:persistentId/versions/:latest-published/files?persistentId={doi}"
    try:
        response = session.get(address, timeout=timeout_s)
        if response.status_code != 200:
            raise Unreachable(f"the server answers {response.status_code} {response.reason}")
        return response.json()["data"]
    except (ValueError, KeyError, TypeError):
        raise Unreachable("the server's answer is not a list of files") from None
    except requests.RequestException as error:
        raise _unreachable(error, address, timeout_s) from None


def _state(path: Path) -> dict:
    try:
        state = json.loads(state_file(path).read_text())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _is_complete(path: Path, address: str) -> bool:
    """Whether the partial file has its last byte, but was not renamed any more."""
    partial, state = partial_file(path), _state(path)
    return partial.exists() and state.get("address") == address and _size(partial) == state.get("total")


def _request(session, address: str, path: Path, timeout_s: float):
    """The response, how many bytes of the file are here already, and its size (None if the server does not say)."""
    partial, state = partial_file(path), _state(path)
    done = _size(partial)
    # Without "identity", a server may send an encoding of the file, of which it cannot send the rest.
    headers = {"Accept-Encoding": "identity"}
    if done and state.get("address") == address and (state.get("validator") or state.get("total")):
        headers["Range"] = f"bytes={done}-"
        if state.get("validator"):
            headers["If-Range"] = state["validator"]
    response = session.get(address, headers=headers, stream=True, timeout=timeout_s)
    if "Range" in headers and response.status_code in (206, 416):
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        same = response.status_code == 206 and span and int(span[1]) == done
        if same and state.get("total") in (None, int(span[2])):
            return response, done, int(span[2])
        response.close()
        response = session.get(address, headers={"Accept-Encoding": "identity"}, stream=True, timeout=timeout_s)
    if response.status_code != 200:
        response.close()
        raise Unreachable(f"the server answers {response.status_code} {response.reason}")
    length = response.headers.get("Content-Length", "")
    total = int(length) if length.isdigit() else None
    tag = response.headers.get("ETag", "")
    validator = tag if tag.startswith('"') else response.headers.get("Last-Modified")  # If-Range needs a strong one
    partial.unlink(missing_ok=True)
    write_json(state_file(path), {"address": address, "validator": validator, "total": total})
    return response, 0, total


def _refuse_downgrade(response, address: str) -> None:
    if address.startswith("https:") and any(one.url.startswith("http:") for one in (*response.history, response)):
        raise Unreachable("the server redirects to an address without encryption")


def _unreachable(error: Exception, address: str, timeout_s: float, done: int = 0) -> Unreachable:
    """The error for a failed request, after so many bytes of the file."""
    import requests
    import urllib3

    host = urlsplit(address).netloc
    if isinstance(error, requests.exceptions.SSLError):
        return Unreachable(f"{host} does not show a valid certificate")
    if isinstance(error, requests.exceptions.ConnectTimeout | requests.exceptions.ReadTimeout):
        return Unreachable(f"{host} did not answer within {timeout_s:.0f} s")
    if isinstance(error, requests.exceptions.ConnectionError):
        return Unreachable(f"there is no connection to {host}")
    if isinstance(error, urllib3.exceptions.HTTPError):
        why = "stayed silent" if isinstance(error, urllib3.exceptions.TimeoutError) else "broke"
        return Broken(f"the connection to {host} {why} after {done} bytes")
    return Unreachable(f"{type(error).__name__} of {host}")
