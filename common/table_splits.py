"""Protocols for tables of recordings: the parts that the table gives, and groups of speakers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.errors import UserError
from common.splits import Fold, cut_fold, random_share

if TYPE_CHECKING:
    import pandas as pd

    from common.corpus import Corpus


@dataclass(frozen=True)
class GivenSplit:
    """The parts that the column `split` of the utterance table gives.

    Attributes:
        share: of each emotion's training utterances that validate, if the table gives no validation part.
        seed: for that share.
    """

    share: float = 0.1
    seed: int = 0

    @property
    def name(self) -> str:
        """Name in lists and reports."""
        return "the parts that the table gives"

    def count(self, corpus: Corpus) -> int:
        """Number of folds."""
        return 1

    def shares(self, corpus: Corpus) -> tuple[float, float]:
        """NaN: the table alone knows them."""
        return math.nan, math.nan

    def __call__(self, table: pd.DataFrame) -> list[Fold]:
        """One fold.

        Raises:
            UserError: An utterance has no part, or the training or the test part is empty.
        """
        without = table.loc[table["split"].isna(), "utterance"]
        if len(without):
            raise UserError(f"{len(without)} utterances have no split, the first {without.iloc[0]}.")
        for part in ("train", "test"):
            if not (table["split"] == part).any():
                raise UserError(f"The column split has no utterance for '{part}'.")
        is_validation = table["split"] == "validation"
        if not is_validation.any():
            is_validation = random_share(table, table["split"] == "train", self.share, self.seed)
        return [cut_fold(table, "given", is_validation, table["split"] == "test")]


@dataclass(frozen=True)
class SpeakerGroups:
    """Speakers are dealt into groups; each group tests once, and the next one validates (speaker-independent).

    Each group gets speakers of every gender as far as they go round, and groups have nearly equal numbers of
    utterances: speakers are dealt from the one with the most utterances, always to the group that has the fewest
    speakers of that gender, and among those the fewest utterances.

    Attributes:
        groups: number of groups, at least 3.
    """

    groups: int = 5

    @property
    def name(self) -> str:
        """Name in lists and reports."""
        return f"{self.groups} groups of speakers"

    def count(self, corpus: Corpus) -> int:
        """Number of folds."""
        return self.groups

    def shares(self, corpus: Corpus) -> tuple[float, float]:
        """Shares that train and validate, if all speakers have equally many utterances."""
        return 1 - 2 / self.groups, 1 / self.groups

    def __call__(self, table: pd.DataFrame) -> list[Fold]:
        """One fold per group.

        Raises:
            UserError: There are fewer than 3 groups, or fewer speakers than groups.
        """
        counts = table.groupby(["gender", "speaker"], dropna=False).size()
        if not 3 <= self.groups <= len(counts):
            raise UserError(
                f"Groups of speakers need at least 3 groups and a speaker for each; there are {len(counts)} speakers "
                f"for {self.groups} groups."
            )
        members: list[list[str]] = [[] for _ in range(self.groups)]
        utterances = [0] * self.groups
        dealt: dict[tuple[str, int], int] = {}
        # The largest come first, so that small ones even out the differences; equal ones in the order of their names.
        order = sorted(counts.items(), key=lambda pair: (str(pair[0][0]), -pair[1], pair[0][1]))
        for (gender, speaker), count in order:
            key = [(dealt.get((str(gender), group), 0), utterances[group], group) for group in range(self.groups)]
            *_, group = min(key)
            members[group].append(speaker)
            utterances[group] += count
            dealt[str(gender), group] = dealt.get((str(gender), group), 0) + 1
        parts = [table["speaker"].isin(speakers) for speakers in members]
        return [
            cut_fold(table, f"group-{number + 1}", parts[(number + 1) % self.groups], is_test)
            for number, is_test in enumerate(parts)
        ]
