"""One file over HTTP: resumed where it was cut, and under its own name only when it is whole."""

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
    """What is told while files are fetched; each method may do nothing."""

    def begin(self, what: str, total: int | None, done: int) -> None:
        """Something long begins: its name, its bytes if known, and how many of them are here already."""

    def advance(self, count: int) -> None:
        """So many more bytes are done."""

    def note(self, text: str) -> None:
        """Something worth a line."""


class Unreachable(Exception):
    """A file that did not come; its text says why in a few words."""


class Broken(Unreachable):
    """A connection that ended too early; what came is kept."""


def part_of(path: Path) -> Path:
    """Where a file grows."""
    return path.with_name(f"{path.name}.part")


def state_of(path: Path) -> Path:
    """What is known of a growing file; stays beside the whole one, as a sign that it was downloaded here."""
    return path.with_name(f"{path.name}.part.json")


def discard(path: Path) -> None:
    """Removes a downloaded file and all that belongs to it."""
    for file in (path, part_of(path), state_of(path)):
        file.unlink(missing_ok=True)


def download(
    session, address: str, path: Path, observer: Observer, *, encrypted: bool = True, timeout_s: float = TIMEOUT_S
) -> None:
    """Downloads a file, or the rest of it.

    The rest is asked for only of the same address, and only if the server can tell that the file is the one that was
    begun (its ETag, else its date, else its size); a server that cannot, or whose file changed, sends all of it.

    Args:
        session: a `requests.Session`.
        address: where it is.
        path: where it will be, once it is whole.
        observer: is told of the progress.
        encrypted: refuse to be sent from https to http.
        timeout_s: how long the server may stay silent.

    Raises:
        Unreachable: there is no answer, or one that is not the file.
        Broken: the connection ended too early; the next call goes on.
        UserError: the disk is full.
    """
    import requests
    import urllib3

    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path)
    try:
        if _is_whole(part, path, address):
            os.replace(part, path)
            return
        response, done, total = _ask(session, address, path, timeout_s)
        with contextlib.closing(response), open(part, "ab" if done else "wb") as file:
            if encrypted:
                _refuse_downgrade(response, address)
            observer.begin(path.name, total, done)
            for block in response.raw.stream(_BLOCK, decode_content=False):
                file.write(block)
                done += len(block)
                observer.advance(len(block))
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _explained(error, address, part, timeout_s) from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise UserError(f"The disk of {path.parent} is full; make room and run the same command again.") from None
        raise
    if total is not None and done != total:
        raise Broken(f"the connection broke after {done} of {total} bytes")
    os.replace(part, path)


def listing(session, server: str, doi: str, *, timeout_s: float = TIMEOUT_S) -> list[dict]:
    """The files of a dataset on a Dataverse server, as its API tells them.

    Raises:
        Unreachable: there is no answer, or one that is not a list of files.
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
        raise _explained(error, address, Path(), timeout_s) from None


def _state(path: Path) -> dict:
    try:
        state = json.loads(state_of(path).read_text())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def _is_whole(part: Path, path: Path, address: str) -> bool:
    """True for a file of which the last byte came, but that was not renamed any more."""
    state = _state(path)
    return part.exists() and state.get("address") == address and part.stat().st_size == state.get("total")


def _ask(session, address: str, path: Path, timeout_s: float):
    """The response, how many bytes of the file are here already, and how many it has (None: not told)."""
    part, state = part_of(path), _state(path)
    done = part.stat().st_size if part.exists() else 0
    # Without "identity" a server may send an encoding of the file, of which no part can be asked for.
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
    validator = tag if tag.startswith('"') else response.headers.get("Last-Modified")  # a weak tag does not fit
    part.unlink(missing_ok=True)
    write_json(state_of(path), {"address": address, "validator": validator, "total": total})
    return response, 0, total


def _refuse_downgrade(response, address: str) -> None:
    if address.startswith("https:") and any(one.url.startswith("http:") for one in (*response.history, response)):
        raise Unreachable("the server sends us on to an address without encryption")


def _explained(error: Exception, address: str, part: Path, timeout_s: float) -> Unreachable:
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
        return Broken(f"the connection to {host} {why} after {part.stat().st_size if part.exists() else 0} bytes")
    return Unreachable(f"{type(error).__name__} of {host}")
