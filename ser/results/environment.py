"""What computes a trial: versions of the suite and its libraries, its source code, and the device."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import platform
import subprocess
from pathlib import Path
from typing import Any

from common.backend import backend_name

PACKAGES = ("common", "data_prep", "papers", "ser")
"""The suite's packages, whose source code is hashed."""


def version_of(package: str) -> str:
    """Version of an installed package, or "unknown"."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


@functools.cache
def suite_version() -> str:
    """Version of this suite."""
    return version_of("ser-papers")


def environment() -> dict[str, str]:
    """Versions of everything that can change a number; trials that differ in one are never averaged.

    Importing neither Keras nor a backend. "code" is a hash of the suite's source.
    """
    return {"code": code(), "python": platform.python_version(), "machine": platform.machine(), **libraries()}


def libraries() -> dict[str, str]:
    """Versions of the suite, Keras, NumPy and the backend."""
    backend = backend_name()
    found = {"suite": suite_version(), "backend": backend}
    return found | {package: version_of(package) for package in ("keras", "numpy", backend)}


def device() -> str:
    """Where the backend computes: "CPU" or "2 GPU". The backend must have been started."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        gpus = len(tf.config.list_physical_devices("GPU"))
    else:
        gpus = sum(not name.startswith("cpu") for name in keras.distribution.list_devices())
    return f"{gpus} GPU" if gpus else "CPU"


def _folders() -> list[Path]:
    return [Path(importlib.util.find_spec(name).submodule_search_locations[0]) for name in PACKAGES]


@functools.cache
def code() -> str:
    """Hash of the suite's Python files, 16 hexadecimal digits."""
    total = hashlib.blake2b(digest_size=8)
    for folder in _folders():
        for file in sorted(folder.rglob("*.py")):
            content = file.read_bytes()
            total.update(f"{file.relative_to(folder.parent).as_posix()}:{len(content)}:".encode() + content)
    return total.hexdigest()


@functools.cache
def checkout() -> dict[str, Any]:
    """In a git checkout of the suite: its commit, and whether files were modified since; otherwise empty."""
    root = _folders()[-1].parent
    if not (root / ".git").exists():
        return {}
    commit, status = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain", "--", *PACKAGES)
    return {} if commit is None else {"commit": commit, "modified": bool(status)}


def _git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
