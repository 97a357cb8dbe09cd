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
import datetime
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.files import write_json
from data_prep import transfer, unpack
from data_prep.sources import File, Source, base_folder, place

RECORDS = "fetched.json"
"""Name of the record beside the folders."""


@dataclass(frozen=True)
class Fetched:
    """What a fetch did.

    Attributes:
        path: where the source is.
        files: how many files it has.
        new: False if it was there already.
    """

    path: Path
    files: int
    new: bool


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
    if found := _found(source, base):
        return found
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
        return _found(source, base) or _fetch(source, base, observer, timeout_s)
    finally:
        lock.release()


def _fetch(source: Source, base: Path, observer: transfer.Observer, timeout_s: float) -> Fetched:
    import requests

    folder = base / "downloads" / source.name
    stage = base / f".{_slug(source)}.unpacking"
    _check_space(source, base, folder)
    record = _records(base).get(source.name, {})
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
        arrived = _install(source, stage, base, sums)
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


def _install(source: Source, stage: Path, base: Path, sums: dict[str, str]) -> Fetched:
    """Records what was fetched and moves it to its place, in this order: a record without its folder does no harm."""
    from filelock import FileLock

    whole = _root(source, stage)
    with FileLock(base / ".fetched.lock"):
        target = place(source, base)
        if target.is_dir() and not os.listdir(target):
            target.rmdir()
        if target.exists():
            raise _occupied(source, target)
        arriving = whole / source.part
        files, size = _extent(arriving)
        records = _records(base)
        records[source.name] = {
            "fetched": datetime.date.today().isoformat(),
            "address": [one.address for one in source.files] or [source.page],
            "checksums": sums,
            "files": files,
            "bytes": size,
        }
        write_json(base / RECORDS, records)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.part:  # the lists that the parts share
            for shared in (path for path in arriving.parent.iterdir() if path.is_file()):
                os.replace(shared, target.parent / shared.name)
        os.replace(arriving, target)
    return Fetched(target, files, new=True)


def _root(source: Source, stage: Path) -> Path:
    """The folder of what was unpacked that holds what it should: the stage, or the one folder in it."""
    inner = [path for path in stage.iterdir() if path.is_dir() and path.name != "__MACOSX"]
    for folder in (stage, *inner[:5]):
        if (folder / source.holds).exists():
            return folder
    names = ", ".join(sorted(path.name for path in stage.iterdir())[:5])
    raise UserError(f"What was fetched for {source.name} does not hold {source.holds}, but {names}; see {source.page}.")


def _found(source: Source, base: Path) -> Fetched | None:
    """What is there already.

    Raises:
        UserError: something is there that this command did not put there, or only a part of what it put there.
    """
    target = place(source, base)
    if not target.exists() or (target.is_dir() and not os.listdir(target)):
        return None
    record = _records(base).get(source.name)
    if record is None:
        raise _occupied(source, target)
    files, size = _extent(target)
    if files < record["files"] or size < record["bytes"]:  # more is a person's, alignments for example
        raise UserError(
            f"{target} has {files} files of {size} bytes, but {record['files']} of {record['bytes']} were fetched. "
            "Remove it, and run the command again."
        )
    return Fetched(target, files, new=False)


def _occupied(source: Source, target: Path) -> UserError:
    check = f"`ser corpora {source.folder}` checks it. " if source.corpus else ""
    return UserError(f"{target} is there, but was not fetched by this command. {check}To fetch, move it or use --to.")


def _extent(folder: Path) -> tuple[int, int]:
    """How many files are in a folder, and their bytes."""
    count = size = 0
    for path, _, names in os.walk(folder):
        count += len(names)
        size += sum(os.lstat(os.path.join(path, name)).st_size for name in names)
    return count, size


def _records(base: Path) -> dict[str, dict]:
    path = base / RECORDS
    if not path.exists():
        return {}
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(record["checksums"], dict) for record in records.values()):
            raise ValueError("no checksums")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a record of what was fetched ({error}). Mend it or move it away.") from None
    return records


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
