"""Moving what was fetched to its place, and the record of it: its checksums, and how to see that it is complete."""

from __future__ import annotations

import datetime
import json
import os
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.files import write_json
from data_prep.fetching.sources import Source, source_folder

RECORDS = "fetched.json"
"""Name of the file of records, which lies beside the folders."""


@dataclass(frozen=True)
class Fetched:
    """A source that is on this machine.

    Attributes:
        path: its folder.
        files: number of files in it.
        new: False if it was there before.
    """

    path: Path
    files: int
    new: bool


def find_fetched(source: Source, base: Path) -> Fetched | None:
    """Looks for a source that was fetched before.

    Args:
        source: the source.
        base: folder that holds the source's folder.

    Raises:
        UserError: The source's folder was not fetched by this suite, or is not complete any more.
    """
    folder = source_folder(source, base)
    if not folder.exists() or (folder.is_dir() and not os.listdir(folder)):
        return None
    record = read_records(base).get(source.name)
    if record is None:
        raise _not_ours(source, folder)
    files, size = _count_files(folder)
    if files < record["files"] or size < record["bytes"]:  # there may be more, for example the user's own alignments
        raise UserError(
            f"{folder} has {files} files of {size} bytes, but {record['files']} of {record['bytes']} were fetched. "
            "Remove it, and run the command again."
        )
    return Fetched(folder, files, new=False)


def install(source: Source, unpacked: Path, base: Path, checksums: dict[str, str]) -> Fetched:
    """Records what was fetched and then moves it to its place; a record without a folder does no harm.

    Args:
        source: what was fetched.
        unpacked: folder of the unpacked files, on the same disk.
        base: folder that holds the source's folder.
        checksums: checksum of each downloaded file.

    Raises:
        UserError: The files are not what they should be, or something else lies in the source's place.
    """
    from filelock import FileLock

    contents = _find_contents(source, unpacked)
    with FileLock(base / ".fetched.lock"):
        folder = source_folder(source, base)
        if folder.is_dir() and not os.listdir(folder):
            folder.rmdir()
        if folder.exists():
            raise _not_ours(source, folder)
        arriving = contents / source.part
        files, size = _count_files(arriving)
        known = read_records(base)
        known[source.name] = {
            "fetched": datetime.date.today().isoformat(),
            "address": [one.address for one in source.files] or [source.page],
            "checksums": checksums,
            "files": files,
            "bytes": size,
        }
        write_json(base / RECORDS, known)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if source.part:  # files beside the part, which all parts share
            for shared in (path for path in arriving.parent.iterdir() if path.is_file()):
                os.replace(shared, folder.parent / shared.name)
        os.replace(arriving, folder)
    return Fetched(folder, files, new=True)


def _find_contents(source: Source, unpacked: Path) -> Path:
    """The folder that holds what the source should: the given one, or one directly in it."""
    inner = [path for path in unpacked.iterdir() if path.is_dir() and path.name != "__MACOSX"]
    for folder in (unpacked, *inner[:5]):
        if (folder / source.holds).exists():
            return folder
    names = ", ".join(sorted(path.name for path in unpacked.iterdir())[:5])
    raise UserError(f"What was fetched for {source.name} does not hold {source.holds}, but {names}; see {source.page}.")


def _not_ours(source: Source, folder: Path) -> UserError:
    check = f"`ser corpora {source.folder}` checks it. " if source.corpus else ""
    return UserError(
        f"{folder} exists, but was not fetched by this command. {check}To fetch it, move that folder or use --to."
    )


def _count_files(folder: Path) -> tuple[int, int]:
    """Number of files in a folder and below it, and their size in bytes."""
    count = size = 0
    for path, _, names in os.walk(folder):
        count += len(names)
        size += sum(os.lstat(os.path.join(path, name)).st_size for name in names)
    return count, size


def read_records(base: Path) -> dict[str, dict]:
    """Reads the records of what was fetched to a folder, by the name of the source.

    Raises:
        UserError: The file of records cannot be read.
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
        raise UserError(f"{path} is not a record of what was fetched ({error}). Repair it or move it away.") from None
    return known
