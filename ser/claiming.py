"""From claims to the experiments that must be run to judge them."""

from __future__ import annotations

from collections.abc import Sequence

import data_prep
from common.contract import Experiment, Paper
from ser.results.claims import Claim
from ser.subsets import corpus_and_subset


def experiments_of_claims(
    paper: Paper, claims: Sequence[Claim], corpus: str | None
) -> tuple[list[Experiment], list[str]]:
    """The experiments to run for some claims when a corpus may be chosen by hand.

    If some pairs of a claim are on the chosen corpus, only these are run. Otherwise all its rows are run on that corpus
    instead of their own; rows of several corpora that would become the same run there are run once.

    Args:
        paper: the paper.
        claims: the claims.
        corpus: the chosen corpus; None: every experiment runs on its own.

    Returns:
        The experiments, in the order of the claims, and what is left out, in sentences.

    Raises:
        UserError: There is no such corpus, or it lacks the labels that an experiment needs.
    """
    if corpus is not None:
        data_prep.corpus(corpus)
    chosen: dict[str, Experiment] = {}
    notes: list[str] = []
    for claim in claims:
        pairs = [tuple(map(paper.experiment, pair)) for pair in claim.pairs]
        kept = pairs
        if corpus is not None:
            kept = [pair for pair in pairs if all(one.corpus == corpus for one in pair)]
            if not kept:
                kept = _distinct(pairs, corpus)
        if len(kept) < len(pairs):
            what = "rivals" if claim.has_rivals else "pairs"
            notes.append(f"{claim.id}: on {corpus}, {len(kept)} of {len(pairs)} {what} are run.")
        for pair in kept:
            for one in pair:
                chosen.setdefault(one.id, one)
    return list(chosen.values()), notes


def _distinct(pairs: Sequence[tuple[Experiment, ...]], corpus: str) -> list[tuple[Experiment, ...]]:
    """Pairs without those that would become the same runs as an earlier one on a corpus."""
    found: dict[tuple, tuple[Experiment, ...]] = {}
    for pair in pairs:
        key = tuple(
            (one.config, one.protocol, corpus_and_subset(one, corpus)[1], one.target, one.auxiliary) for one in pair
        )
        found.setdefault(key, pair)
    return list(found.values())
