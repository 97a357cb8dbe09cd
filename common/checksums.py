"""Checksums of many or large files, kept between commands, so that a file that did not change is not read again."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from common.files import checksum, combined_checksum, write_json

SETTLED_S = 2.0
"""A checksum is kept only if the file was last changed this long before: clocks of file systems are coarse, and a
change right after could otherwise leave the same size and times."""


@dataclass(frozen=True)
class Checksums:
    """A folder of known checksums.

    A file counts as unchanged while its size and the times of its last modification (mtime) and last change (ctime)
    are the same. ctime is what `cp -p` and `touch` cannot set back.

    Attributes:
        folder: where they are kept, one file per group; created when it is needed.
    """

    folder: Path

    def of(self, group: str, files: Iterable[Path]) -> list[str]:
        """Checksums of files (see `common.files.checksum`); "" for a file that cannot be read.

        Args:
            group: name under which they are kept, for example the corpus.
            files: the files.
        """
        kept_in = self.folder / f"{group}.json"
        known = _read(kept_in)
        paths = [str(path) for path in files]
        versions = {path: _version(path) for path in dict.fromkeys(paths)}
        changed = [path for path, version in versions.items() if version and known.get(path, [])[:3] != version]
        started_ns = time.time_ns()
        with ThreadPoolExecutor(8) as pool:
            computed = dict(zip(changed, pool.map(_checksum, changed), strict=True))
        result = {path: computed.get(path) or known.get(path, ["", "", "", ""])[3] for path in versions}
        settled = {
            path: [*versions[path], value]
            for path, value in computed.items()
            if value and max(versions[path][1:]) < started_ns - SETTLED_S * 1e9 and _version(path) == versions[path]
        }
        if settled:
            with contextlib.suppress(OSError):  # a read-only folder costs only time
                write_json(kept_in, {**_read(kept_in), **settled})
        return [result[path] if versions[path] else "" for path in paths]

    def of_pretrained(self, path: Path) -> str:
        """Checksum of a pretrained file, or of all files of a folder, with their names."""
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        names = [file.relative_to(path).as_posix() if file != path else file.name for file in files]
        return combined_checksum(zip(names, self.of("pretrained", files), strict=True))


def _checksum(path: str) -> str:
    try:
        return checksum(Path(path))
    except OSError:
        return ""


def _version(path: str) -> list[int]:
    """Size, mtime and ctime; empty if there is no such file."""
    try:
        stat = Path(path).stat()
    except OSError:
        return []
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _read(file: Path) -> dict[str, list]:
    try:
        known = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
