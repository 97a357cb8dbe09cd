"""The record of what was fetched: where it is, whether it is complete, and the checksums that were seen."""

from __future__ import annotations

import datetime
import json
import os
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.files import write_json
from data_prep.fetching.sources import Source, place

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


def install(source: Source, stage: Path, base: Path, sums: dict[str, str]) -> Fetched:
    """Records what was fetched and moves it to its place, in this order: a record without its folder does no harm.

    Args:
        source: what was fetched.
        stage: folder it was unpacked to, on the same disk.
        base: folder that holds the source's folder.
        sums: checksum of each file that was downloaded.

    Raises:
        UserError: it does not hold what it should, or something else lies where it should be.
    """
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
        known = records(base)
        known[source.name] = {
            "fetched": datetime.date.today().isoformat(),
            "address": [one.address for one in source.files] or [source.page],
            "checksums": sums,
            "files": files,
            "bytes": size,
        }
        write_json(base / RECORDS, known)
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


def found(source: Source, base: Path) -> Fetched | None:
    """What is there already.

    Raises:
        UserError: something is there that this command did not put there, or only a part of what it put there.
    """
    target = place(source, base)
    if not target.exists() or (target.is_dir() and not os.listdir(target)):
        return None
    record = records(base).get(source.name)
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


def records(base: Path) -> dict[str, dict]:
    """What was fetched to below a folder, by the name of its source.

    Raises:
        UserError: the file of records is not one.
    """
    path = base / RECORDS
    if not path.exists():
        return {}
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        for record in known.values():
            if not isinstance(record["checksums"], dict) or record["files"] + record["bytes"] < 0:
                raise ValueError("checksums, files and bytes are expected")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a record of what was fetched ({error}). Mend it or move it away.") from None
    return known
