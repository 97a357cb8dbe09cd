"""The targets of Table IV, levels of a rating and clusters of the valence-activation plane, and those of Fig. 3."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from common.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

COLUMN = {"activation": "arousal", "valence": "valence"}
"""Column of the utterance table by the paper's name for the dimension."""

EDGES = {"iemocap": (2.0, 3.5), "msp_improv": (2.5, 3.5)}
"""Upper ends of the lowest and of the middle level, by corpus (Table I)."""


@dataclass(frozen=True)
class ThreeLevels:
    """A rating on 1 to 5 as low, medium or high (Sec. V, Table I).

    Attributes:
        dimension: "activation" (the column arousal) or "valence".
        low: the highest rating of the lowest level.
        high: the highest rating of the middle level.
    """

    dimensions: ClassVar[tuple[str, ...]] = ()

    dimension: Literal["activation", "valence"]
    low: float
    high: float

    @property
    def name(self) -> str:
        """Name in lists of experiments."""
        return f"{self.dimension} in three levels"

    @property
    def needs(self) -> tuple[str, ...]:
        """The column of the rating."""
        return (COLUMN[self.dimension],)

    @property
    def classes(self) -> tuple[str, ...]:
        """From the lowest to the highest, as the paper calls them."""
        return ("low", "medium", "high") if self.dimension == "activation" else ("negative", "neutral", "positive")

    def labeller(self, train: pd.DataFrame, classes: Sequence[str]) -> Callable[[pd.DataFrame], np.ndarray]:
        """Returns a function from a table to class numbers, by Table I; the training part is not used."""
        import numpy as np

        def label(table: pd.DataFrame) -> np.ndarray:
            ratings = _ratings(table, self.needs)[:, 0]
            return np.digitize(ratings, (self.low, self.high), right=True).astype("int64")

        return label


@dataclass(frozen=True)
class Clusters:
    """Clusters of the valence-activation plane; an utterance belongs to the cluster with the nearest midpoint (Sec. V).

    k-means is fitted on the training part. The paper does not say which utterances it was fitted on.

    Attributes:
        count: number of clusters, 3 or 5 in Table IV.
        seed: seed of k-means's initial midpoints.
    """

    dimensions: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[tuple[str, ...]] = ("valence", "arousal")

    count: int
    seed: int = 0

    @property
    def name(self) -> str:
        """Name in lists of experiments."""
        return f"{self.count} clusters of valence and activation"

    @property
    def classes(self) -> tuple[str, ...]:
        """Clusters by the activation of their midpoints, the lowest first; equal ones by valence."""
        return tuple(f"cluster-{number}" for number in range(1, self.count + 1))

    def labeller(self, train: pd.DataFrame, classes: Sequence[str]) -> Callable[[pd.DataFrame], np.ndarray]:
        """Returns a function from a table to class numbers, by the nearest midpoint.

        Raises:
            UserError: The training part has fewer distinct ratings than clusters.
        """
        midpoints = self.midpoints(train)

        def label(table: pd.DataFrame) -> np.ndarray:
            distances = _ratings(table, self.needs)[:, None, :] - midpoints[None]
            return (distances**2).sum(axis=2).argmin(axis=1).astype("int64")

        return label

    def midpoints(self, train: pd.DataFrame) -> np.ndarray:
        """Midpoints (valence, arousal) of the clusters, in the order of the classes, shape (count, 2)."""
        import numpy as np
        from sklearn.cluster import KMeans

        ratings = _ratings(train, self.needs)
        distinct = len(np.unique(ratings, axis=0))
        if distinct < self.count:
            raise UserError(f"{self.count} clusters need as many distinct ratings; the training part has {distinct}.")
        midpoints = KMeans(self.count, n_init=10, random_state=self.seed).fit(ratings).cluster_centers_
        return midpoints[np.lexsort(midpoints.round(6).T)]


@dataclass(frozen=True)
class Person:
    """The gender or the speaker of an utterance, which Fig. 3 predicts with a network for each.

    Attributes:
        column: of the utterance table.
        classes: its values in the corpus.
    """

    dimensions: ClassVar[tuple[str, ...]] = ()

    column: Literal["gender", "speaker"]
    classes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name in lists of experiments."""
        return self.column

    @property
    def needs(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def labeller(self, train: pd.DataFrame, classes: Sequence[str]) -> Callable[[pd.DataFrame], np.ndarray]:
        """Returns a function from a table to the places of its values in the classes."""

        def label(table: pd.DataFrame) -> np.ndarray:
            numbers = table[self.column].map({name: number for number, name in enumerate(self.classes)})
            if numbers.isna().any():
                raise ValueError(f"Some utterances have no {self.column} among the classes.")
            return numbers.to_numpy("int64")

        return label


def _ratings(table: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """Ratings, shape (utterances, columns).

    Raises:
        ValueError: A rating is missing, as in a part to predict for.
    """
    ratings = table[list(columns)].to_numpy("float64")
    if (ratings != ratings).any():
        raise ValueError("Some utterances have no rating, or their ratings are hidden.")
    return ratings
