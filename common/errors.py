"""Errors that a person reads: one or two sentences, the thing named, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend; the command line prints it without a traceback and exits with 2.

    Messages quote names and lines of files that may hold anything: what is not printable (control characters, bytes of
    a name that is not UTF-8) is shown as an escape.
    """

    def __init__(self, message: str):
        super().__init__("".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in message))


class CorpusAbsent(UserError):
    """No folder of that corpus is here, or it holds nothing of the subset; a report shows "corpus absent"."""


class WrongFolder(UserError):
    """The folder is there but is not that corpus; its message says what was expected and what was found."""


class AudioError(UserError):
    """One audio file that cannot be used; its message names the file."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a mistyped name.

    Args:
        kind: what the name should have named, as a person says it ("experiment", "corpus").
        name: what was typed.
        known: the names that exist.

    Returns:
        A `UserError` that offers the nearest names, or lists all of them if none is near.
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return UserError(f"There is no {kind} '{name}'. Did you mean {', '.join(near)}?")
    listed = ", ".join(known[:12]) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
    return UserError(f"There is no {kind} '{name}'. There is: {listed or 'none'}.")
