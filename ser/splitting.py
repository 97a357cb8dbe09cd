"""Which protocol cuts a corpus that the paper did not use: its own if it can, else the nearest one that can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.errors import UserError
from common.splits import HoldOut, LeaveOneSpeakerOut, StratifiedKFold
from common.table_splits import GivenSplit, SpeakerGroups

if TYPE_CHECKING:
    import pandas as pd

    from common.contract import Experiment
    from common.corpus import Corpus

MOST_SPEAKERS = 10
"""Up to so many speakers, each one tests alone."""

GROUPS = 5
"""Number of groups of more speakers, and of random folds without speakers."""


def fitting_protocol(experiment: Experiment, corpus: Corpus, table: pd.DataFrame) -> Any:
    """The protocol to cut a corpus by.

    On the experiment's own corpus, and on others that it can cut, it is the experiment's. A user's own recordings are
    cut by what their table says: by its parts; by sessions, if the experiment's protocol needs sessions; by speakers;
    or, if it names no speakers, at random.

    Args:
        experiment: the experiment as its paper declares it.
        corpus: the corpus to run on.
        table: the utterances of its subset.
    """
    declared = experiment.protocol
    if corpus.name == experiment.corpus:
        return declared
    if corpus.own is not None and table["split"].notna().any():
        return GivenSplit()
    # A protocol that cuts a table without its sessions does not need them.
    ignores_sessions = corpus.own is not None and not _fails(declared, table.assign(session=float("nan")))
    if ignores_sessions or _fails(declared, table):
        return _nearest(table, regression=bool(experiment.target.dimensions))
    return declared


def _fails(protocol: Any, table: pd.DataFrame) -> bool:
    """True if a protocol cannot cut a table."""
    try:
        protocol(table)
    except UserError:
        return True
    return False


def _nearest(table: pd.DataFrame, *, regression: bool) -> Any:
    """Speaker-independent folds if the speakers are known, else random ones with equal shares of each emotion."""
    speakers = table["speaker"].nunique()
    if table["speaker"].notna().all() and speakers > 1:
        if speakers > MOST_SPEAKERS:
            return SpeakerGroups(GROUPS)
        return LeaveOneSpeakerOut("speaker" if speakers > 2 else "stratified")
    if regression:
        return HoldOut("utterance", validation=0.1, test=1 / GROUPS, in_turn=True)
    return StratifiedKFold(min(GROUPS, int(table["emotion"].value_counts().min())))
