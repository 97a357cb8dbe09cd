"""What several readers share: finding files in a corpus's folders, and refusing what does not belong to the corpus."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from common.errors import UserError, WrongFolder


def file_names(folder: str | Path, suffixes: str | tuple[str, ...]) -> list[str]:
    """Names of the files directly in a folder that have one of these suffixes, sorted.

    Hidden files are left out: archives packed on a Mac hold a file of metadata "._NAME" beside every file.

    Args:
        folder: an existing folder.
        suffixes: in lower case; files may have them in capitals.
    """
    names = os.listdir(folder)
    return sorted(name for name in names if name.lower().endswith(suffixes) and not name.startswith("."))


def wav_files(folder: Path) -> list[Path]:
    """The wav files directly in a folder, sorted; none if there is no such folder."""
    return [folder / name for name in file_names(folder, ".wav")] if folder.is_dir() else []


def subfolders(root: Path) -> list[Path]:
    """The folders directly in a folder, sorted, without hidden ones."""
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def grouped_wav_files(root: Path, is_group: Callable[[str], object]) -> list[Path]:
    """The wav files of a corpus that is sorted into folders by actor or emotion.

    These are the files of the groups in `root`; if there are none, those of the groups one level down; if there are
    none either, those of `root` itself or of its folders. Some repackagings hold the whole corpus a second time in a
    folder inside it: that copy is not read.

    Args:
        root: the folder.
        is_group: true for the name of a group's folder, for example "Actor_01".
    """

    def in_groups(folder: Path) -> list[Path]:
        folders = subfolders(folder)
        if not any(is_group(one.name) for one in folders):
            return []
        # Every folder with wav files is read, so that an unknown group is an error and not silently left out.
        return [path for one in folders for path in wav_files(one)]

    return (
        in_groups(root)
        or [path for folder in subfolders(root) for path in in_groups(folder)]
        or wav_files(root)
        or [path for folder in subfolders(root) for path in wav_files(folder)]
    )


def audio_by_utterance(folders: Iterable[str | Path]) -> dict[str, str]:
    """Finds the audio file (wav or flac) of each utterance, which has the utterance's name.

    Args:
        folders: the folders that hold the files directly.

    Raises:
        UserError: Two files belong to one utterance.
    """
    found: dict[str, str] = {}
    for folder in folders:
        for name in file_names(folder, (".wav", ".flac")):
            utterance, path = os.path.splitext(name)[0], os.path.join(folder, name)
            if utterance in found:
                raise UserError(f"Two audio files for one utterance: {found[utterance]} and {path}.")
            found[utterance] = path
    return found


def wrong_folder(root: Path, title: str, expected: str, files: Sequence[Path] = ()) -> WrongFolder:
    """The error for a folder that is not the corpus, which says what was expected and what was found.

    Args:
        root: the folder.
        title: the corpus, as a person calls it.
        expected: what the folder should hold.
        files: wav files that were found in it; without any, the names in the folder are listed.
    """
    if files:
        found = f"{len(files)} wav file{'s' * (len(files) > 1)} such as {files[0].relative_to(root)}"
    else:
        names = sorted(name for name in os.listdir(root) if not name.startswith(".")) if root.is_dir() else []
        found = ", ".join(names[:5]) or "nothing"
        found += f" and {len(names) - 5} more" if len(names) > 5 else ""
    return WrongFolder(f"{root} is not {title}: expected {expected}, but found {found}.")


def check_codes(path: Path, name: re.Match[str], known: Mapping[str, Collection[str]], title: str) -> None:
    """Checks the codes in a file's name.

    Args:
        path: the file.
        name: match of its name, with a group for each kind of code.
        known: the codes that the corpus has, by kind ("speaker", "emotion").
        title: the corpus, as a person calls it.

    Raises:
        UserError: The name has a code that the corpus does not have.
    """
    for kind, codes in known.items():
        if name[kind] not in codes:
            raise UserError(f"{path}: unknown {kind} '{name[kind]}' in the name; {title} has {', '.join(codes)}.")


def refuse_any(paths: Sequence[str], corpus: str, problem: str) -> None:
    """Refuses a folder if any of its files has a problem.

    Args:
        paths: the files with the problem.
        corpus: name of the corpus.
        problem: what is wrong, as it follows on "3 ...".

    Raises:
        UserError: There is at least one such file; the message names the first one.
    """
    if paths:
        raise UserError(f"{corpus}: {len(paths)} {problem}; the first is {paths[0]}.")
