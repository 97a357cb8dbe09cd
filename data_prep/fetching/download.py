"""Fetches a whole source: downloads, verifies and unpacks its files, and puts them where `data_prep.find_root` looks.

In the folder of all corpora (or models):

    downloads/NAME/FILE    files that are being downloaded, or that the user put there; both are verified
    NAME/                  what was fetched; it appears when it is complete
    fetched.json           for each source the checksums of its files, the date, and the number of its files

If the owner of a file publishes no checksum, the first download is trusted. Its checksum is recorded in fetched.json,
stays there when the folder is removed, and is compared with every later download.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from pathlib import Path

from common.errors import UserError
from data_prep.fetching import transfer, unpack
from data_prep.fetching.records import Fetched, find_fetched, install, read_records
from data_prep.fetching.sources import File, Source, base_folder


def fetch(source: Source, observer: transfer.Observer, to: Path | None = None, *, timeout_s: float = 30) -> Fetched:
    """Fetches a source, or continues an interrupted fetch; does nothing if the source is complete.

    Args:
        source: what to fetch.
        observer: is told of the progress.
        to: folder that holds the source's folder; None: as `sources.base_folder`.
        timeout_s: how long a server may stay silent.

    Raises:
        UserError: The source cannot be downloaded, is not what it should be, or something else lies in its place.
    """
    from filelock import FileLock, Timeout

    base = base_folder(source, to).absolute()
    if existing := find_fetched(source, base):
        return existing
    lock = FileLock(base / f".{_hyphenated(source)}.lock")
    try:
        base.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        observer.note(f"Another process is fetching {source.name}; waiting for it")
        lock.acquire()
    except OSError as error:
        raise UserError(f"{base} cannot be written: {error.strerror}. Choose another place with --to.") from None
    try:
        return find_fetched(source, base) or _fetch(source, base, observer, timeout_s)
    finally:
        lock.release()


def _fetch(source: Source, base: Path, observer: transfer.Observer, timeout_s: float) -> Fetched:
    import requests

    downloads = base / "downloads" / source.name
    unpacked = base / f".{_hyphenated(source)}.unpacking"
    _check_space(source, base, downloads)
    record = read_records(base).get(source.name, {})
    try:
        with requests.Session() as session:
            files = _files_to_download(source, downloads, session, timeout_s)
            checksums = {}
            for number, file in enumerate(files):
                if number and number % 200 == 0:
                    observer.note(f"{number} of {len(files)} files")
                path = downloads / file.name
                checksums[file.name] = _download_verified(source, file, path, record, session, observer, timeout_s)
        shutil.rmtree(unpacked, ignore_errors=True)  # of a process that was killed
        for file in files:
            _unpack_or_link(source, downloads / file.name, unpacked, observer)
        fetched = install(source, unpacked, base, checksums)
    except OSError as error:
        raise UserError(
            f"{error.filename or base}: {error.strerror}. Solve this and run the same command again."
        ) from None
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    for file in files:
        if transfer.state_file(downloads / file.name).exists():  # files that the user put there stay
            transfer.discard(downloads / file.name)
    with contextlib.suppress(OSError):  # folders that are not empty stay
        for folder in (downloads, *downloads.parents):
            if folder == base:
                break
            folder.rmdir()
    return fetched


def _files_to_download(source: Source, downloads: Path, session, timeout_s: float) -> tuple[File, ...]:
    """The files of a source; those of a dataset are listed by its server, unless the user put archives there."""
    if source.files:
        return source.files
    placed = sorted(path.name for path in downloads.glob("*") if unpack.is_archive(path.name))
    if placed and not any(transfer.state_file(downloads / name).exists() for name in placed):
        return tuple(File(name, source.page) for name in placed)
    server, doi = source.dataset.split()
    try:
        entries = transfer.fetch_listing(session, server, doi, timeout_s=timeout_s)
        files = tuple(
            File(one["label"], f"{server}/api/access/datafile/{one['dataFile']['id']}", _published(one["dataFile"]))
            for one in entries
            if one["label"].lower().endswith((".wav", *unpack.ENDINGS)) and Path(one["label"]).name == one["label"]
        )
        if not files:
            raise transfer.Unreachable("the server lists no audio")
    except (transfer.Unreachable, KeyError, TypeError) as error:
        why = str(error) if isinstance(error, transfer.Unreachable) else "the server's answer is not a list of files"
        raise _download_by_hand(source, f"{server} ({doi})", why, downloads / f"{source.name}.zip") from None
    return files


def _published(entry: dict) -> str:
    """The checksum that a Dataverse server states: MD5 in most cases, otherwise as it calls it ("SHA-256")."""
    if "md5" in entry:
        return f"md5:{entry['md5']}"
    return f"{entry['checksum']['type'].replace('-', '').lower()}:{entry['checksum']['value']}"


def _download_verified(
    source: Source, file: File, path: Path, record: dict, session, observer: transfer.Observer, timeout_s: float
) -> str:
    """Downloads a file unless it is there, verifies it, and returns its checksum.

    Args:
        source: the file's source.
        file: what to download.
        path: where to.
        record: the record of the source's last fetch; empty if there was none.
        session: a `requests.Session`.
        observer: is told of the progress.
        timeout_s: how long the server may stay silent.
    """
    if not path.exists():
        try:
            # A file that cannot be verified must at least come from the address that was asked for.
            encrypted = file.checksum is None
            transfer.download(session, file.address, path, observer, encrypted=encrypted, timeout_s=timeout_s)
        except transfer.Broken as error:
            raise UserError(f"{file.address}: {error}. The same command continues from there.") from None
        except transfer.Unreachable as error:
            raise _download_by_hand(source, file.address, str(error), path) from None
    expected, why = file.checksum, "published"
    if expected is None and file.name in record.get("checksums", {}):
        expected, why = record["checksums"][file.name], f"recorded on {record.get('fetched')}"
    found = checksum(path, expected.split(":")[0] if expected else "sha256", observer)
    if expected is not None and found != expected:
        remedy = _remove_wrong_file(source, path)
        raise UserError(
            f"{path} is not the {file.name} that was expected: {found} instead of {expected} ({why}). {remedy}"
        )
    return found


def checksum(path: Path, algorithm: str, observer: transfer.Observer) -> str:
    """The checksum of a file, as "sha256:..."."""
    observer.begin(f"verifying {path.name}", path.stat().st_size, 0)
    hashed = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            hashed.update(block)
            observer.advance(len(block))
    return f"{algorithm}:{hashed.hexdigest()}"


def _unpack_or_link(source: Source, path: Path, folder: Path, observer: transfer.Observer) -> None:
    """Unpacks an archive into a folder, or links (copies) any other file there."""
    if not unpack.is_archive(path.name):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, folder / path.name)
        except OSError:  # a file system without links
            shutil.copyfile(path, folder / path.name)
        return
    observer.begin(f"unpacking {path.name}", None, 0)
    try:
        unpack.unpack(path, folder, members=source.members, unpacked=3 * source.unpacked, advance=observer.advance)
    except UserError as error:
        remedy = _remove_wrong_file(source, path)
        raise UserError(f"{error} {remedy}") from None


def _remove_wrong_file(source: Source, path: Path) -> str:
    """Removes a file unless the user put it there, and returns what the user should do."""
    if transfer.state_file(path).exists():
        transfer.discard(path)
        return f"It was removed; run the command again, or look at {source.page}."
    return f"Remove it, or put the right one there from {source.page}."


def _check_space(source: Source, base: Path, downloads: Path) -> None:
    present = sum(path.stat().st_size for path in downloads.rglob("*") if path.is_file()) if downloads.is_dir() else 0
    archives = not source.files or any(unpack.is_archive(file.name) for file in source.files)
    needed = max(0, source.size - present) + (source.unpacked if archives else 0)
    free = shutil.disk_usage(base).free
    if needed > free:
        raise UserError(
            f"{source.name} needs about {needed / 1e9:.1f} GB (download and unpacked), but {base} has "
            f"{free / 1e9:.1f} GB free. Make room, or choose another place with --to."
        )


def _download_by_hand(source: Source, address: str, why: str, path: Path) -> UserError:
    return UserError(
        f"{address} cannot be fetched: {why}. Try again later, or download it by hand (see {source.page}), put it at "
        f"{path} and run the same command again."
    )


def _hyphenated(source: Source) -> str:
    return source.name.replace("/", "-")
