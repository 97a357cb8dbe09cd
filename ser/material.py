"""What trials run on: utterances with their features, from the cache or extracted now, in whatever process asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from common.experiments import Part

if TYPE_CHECKING:
    import pandas as pd

    from common.executor import Observer
    from common.trials import Run


@dataclass(frozen=True)
class Material:
    """The source of a run's data (see `common.executor.Source`).

    Attributes:
        cache: the feature cache.
        jobs: processes for extraction; None: one a core.
        skip_bad_audio: go on without audio that cannot be used.
        others: utterances of another corpus to learn from besides.
    """

    cache: Path
    jobs: int | None = None
    skip_bad_audio: bool = False
    others: pd.DataFrame | None = None

    def part(self, run: Run, observer: Observer) -> Part:
        """All utterances of a run, with features and labels; then starts the backend."""
        from common.backend import start_backend

        extractors = run.paper.call("features")(run.config)
        part = self.extracted(extractors, run.table, observer, run.classes, run.target.dimensions)
        start_backend()
        return part

    def auxiliary(self, run: Run, observer: Observer) -> Part | None:
        """The utterances to learn from besides, without their labels."""
        if self.others is None:
            return None
        return self.extracted(run.paper.call("features")(run.config), self.others, observer).without_labels()

    def extracted(
        self,
        extractors: Mapping[str, Any],
        table: pd.DataFrame,
        observer: Observer,
        classes: tuple[str, ...] = (),
        dimensions: tuple[str, ...] = (),
    ) -> Part:
        """Utterances with their features.

        Raises:
            UserError: audio that cannot be used, or none that can.
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

    def features(self, table: pd.DataFrame, extractor: Any, observer: Observer):
        """One kind of features."""
        from common.features.store import FeatureStore

        return FeatureStore(self.cache, self.jobs).get(
            table,
            extractor,
            skip_bad_audio=self.skip_bad_audio,
            progress=lambda done, total: observer.features_extracted(extractor.name, done, total),
        )
