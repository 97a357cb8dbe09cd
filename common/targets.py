"""What an experiment predicts: emotions, ratings on continuous dimensions, or classes a paper makes of those.

A target is a frozen dataclass with `name`, `needs` (columns of the utterance table that must be filled), and either
`classes` (a classification) or `dimensions` (a regression). Its `labeller` is fitted on the training part of a fold
alone, so a target whose classes are learnt (clusters of ratings) cannot see the test part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


class Target(Protocol):
    """What an experiment predicts.

    Attributes:
        name: a few words.
        needs: columns of the utterance table that must be filled.
        classes: of a classification, in the order that numbers them; empty for a regression and for `Emotion`.
        dimensions: of a regression, columns of the utterance table; empty for a classification.
    """

    name: str
    needs: tuple[str, ...]
    classes: tuple[str, ...]
    dimensions: tuple[str, ...]

    def labeller(self, train: pd.DataFrame, classes: Sequence[str]) -> Callable[[pd.DataFrame], np.ndarray]:
        """A function that numbers the class of each row of a labelled table, int64.

        Args:
            train: training part of the fold, all that may be learnt from.
            classes: of the run.
        """


@dataclass(frozen=True)
class Emotion:
    """The emotion, among the classes of the subset."""

    name: ClassVar[str] = "emotion"
    needs: ClassVar[tuple[str, ...]] = ("emotion",)
    classes: ClassVar[tuple[str, ...]] = ()
    dimensions: ClassVar[tuple[str, ...]] = ()

    def labeller(self, train: pd.DataFrame, classes: Sequence[str]) -> Callable[[pd.DataFrame], np.ndarray]:
        """Numbers by the order of the classes.

        The function raises ValueError if an utterance's emotion is none of them, or hidden.
        """
        number = {emotion: index for index, emotion in enumerate(classes)}

        def label(table: pd.DataFrame) -> np.ndarray:
            numbers = table["emotion"].map(number)
            if numbers.isna().any():
                raise ValueError(
                    "Some utterances have no label among the classes; a part to be predicted has none at all."
                )
            return numbers.to_numpy("int64")

        return label


EMOTION = Emotion()
"""What most papers predict."""


@dataclass(frozen=True)
class Dimensions:
    """Ratings as they are, on the corpus' own scale.

    Attributes:
        dimensions: columns of the utterance table.
    """

    name: ClassVar[str] = "ratings"
    classes: ClassVar[tuple[str, ...]] = ()

    dimensions: tuple[str, ...] = ("valence", "arousal", "dominance")

    @property
    def needs(self) -> tuple[str, ...]:
        """The same columns."""
        return self.dimensions

    def labeller(self, train: pd.DataFrame, classes: Sequence[str]) -> Callable[[pd.DataFrame], np.ndarray]:
        """A regression has no classes."""
        raise ValueError("A regression has no classes.")


__all__ = ["EMOTION", "Dimensions", "Emotion", "Target"]
