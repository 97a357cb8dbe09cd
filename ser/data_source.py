"""Where trials get their data from: utterances with features from the cache, extracted where the cache lacks them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.contract import Part
from common.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from common.features.shards import ShardedFeatures
    from common.features.store import Features
    from ser.execution.executor import Observer
    from ser.results.runs import Run


@dataclass(frozen=True)
class CachedFeatures:
    """The data source of a run (see `ser.execution.executor.DataSource`).

    Attributes:
        cache: folder of the feature cache.
        jobs: processes for extraction; None: one per core.
        skip_bad_audio: continue without audio that cannot be used.
        others: the utterances of the auxiliary corpus that the run needs; None: none.
    """

    cache: Path
    jobs: int | None = None
    skip_bad_audio: bool = False
    others: pd.DataFrame | None = None

    def part(self, run: Run, observer: Observer) -> Part:
        """All utterances of a run with features and labels. Then starts the backend, which extraction must precede."""
        from common.backend import start_backend

        extractors = run.paper.function(run.paper.features)(run.config)
        part = self.extract(extractors, run.table, observer, run.classes, run.target.dimensions)
        start_backend()
        return part

    def auxiliary(self, run: Run, observer: Observer) -> Part | None:
        """The chosen utterances of the auxiliary corpus, without their labels."""
        if self.others is None:
            return None
        extractors = run.paper.function(run.paper.auxiliary_features or run.paper.features)(run.config)
        return self.extract(extractors, self.others, observer).without_labels()

    def extract(
        self,
        extractors: Mapping[str, Any],
        table: pd.DataFrame,
        observer: Observer,
        classes: tuple[str, ...] = (),
        dimensions: tuple[str, ...] = (),
    ) -> Part:
        """Utterances with their features.

        Args:
            extractors: by the name that features get in the part.
            table: utterance table.
            observer: receives the progress.
            classes: of the part (see `Part`).
            dimensions: of the part.

        Raises:
            UserError: Some audio cannot be used, or none can.
        """
        features = {name: self.features(table, extractor, observer) for name, extractor in extractors.items()}
        bad = sorted({utterance for found in features.values() for utterance in found.skipped})
        kept = table[~table["utterance"].isin(bad)].reset_index(drop=True)
        if not len(kept):
            raise UserError("No utterance is left: none of the audio files can be used.")
        flags = (f"bad audio skipped: {len(bad)} of {len(table)} utterances",) if bad else ()
        for flag in flags:
            observer.note(flag)
        return Part(kept, features, classes, flags, dimensions)

    def features(self, table: pd.DataFrame, extractor: Any, observer: Observer) -> Features | ShardedFeatures:
        """One kind of features of every utterance of a table.

        Raises:
            UserError: Some audio cannot be used.
        """
        from common.features.store import FeatureStore

        return FeatureStore(self.cache, self.jobs).get(
            table,
            extractor,
            skip_bad_audio=self.skip_bad_audio,
            progress=lambda done, total: observer.features_extracted(extractor.name, done, total),
        )
