"""Artefacts: products of a training stage (networks, codebooks) that are made once and shared by many trials.

An artefact is a folder whose name is a hash of everything that made it. Its `artefact.json` says what that was and
holds a checksum of each file. The folder appears by one rename when it is complete; other processes wait while one
makes it; what a killed process left is removed and made again. If a file no longer matches its checksum, the whole
artefact counts as absent.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common.files import checksum, combined_checksum, write_json

RECORD = "artefact.json"


@dataclass(frozen=True)
class Artefact:
    """A complete artefact.

    Attributes:
        folder: where its files are.
        made_of: everything that made it (config, data, seed).
        record: what its making reported (history, flags).
        files: checksum of each file, by name.
    """

    folder: Path
    made_of: Mapping[str, Any]
    record: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Hash of `made_of`, which is also the name of its folder."""
        return self.folder.name

    @property
    def checksum(self) -> str:
        """Hash of its files; two trainings on the same things may differ in it."""
        return combined_checksum(sorted(self.files.items()))


@dataclass(frozen=True)
class Artefacts:
    """A folder of artefacts.

    Attributes:
        root: the folder; created when it is needed.
        made_with: versions that are part of every artefact's hash, so that another version makes its own.
    """

    root: Path
    made_with: Mapping[str, str] = field(default_factory=dict)

    def get(self, name: str, made_of: Mapping[str, Any], make: Callable[[Path], Mapping[str, Any] | None]) -> Artefact:
        """Returns the artefact that was made of these things, and makes it first if it does not exist.

        Args:
            name: kind of artefact, which is also its folder below the root, for example "PAPER/codebook".
            made_of: everything that could change it, as JSON values: config, data, seed, and the digests of the
                artefacts that it is made from.
            make: writes the files into an existing, empty folder, and may return a record (history, flags).
        """
        from filelock import FileLock

        made_of = json.loads(json.dumps({**made_of, "made_with": dict(self.made_with)}))
        folder = self.root / name / _digest(made_of)
        found = _read(folder)
        if found is not None:
            return found
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            found = _read(folder)
            if found is not None:  # another process made it while this one waited
                return found
            for leftover in folder.parent.glob(f".tmp-{folder.name}-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            temporary = folder.with_name(f".tmp-{folder.name}-{os.getpid()}")
            temporary.mkdir()
            record = make(temporary) or {}
            files = {file.relative_to(temporary).as_posix(): checksum(file) for file in _files(temporary)}
            finished = datetime.now(UTC).isoformat(timespec="seconds")
            described = {"made_of": made_of, "record": dict(record), "files": files, "finished": finished}
            write_json(temporary / RECORD, described)
            shutil.rmtree(folder, ignore_errors=True)  # damaged, because `_read` did not accept it
            os.rename(temporary, folder)
        return Artefact(folder, made_of, described["record"], files)

    def find(self, name: str, digest: str) -> Artefact | None:
        """Returns the artefact of that name and digest, or None if it is absent or damaged."""
        return _read(self.root / name / digest)

    def newest(self, name: str, matching: Mapping[str, Any]) -> Artefact | None:
        """Returns the artefact of a name that was finished last, or None if there is none.

        Args:
            name: kind of artefact.
            matching: settings that its `made_of["config"]` must have.
        """
        wanted = json.loads(json.dumps(matching))
        found = []
        for folder in sorted((self.root / name).glob("[!.]*")):
            artefact = _read(folder)
            if artefact is not None and wanted.items() <= artefact.made_of.get("config", {}).items():
                found.append(((folder / RECORD).stat().st_mtime_ns, artefact))
        return max(found, key=lambda pair: pair[0])[1] if found else None


def _digest(made_of: Mapping[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(made_of, sort_keys=True).encode(), digest_size=8).hexdigest()


def _read(folder: Path) -> Artefact | None:
    """The artefact in a folder, or None if it is absent or a file does not match its checksum."""
    try:
        described = json.loads((folder / RECORD).read_bytes())
        if any(checksum(folder / name) != expected for name, expected in described["files"].items()):
            return None
        return Artefact(folder, described["made_of"], described["record"], described["files"])
    except (OSError, ValueError, KeyError, AttributeError):
        return None


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.rglob("*")) if file.is_file())
