"""Unpacks archives member by member, without trusting what a member says about itself.

Refused are names that leave the folder (absolute, "..", drive letters, backslashes), links of any kind, devices, sparse
members, encrypted members, names that occur twice, too many members, too many bytes, and more bytes than an honest
archive of that size can hold. What was unpacked before a refusal stays in the folder, which the caller removes.
"""

from __future__ import annotations

import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import IO

from common.errors import UserError

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")
"""File names that end in one of these are archives."""

MAX_RATIO = 100
"""Unpacked bytes per byte of an archive. Audio and word vectors stay below 4, a bomb can reach 1032 (deflate)."""

_BLOCK = 1 << 20
_Member = tuple[str, int, bool, Callable[[], AbstractContextManager[IO[bytes]]]]


def is_archive(name: str) -> bool:
    """Whether a file of that name is an archive."""
    return name.lower().endswith(ENDINGS)


def unpack(
    archive: Path, folder: Path, *, members: int, unpacked: int, advance: Callable[[int], object] = lambda count: None
) -> None:
    """Unpacks an archive into a folder.

    Args:
        archive: zip, tar or compressed tar, recognised by its content and not by its name.
        folder: where to; created if it does not exist.
        members: maximum number of members.
        unpacked: maximum number of bytes.
        advance: called with the number of bytes after each block that was written.

    Raises:
        UserError: The archive is damaged, or holds something that is refused.
    """
    folder.mkdir(parents=True, exist_ok=True)
    limit = min(unpacked, MAX_RATIO * archive.stat().st_size)
    count = total = 0
    try:
        for name, size, is_folder, open_member in _members(archive):
            count, total = count + 1, total + size
            if count > members:
                raise UserError(f"{archive} is refused: more than {members} members.")
            if total > limit:
                raise UserError(f"{archive} is refused: it unpacks to more than {limit} bytes (a decompression bomb?).")
            target = folder / _checked(archive, name)
            if is_folder:
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with open_member() as content:
                _write(archive, name, content, size, target, advance)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{archive} is refused: {error.filename} occurs twice in it.") from None
    except (
        zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError
    ) as error:  # fmt: skip
        raise _damaged(archive, error) from None
    except OSError as error:
        if error.errno is None:  # for example gzip.BadGzipFile
            raise _damaged(archive, error) from None
        raise
    if count == 0:
        raise UserError(f"{archive} is empty.")


def _damaged(archive: Path, error: Exception) -> UserError:
    return UserError(f"{archive} is damaged or cut short ({error}).")


def _write(
    archive: Path, name: str, content: IO[bytes], size: int, target: Path, advance: Callable[[int], object]
) -> None:
    written = 0
    with open(target, "xb") as file:
        while block := content.read(_BLOCK):
            written += len(block)
            if written > size:
                break
            file.write(block)
            advance(len(block))
    if written != size:
        raise UserError(f"{archive} is damaged: {name} does not have the {size} bytes that it states.")


def _checked(archive: Path, name: str) -> PurePosixPath:
    """A member's name as a path inside the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or re.match(r"[A-Za-z]:", name):
        raise UserError(f"{archive} is refused: its member '{name}' would leave the folder.")
    return path


def _members(archive: Path) -> Iterator[_Member]:
    """Name and size of each member, whether it is a folder, and how to open it."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            yield from (_zip_member(archive, zipped, one) for one in zipped.infolist())
        return
    try:
        tar = tarfile.open(archive)  # noqa: SIM115
    except tarfile.ReadError:
        raise UserError(f"{archive} is neither a zip nor a tar archive, or it was cut short.") from None
    with tar:
        for one in tar:
            if one.issparse() or not (one.isreg() or one.isdir()):
                raise UserError(f"{archive} is refused: its member '{one.name}' is {_kind(one)}, not a file.")
            yield one.name, one.size if one.isreg() else 0, one.isdir(), lambda one=one: tar.extractfile(one)


def _zip_member(archive: Path, zipped: zipfile.ZipFile, one: zipfile.ZipInfo) -> _Member:
    kind = stat.S_IFMT(one.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a link" if kind == stat.S_IFLNK else "a device"
        raise UserError(f"{archive} is refused: its member '{one.filename}' is {what}, not a file.")
    if one.flag_bits & 1:
        raise UserError(f"{archive} is refused: its member '{one.filename}' is encrypted.")
    return one.filename, one.file_size, one.is_dir(), lambda: zipped.open(one)


def _kind(member: tarfile.TarInfo) -> str:
    if member.issym() or member.islnk():
        return "a link"
    return "a sparse file" if member.issparse() else "a device"
