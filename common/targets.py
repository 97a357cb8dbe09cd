"""What an experiment predicts: emotions, ratings on continuous dimensions, or classes that a paper derives from them.

A target is a frozen dataclass with a `name`, `needs` (the columns of the utterance table that must be filled), and
either `classes` (classification) or `dimensions` (regression). Its `labeller` is fitted on the training part of a fold
only, so that a target whose classes are estimated from data (clusters of ratings) cannot see the test part.
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
        classes: class names in the order of their numbers; empty for a regression and for `Emotion`.
        dimensions: of a regression, columns of the utterance table; empty for a classification.
    """

    name: str
    needs: tuple[str, ...]
    classes: tuple[str, ...]
    dimensions: tuple[str, ...]

    def labeller(self, train: pd.DataFrame, classes: Sequence[str]) -> Callable[[pd.DataFrame], np.ndarray]:
        """Returns a function from a labelled table to the class number of each row, int64.

        Args:
            train: training part of the fold; nothing else may be used to define the classes.
            classes: class names of the run.
        """


@dataclass(frozen=True)
class Emotion:
    """The emotion, one of the subset's classes."""

    name: ClassVar[str] = "emotion"
    needs: ClassVar[tuple[str, ...]] = ("emotion",)
    classes: ClassVar[tuple[str, ...]] = ()
    dimensions: ClassVar[tuple[str, ...]] = ()

    def labeller(self, train: pd.DataFrame, classes: Sequence[str]) -> Callable[[pd.DataFrame], np.ndarray]:
        """Returns a function that numbers emotions in the order of the classes.

        The function raises ValueError if an utterance's emotion is not one of the classes, or hidden.
        """
        number = {emotion: index for index, emotion in enumerate(classes)}

        def label(table: pd.DataFrame) -> np.ndarray:
            numbers = table["emotion"].map(number)
            if numbers.isna().any():
                raise ValueError("Some utterances have no label among the classes, or their labels are hidden.")
            return numbers.to_numpy("int64")

        return label


EMOTION = Emotion()
"""The target of an experiment that names no other."""


@dataclass(frozen=True)
class Dimensions:
    """Ratings on the corpus's own scale.

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
        """Raises ValueError, since a regression has no classes."""
        raise ValueError("A regression has no classes.")
