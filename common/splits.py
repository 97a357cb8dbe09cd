"""Protocols that cut a corpus into folds.

A protocol is a frozen dataclass with a `name`; called with an utterance table it returns the folds, the same ones every
time: everything random is drawn from the protocol's own seed, never from a trial's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from common.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from common.corpus import Corpus


@dataclass(frozen=True)
class Fold:
    """Utterance ids of one fold's parts.

    Attributes:
        name: for people and folders, for example "speaker-03".
        train: what a model is fitted on.
        validation: what epochs and settings are chosen on; may be empty.
        test: seen by nobody but the harness.
    """

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


Protocol = Callable[["pd.DataFrame"], list[Fold]]


@dataclass(frozen=True)
class LeaveOneSpeakerOut:
    """Every speaker is the test set once (speaker-independent).

    Attributes:
        validation: "speaker" takes the next speaker in order as validation set (cyclic, so that each speaker validates
            once), "stratified" takes `share` of the training utterances by emotion, "none" leaves it empty.
        share: for "stratified".
        seed: for "stratified".
    """

    validation: Literal["speaker", "stratified", "none"] = "speaker"
    share: float = 0.1
    seed: int = 0

    @property
    def name(self) -> str:
        """Name in lists and reports."""
        return "leave one speaker out"

    def count(self, corpus: Corpus) -> int:
        """Folds on a complete corpus, without reading it."""
        return corpus.speakers

    def shares(self, corpus: Corpus) -> tuple[float, float]:
        """Parts of a complete corpus that train and validate, as the mean over folds."""
        learnt = 1 - 1 / corpus.speakers
        held = {"speaker": 1 / corpus.speakers, "stratified": self.share * learnt, "none": 0.0}[self.validation]
        return learnt - held, held

    def __call__(self, table: pd.DataFrame) -> list[Fold]:
        """One fold a speaker, in the order of their names."""
        speakers = _values(table, "speaker")
        needed = 3 if self.validation == "speaker" else 2
        if len(speakers) < needed:
            which = " with a validation speaker" if self.validation == "speaker" else ""
            raise UserError(f"Leaving one speaker out{which} needs {needed} speakers; here are {len(speakers)}.")
        folds = []
        for number, speaker in enumerate(speakers):
            is_test = table["speaker"] == speaker
            if self.validation == "speaker":
                is_validation = table["speaker"] == speakers[(number + 1) % len(speakers)]
            else:
                is_validation = _drawn(table, ~is_test, self.share if self.validation == "stratified" else 0, self.seed)
            folds.append(_fold(table, f"speaker-{speaker}", is_validation, is_test))
        return folds


@dataclass(frozen=True)
class StratifiedKFold:
    """Random folds with the emotions in equal shares; speakers are in every part (speaker-dependent).

    Attributes:
        folds: how many.
        share: share of a fold's training part that validates, by emotion; for `validation` "share".
        seed: of the cut.
        by: what the folds have in equal shares.
        validation: "share", or "fold": the next fold validates (Rana et al. 2019: eight of ten folds train).
    """

    folds: int = 10
    share: float = 0.1
    seed: int = 0
    by: Literal["emotion", "speaker"] = "emotion"
    validation: Literal["share", "fold"] = "share"

    @property
    def name(self) -> str:
        """Name in lists and reports."""
        return f"{self.folds}-fold{' stratified by speaker' if self.by == 'speaker' else ''}, speaker-dependent"

    def count(self, corpus: Corpus) -> int:
        """Folds on a complete corpus, without reading it."""
        return self.folds

    def shares(self, corpus: Corpus) -> tuple[float, float]:
        """Parts of a complete corpus that train and validate, as the mean over folds."""
        learnt = 1 - 1 / self.folds
        held = 1 / self.folds if self.validation == "fold" else self.share * learnt
        return learnt - held, held

    def __call__(self, table: pd.DataFrame) -> list[Fold]:
        """The folds, numbered from 1."""
        import numpy as np
        from sklearn.model_selection import StratifiedKFold as Cut

        smallest = table[self.by].value_counts().min()
        if smallest < self.folds:
            raise UserError(
                f"{self.folds} stratified folds need as many utterances of each {self.by}; the rarest has {smallest}."
            )
        if self.validation == "fold" and self.folds < 3:
            raise UserError("A fold that validates, beside one that tests and one that trains, needs 3 folds.")
        cut = Cut(self.folds, shuffle=True, random_state=self.seed)
        parts = [_mask(table, table.index[test]) for _, test in cut.split(np.zeros(len(table)), table[self.by])]
        result = []
        for number, is_test in enumerate(parts):
            if self.validation == "fold":
                is_validation = parts[(number + 1) % self.folds]
            else:
                is_validation = _drawn(table, ~is_test, self.share, self.seed)
            result.append(_fold(table, f"fold-{number + 1:02d}", is_validation, is_test))
        return result


@dataclass(frozen=True)
class LeaveOneSessionOut:
    """Every session is held out once (LOSO).

    Attributes:
        validation: where the validation part comes from. "half": the held-out session is cut into equal halves by
            emotion, so both speakers are, as a rule, in both (Wen et al. 2023, Sec. 5.1). "half-speaker": one speaker
            validates, the other tests. "session": the next session in order validates, the whole held-out one tests.
            "none": the whole held-out session tests, nothing validates (Pan et al. 2024, who name no validation set).
        seed: of the draw of halves.
    """

    validation: Literal["half", "half-speaker", "session", "none"] = "half"
    seed: int = 0

    @property
    def name(self) -> str:
        """Name in lists and reports."""
        return "leave one session out" + (", halves" if self.validation.startswith("half") else "")

    def count(self, corpus: Corpus) -> int:
        """Folds on a complete corpus, without reading it."""
        return corpus.sessions

    def shares(self, corpus: Corpus) -> tuple[float, float]:
        """Parts of a complete corpus that train and validate, as the mean over folds."""
        session = 1 / corpus.sessions
        held = {"session": session, "none": 0.0}.get(self.validation, session / 2)
        return 1 - session - (held if self.validation == "session" else 0.0), held

    def __call__(self, table: pd.DataFrame) -> list[Fold]:
        """One fold a session, in the order of their names."""
        sessions = _sessions(table, 3 if self.validation == "session" else 2)
        folds = []
        for number, session in enumerate(sessions):
            held_out = table["session"] == session
            if self.validation == "half":
                is_validation = _drawn(table, held_out, 0.5, self.seed)
            elif self.validation == "half-speaker":
                speakers = _values(table[held_out], "speaker")
                if len(speakers) < 2:
                    raise UserError(f"Halves by speaker need 2 speakers in each session; session {session} has 1.")
                is_validation = held_out & (table["speaker"] == speakers[0])
            elif self.validation == "session":
                is_validation = table["session"] == sessions[(number + 1) % len(sessions)]
            else:
                is_validation = _mask(table, [])
            folds.append(_fold(table, f"session-{session}", is_validation, held_out & ~is_validation))
        return folds


@dataclass(frozen=True)
class FixedTestSession:
    """One session tests, the others train and validate (Atmaja and Akagi 2020, Sec. VI-A).

    Attributes:
        session: the session that tests.
        validation: "tail" takes the last `share` of the training utterances in the table's order (by path), which is
            what Keras' `validation_split` does and makes it the last session's end: speakers are shared with training.
            "session" takes the last training session whole, the honest twin.
        share: for "tail"; rounded down: 20 % of 7869 are 1573.
    """

    session: str = "5"
    validation: Literal["tail", "session"] = "tail"
    share: float = 0.2

    @property
    def name(self) -> str:
        """Name in lists and reports."""
        return f"session {self.session} tests"

    def count(self, corpus: Corpus) -> int:
        """One."""
        return 1

    def shares(self, corpus: Corpus) -> tuple[float, float]:
        """Parts of a complete corpus that train and validate, if its sessions are equally long."""
        learnt = 1 - 1 / corpus.sessions
        held = 1 / corpus.sessions if self.validation == "session" else self.share * learnt
        return learnt - held, held

    def __call__(self, table: pd.DataFrame) -> list[Fold]:
        """One fold."""
        sessions = _sessions(table, 3 if self.validation == "session" else 2)
        if self.session not in sessions:
            raise UserError(f"There is no session {self.session} to test on; there are {', '.join(sessions)}.")
        is_test = table["session"] == self.session
        if self.validation == "session":
            is_validation = table["session"] == [session for session in sessions if session != self.session][-1]
        else:
            learnt = table.index[~is_test]
            is_validation = _mask(table, learnt[len(learnt) - int(self.share * len(learnt)) :])
        return [_fold(table, f"session-{self.session}", is_validation, is_test)]


@dataclass(frozen=True)
class HoldOut:
    """A part of the corpus tests, a part validates, the rest trains (Guizzo et al. 2023: about 70/20/10).

    Attributes:
        unit: what is dealt out: single utterances (speakers are then in all parts), whole speakers, whole sessions, or
            halves of speakers drawn by `seed` (a speaker may then validate and test; for a corpus of two speakers, as
            the authors' code does).
        validation: share of the units that validates.
        test: share of the units that tests; of speakers and sessions at least one each validates and tests.
        in_turn: False gives one fold: utterances are drawn by `seed`, speakers and sessions taken in order (the last
            ones test, as the authors' code does). True, the honest twin, gives as many folds as it takes for every
            speaker or session to be tested once.
        seed: of the draw.
    """

    unit: Literal["utterance", "speaker", "session", "half-speaker"] = "utterance"
    validation: float = 0.2
    test: float = 0.1
    in_turn: bool = False
    seed: int = 0

    @property
    def name(self) -> str:
        """Name in lists and reports."""
        shares = f"{100 * (1 - self.validation - self.test):.0f}/{100 * self.validation:.0f}/{100 * self.test:.0f}"
        return f"{shares} by {self.unit}{', all in turn' if self.in_turn else ''}"

    def count(self, corpus: Corpus) -> int:
        """Folds on a complete corpus, without reading it."""
        counts = {"utterance": corpus.utterances, "speaker": corpus.speakers, "session": corpus.sessions}
        units = counts.get(self.unit, 2 * corpus.speakers)
        return -(-units // self._sizes(units)[1]) if self.in_turn else 1

    def shares(self, corpus: Corpus) -> tuple[float, float]:
        """Parts of a complete corpus that train and validate, if its speakers or sessions are equally long."""
        units = {"utterance": corpus.utterances, "session": corpus.sessions, "speaker": corpus.speakers}
        units = units.get(self.unit, 2 * corpus.speakers)
        validating, testing = (size / units for size in self._sizes(units))
        return 1 - validating - testing, validating

    def __call__(self, table: pd.DataFrame) -> list[Fold]:
        """One fold, or as many as it takes."""
        import numpy as np

        column = table[self.unit] if self.unit in table else _half_speakers(table, self.seed)
        units = _sessions(table, 3) if self.unit == "session" else sorted(column.unique())
        if len(units) < 3:
            raise UserError(f"Training, validation and test part need 3 {self.unit}s; here are {len(units)}.")
        if self.unit == "utterance":
            units = [str(unit) for unit in np.random.default_rng(self.seed).permutation(units)]
        validating, testing = self._sizes(len(units))
        folds = []
        for number in range(-(-len(units) // testing) if self.in_turn else 1):
            # The last units test, those before them validate; in turn, the circle is moved on by what was tested.
            end = len(units) - number * testing
            tested = units[max(0, end - testing) : end]
            others = units[end:] + units[: max(0, end - testing)]
            name = f"fold-{number + 1:02d}"
            is_test, is_validation = (column.isin(chosen) for chosen in (tested, others[len(others) - validating :]))
            folds.append(_fold(table, name, is_validation, is_test))
        return folds

    def _sizes(self, units: int) -> tuple[int, int]:
        """How many units validate and test: 24 speakers are cut 17/5/2, 5 sessions 3/1/1."""
        return max(1, round(self.validation * units)), max(1, round(self.test * units))


def _half_speakers(table: pd.DataFrame, seed: int) -> pd.Series:
    """Each utterance's speaker and the half of the speaker's utterances that it is drawn into."""
    import numpy as np

    generator = np.random.default_rng(seed)
    halves = table["speaker"].copy()
    for _, group in table.groupby("speaker", sort=True):
        order = generator.permutation(group.index.to_numpy())
        halves[order[: len(order) // 2]] += "-1"
        halves[order[len(order) // 2 :]] += "-2"
    return halves


def _sessions(table: pd.DataFrame, least: int) -> list[str]:
    """The sessions of a table, of which there must be at least some."""
    if table["session"].isna().any():
        raise UserError("This protocol needs a corpus with sessions; this one has none.")
    sessions = _values(table, "session")
    if len(sessions) < least:
        raise UserError(f"This protocol needs {least} sessions; here are {len(sessions)}.")
    return sessions


def _values(table: pd.DataFrame, column: str) -> list[str]:
    return sorted(table[column].unique())


def _mask(table: pd.DataFrame, index) -> pd.Series:
    mask = table["utterance"].isna()  # all False, with the table's index
    mask.loc[index] = True
    return mask


def _drawn(table: pd.DataFrame, among: pd.Series, share: float, seed: int) -> pd.Series:
    """Marks `share` of the utterances `among`, by emotion, where there are enough of it to draw one."""
    import numpy as np

    chosen = []
    generator = np.random.default_rng(seed)
    for _, group in table[among].groupby("emotion", sort=True):
        count = round(share * len(group))
        chosen.extend(generator.permutation(group.index.to_numpy())[:count])
    return _mask(table, chosen)


def _fold(table: pd.DataFrame, name: str, is_validation: pd.Series, is_test: pd.Series) -> Fold:
    ids = table["utterance"]
    return Fold(
        name,
        tuple(ids[~is_validation & ~is_test]),
        tuple(ids[is_validation]),
        tuple(ids[is_test]),
    )
