"""Writing files completely or not at all, finding them, and hashing them."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any


def write_atomic(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Writes a file under a temporary name in the same folder and then renames it.

    Args:
        path: where the file will be; its folder is created if it does not exist.
        write: function that takes the open binary file and writes the content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        # Files of `tempfile` can be read by their owner only, but a cache or a report may be shared with colleagues.
        with open(temporary, "xb") as file:
            write(file)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text, completely or not at all."""
    write_atomic(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Any) -> None:
    """Writes JSON, completely or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def find(root: Path, name: str) -> Iterator[Path]:
    """Finds all files and folders with a name below a folder, in sorted order.

    Hidden folders are skipped, since they hold unfinished work; so are folders that are removed during the search.
    """
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(entry for entry in folders if not entry.startswith("."))
        if name in files or name in folders:
            yield Path(folder) / name


def checksum(file: Path) -> str:
    """Hashes a file's content; 32 hexadecimal digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def checksum_of(content: bytes) -> str:
    """The same hash of content that was read already."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def combined_checksum(files: Iterable[tuple[str, str]]) -> str:
    """Hashes the names and checksums of several files, in this order; 32 hexadecimal digits."""
    total = hashlib.blake2b(digest_size=16)
    for name, value in files:
        total.update(f"{name}:{value}:".encode())
    return total.hexdigest()


def digest(files: Iterable[Path]) -> str:
    """Hashes the names and contents of several files, in this order; 16 hexadecimal digits."""
    total = hashlib.blake2b(digest_size=8)
    for file in files:
        stat = file.stat()
        total.update(f"{file.name}:{stat.st_size}:".encode())
        total.update(bytes.fromhex(_checksum_of_version(file, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)))
    return total.hexdigest()


@functools.lru_cache(maxsize=256)
def _checksum_of_version(file: Path, size: int, mtime_ns: int, ctime_ns: int) -> str:
    """Each experiment of a command asks for the digest of the same large checkpoints."""
    return checksum(file)
