"""Errors that a person reads: one or two sentences that name the thing and say what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class UserError(Exception):
    """Something that the user can fix, so it is shown without a traceback.

    Messages quote file names and lines of files that may hold anything, so characters that are not printable (control
    characters, bytes that are not UTF-8) are replaced by escape sequences.
    """

    def __init__(self, message: str):
        super().__init__("".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in message))


class CorpusAbsent(UserError):
    """The corpus has no folder on this machine, or its folder holds nothing of the subset."""


class WrongFolder(UserError):
    """The folder exists but is not that corpus; the message says what was expected and what was found."""


class AudioError(UserError):
    """An audio file cannot be used; the message names the file."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Makes the error for a mistyped name.

    Args:
        kind: what the name should have named, in the user's words ("experiment", "corpus").
        name: what was typed.
        known: the names that exist.

    Returns:
        A `UserError` that offers the nearest names, or lists the names if none is near.
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return UserError(f"There is no {kind} '{name}'. Did you mean {', '.join(near)}?")
    listed = ", ".join(known[:12]) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
    return UserError(f"There is no {kind} '{name}'. There is: {listed or 'none'}.")


def look_up(kind: str, name: str, things: Mapping[str, T]) -> T:
    """Returns the thing of a name.

    Raises:
        UserError: There is no such thing (see `unknown`).
    """
    if name not in things:
        raise unknown(kind, name, things)
    return things[name]
