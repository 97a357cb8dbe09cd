"""Files that are either whole or absent."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any


def write_atomic(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Writes a file under a temporary name in the same folder and renames it.

    Args:
        path: where the file will be; its folder is made if missing.
        write: takes the open binary file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        # Not tempfile, whose files only their owner may read: a cache or a report is for colleagues, too.
        with open(temporary, "xb") as file:
            write(file)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text, whole or not at all."""
    write_atomic(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Any) -> None:
    """Writes JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def find(root: Path, name: str) -> Iterator[Path]:
    """Files or folders of a name below a folder, in sorted order.

    Hidden folders, where unfinished work lies, are left out; folders that vanish meanwhile are passed over.
    """
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(entry for entry in folders if not entry.startswith("."))
        if name in files or name in folders:
            yield Path(folder) / name


def checksum(file: Path) -> str:
    """Hash of a file's content, 32 hexadecimal digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def digest(files: Iterable[Path]) -> str:
    """Which files these are: a hash of their names and contents in this order, 16 hexadecimal digits."""
    found = hashlib.blake2b(digest_size=8)
    for file in files:
        found.update(f"{file.name}:{file.stat().st_size}:".encode())
        found.update(bytes.fromhex(checksum(file)))
    return found.hexdigest()
