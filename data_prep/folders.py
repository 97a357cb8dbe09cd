"""Looking through a corpus' folders: what several readers need."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def wav_files(folder: Path) -> list[Path]:
    """The `.wav` files directly in a folder, sorted; none if there is no such folder.

    Archives packed on a Mac carry a "._NAME.wav" of metadata beside every file; hidden files are passed over.
    """
    if not folder.is_dir():
        return []
    names = [name for name in os.listdir(folder) if name.lower().endswith(".wav") and not name.startswith(".")]
    return [folder / name for name in sorted(names)]


def subfolders(root: Path) -> list[Path]:
    """The folders directly in a folder, sorted, without hidden ones."""
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def grouped_wav_files(root: Path, is_group: Callable[[str], object]) -> list[Path]:
    """The wav files of a corpus that keeps them in folders by actor or emotion.

    Read are the files of the groups in `root`; without those, of the groups one level down; without those, the files of
    `root` itself or of its folders. Some repackagings hold the whole corpus twice, in the folder and once more in a
    folder of it: only the former is read.

    Args:
        root: the folder.
        is_group: true for the name of a group's folder, for example "Actor_01".
    """
    if files := _of_groups(root, is_group):
        return files
    folders = subfolders(root)
    nested = [path for folder in folders for path in _of_groups(folder, is_group)]
    return nested or wav_files(root) or [path for folder in folders for path in wav_files(folder)]


def _of_groups(root: Path, is_group: Callable[[str], object]) -> list[Path]:
    folders = subfolders(root)
    if not any(is_group(folder.name) for folder in folders):
        return []
    # Every folder with wav files is read, so that an unknown group is an error and not silently left out.
    return [path for folder in folders for path in wav_files(folder)]
