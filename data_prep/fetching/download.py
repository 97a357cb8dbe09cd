"""Fetches a source: download, verify, unpack, and only then put it where `data_prep.find_root` looks.

Below the folder of all corpora (or models):

    downloads/NAME/FILE    what is being downloaded, or what a person put there by hand; verified alike
    NAME/                  what was fetched; it appears whole or not at all
    fetched.json           for each source the checksums of its files, when, and how many files it has

A file whose owner publishes no checksum is trusted the first time; what was seen is recorded in fetched.json, outlives
the folder, and holds for every later fetch.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from pathlib import Path

from common.errors import UserError
from data_prep.fetching import transfer, unpack
from data_prep.fetching.fetched import Fetched, found, install, records
from data_prep.fetching.sources import File, Source, base_folder


def fetch(source: Source, observer: transfer.Observer, to: Path | None = None, *, timeout_s: float = 30) -> Fetched:
    """Fetches a source, or goes on with what was begun; does nothing if it is there and whole.

    Args:
        source: what.
        observer: is told of the progress.
        to: folder that holds the source's folder; None: as `sources.base_folder`.
        timeout_s: how long a server may stay silent.

    Raises:
        UserError: it cannot be had, is not what it should be, or something else lies where it should be.
    """
    from filelock import FileLock, Timeout

    base = base_folder(source, to).absolute()
    if there := found(source, base):
        return there
    lock = FileLock(base / f".{_slug(source)}.lock")
    try:
        base.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        observer.note(f"Another process is fetching {source.name}; waiting for it")
        lock.acquire()
    except OSError as error:
        raise UserError(f"{base} cannot be written: {error.strerror}. Choose another place with --to.") from None
    try:
        return found(source, base) or _fetch(source, base, observer, timeout_s)
    finally:
        lock.release()


def _fetch(source: Source, base: Path, observer: transfer.Observer, timeout_s: float) -> Fetched:
    import requests

    folder = base / "downloads" / source.name
    stage = base / f".{_slug(source)}.unpacking"
    _check_space(source, base, folder)
    record = records(base).get(source.name, {})
    try:
        with requests.Session() as session:
            files = _files(source, folder, session, timeout_s)
            sums = {}
            for number, one in enumerate(files):
                if number and number % 200 == 0:
                    observer.note(f"{number} of {len(files)} files")
                sums[one.name] = _obtain(source, one, folder / one.name, record, session, observer, timeout_s)
        shutil.rmtree(stage, ignore_errors=True)  # of a process that was killed
        for one in files:
            _put(source, folder / one.name, stage / one.name, stage, observer)
        arrived = install(source, stage, base, sums)
    except OSError as error:
        raise UserError(
            f"{error.filename or base}: {error.strerror}. Mend it and run the same command again."
        ) from None
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    for one in files:
        if transfer.state_of(folder / one.name).exists():  # what a person put there stays
            transfer.discard(folder / one.name)
    with contextlib.suppress(OSError):  # folders that are not empty stay
        for empty in (folder, *folder.parents):
            if empty == base:
                break
            empty.rmdir()
    return arrived


def _files(source: Source, folder: Path, session, timeout_s: float) -> tuple[File, ...]:
    """The files of a source; of a dataset those that its server lists, or the archives that a person put there."""
    if source.files:
        return source.files
    placed = sorted(path.name for path in folder.glob("*") if unpack.is_archive(path.name))
    if placed and not any(transfer.state_of(folder / name).exists() for name in placed):
        return tuple(File(name, source.page) for name in placed)
    server, doi = source.dataset.split()
    try:
        entries = transfer.listing(session, server, doi, timeout_s=timeout_s)
        files = tuple(
            File(one["label"], f"{server}/api/access/datafile/{one['dataFile']['id']}", _published(one["dataFile"]))
            for one in entries
            if one["label"].lower().endswith((".wav", *unpack.ENDINGS)) and Path(one["label"]).name == one["label"]
        )
        if not files:
            raise transfer.Unreachable("the server lists no audio")
    except (transfer.Unreachable, KeyError, TypeError) as error:
        why = str(error) if isinstance(error, transfer.Unreachable) else "the server's answer is not a list of files"
        raise _by_hand(source, f"{server} ({doi})", why, folder / f"{source.name}.zip") from None
    return files


def _published(entry: dict) -> str:
    """The checksum that a Dataverse server states: MD5 in most, else as it names it ("SHA-256")."""
    if "md5" in entry:
        return f"md5:{entry['md5']}"
    return f"{entry['checksum']['type'].replace('-', '').lower()}:{entry['checksum']['value']}"


def _obtain(source, one: File, path: Path, record: dict, session, observer, timeout_s: float) -> str:
    """Downloads a file if it is not there, verifies it, and returns its checksum."""
    if not path.exists():
        try:
            # What cannot be verified must at least come from the address that was asked.
            transfer.download(session, one.address, path, observer, encrypted=one.checksum is None, timeout_s=timeout_s)
        except transfer.Broken as error:
            raise UserError(f"{one.address}: {error}. The same command goes on from there.") from None
        except transfer.Unreachable as error:
            raise _by_hand(source, one.address, str(error), path) from None
    expected, why = one.checksum, "published"
    if expected is None and one.name in record.get("checksums", {}):
        expected, why = record["checksums"][one.name], f"recorded on {record.get('fetched')}"
    seen = checksum(path, expected.split(":")[0] if expected else "sha256", observer)
    if expected is not None and seen != expected:
        if transfer.state_of(path).exists():
            transfer.discard(path)
            rest = "It was removed; run the command again, or look at " + source.page
        else:
            rest = f"Remove it, or put the right one there from {source.page}"
        raise UserError(
            f"{path} is not the {one.name} that was expected: {seen} instead of {expected} ({why}). {rest}."
        )
    return seen


def checksum(path: Path, algorithm: str, observer: transfer.Observer) -> str:
    """The checksum of a file, as "sha256:..."."""
    observer.begin(f"verifying {path.name}", path.stat().st_size, 0)
    hashed = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            hashed.update(block)
            observer.advance(len(block))
    return f"{algorithm}:{hashed.hexdigest()}"


def _put(source: Source, path: Path, target: Path, stage: Path, observer: transfer.Observer) -> None:
    """Unpacks an archive into the stage, or puts any other file there."""
    if not unpack.is_archive(path.name):
        stage.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, target)
        except OSError:  # a file system without links
            shutil.copyfile(path, target)
        return
    observer.begin(f"unpacking {path.name}", None, 0)
    try:
        unpack.unpack(path, stage, members=source.members, unpacked=3 * source.unpacked, advance=observer.advance)
    except UserError as error:
        if transfer.state_of(path).exists():
            transfer.discard(path)
            raise UserError(f"{error} It was removed; run the command again, or look at {source.page}.") from None
        raise UserError(f"{error} Remove it, or put the right one there from {source.page}.") from None


def _check_space(source: Source, base: Path, folder: Path) -> None:
    here = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    needed = max(0, source.size - here) + (source.unpacked if not source.files or _packed(source) else 0)
    free = shutil.disk_usage(base).free
    if needed > free:
        raise UserError(
            f"{source.name} needs about {needed / 1e9:.1f} GB (download and unpacked), but {base} has "
            f"{free / 1e9:.1f} GB free. Make room, or choose another place with --to."
        )


def _packed(source: Source) -> bool:
    return any(unpack.is_archive(one.name) for one in source.files)


def _by_hand(source: Source, address: str, why: str, path: Path) -> UserError:
    return UserError(
        f"{address} cannot be fetched: {why}. Try again later, or download it by hand (see {source.page}), put it at "
        f"{path} and run the same command again."
    )


def _slug(source: Source) -> str:
    return source.name.replace("/", "-")
