"""The corpora of one command: which subset an experiment runs on, and each subset read once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import data_prep
from common.checksums import Checksums
from common.contract import Experiment
from common.corpus import Corpus, fingerprint
from common.errors import UserError
from data_prep.recordings import EMOTIONS_SUBSET, RATINGS, RATINGS_SUBSET
from ser.options import Options


@dataclass(frozen=True)
class LoadedSubset:
    """A subset that was read and checked, with a hash of what was found."""

    loaded: data_prep.Loaded
    fingerprint: str

    @property
    def record(self) -> dict[str, str]:
        """Which data these are, as `run.json` and artefacts keep it."""
        corpus, subset = self.loaded.corpus.name, self.loaded.subset.name
        return {"corpus": corpus, "subset": subset, "fingerprint": self.fingerprint}


class Subsets:
    """Reads each subset once per command.

    Args:
        options: the user's choices.
        checksums: of the audio files.
        note: is told what is being read.
    """

    def __init__(self, options: Options, checksums: Checksums, note: Callable[[str], None]):
        self.options = options
        self.checksums = checksums
        self.note = note
        self._loaded: dict[tuple[str, str], LoadedSubset] = {}

    def load(self, corpus: str, subset: str, *, own_root: bool = True) -> LoadedSubset:
        """Reads a subset, or gives the one that was read before.

        Args:
            corpus: name of the corpus.
            subset: name of its subset.
            own_root: `--root` names this corpus's folder.

        Raises:
            CorpusAbsent: The corpus is not on this machine.
            UserError: It cannot be read, or its counts differ and `--partial` was not given.
        """
        key = (corpus, subset)
        if key not in self._loaded:
            self.note(f"Reading {corpus}/{subset}")
            root = self.options.root if own_root else None
            loaded = data_prep.load(corpus, subset, root, partial=self.options.partial)
            table = loaded.table.assign(audio=self.checksums.of(f"audio-{corpus}", map(Path, loaded.table["path"])))
            if loaded.corpus.own is not None:
                self.note(_in_words(loaded))
            self._loaded[key] = LoadedSubset(dataclasses.replace(loaded, table=table), fingerprint(table))
        return self._loaded[key]


def _in_words(loaded: data_prep.Loaded) -> str:
    """What a user's own recordings hold: utterances, speakers, and each class with its count."""
    table, subset = loaded.table, loaded.subset
    speakers = f" of {table['speaker'].nunique()} speakers" if table["speaker"].notna().any() else ""
    classes = ", ".join(f"{label} {count}" for label, count in subset.counts.items())
    return f"{len(table)} utterances{speakers}{f'; classes: {classes}' if classes else ', with ratings'}"


def corpus_and_subset(experiment: Experiment, corpus: str | None) -> tuple[Corpus, str]:
    """The corpus and the subset that an experiment runs on.

    On another corpus than its own, it is the subset of the same name, or that corpus's default subset; of a user's own
    recordings, those with the labels that the experiment predicts.

    Args:
        experiment: the experiment.
        corpus: the corpus chosen by the user; None: the experiment's own.

    Raises:
        UserError: There is no such corpus, or it has no emotion labels and the experiment needs them.
    """
    spec = data_prep.corpus(corpus or experiment.corpus)
    if spec.own is not None:
        subset = RATINGS_SUBSET if set(experiment.target.needs) & set(RATINGS) else EMOTIONS_SUBSET
        if subset not in [one.name for one in spec.subsets]:
            raise UserError(
                f"{experiment.id} predicts {', '.join(experiment.target.needs)}, and {spec.own.name} has no such "
                f"column. --column {experiment.target.needs[0]}=NAME says which one it is."
            )
        return spec, subset
    names = [subset.name for subset in spec.subsets]
    subset = experiment.subset if experiment.subset in names else spec.default_subset
    own = data_prep.corpus(experiment.corpus).subset(experiment.subset)
    if not experiment.target.dimensions and own.classes and not spec.subset(subset).classes:
        raise UserError(f"{experiment.id} predicts emotions, and {spec.name}/{subset} has no emotion labels.")
    return spec, subset


def check_labels(experiment: Experiment, loaded: data_prep.Loaded) -> None:
    """Refuses a corpus without the labels that the experiment predicts.

    Raises:
        UserError: An utterance lacks such a label.
    """
    for column in experiment.target.needs:
        missing = int(loaded.table[column].isna().sum())
        if missing:
            raise UserError(
                f"{experiment.id} predicts {column}, but {missing} of {len(loaded.table)} utterances of "
                f"{loaded.corpus.name}/{loaded.subset.name} have no such label. Choose another --corpus."
            )
