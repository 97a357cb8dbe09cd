"""Protocols: rules that cut a corpus into folds of training, validation and test utterances.

A protocol is a frozen dataclass that is called with an utterance table and returns its folds. They are the same every
time, because whatever is random depends on the protocol's own seed and never on a trial's. Without reading a corpus, a
protocol tells its `name`, the number of folds (`count`), and the shares of the utterances that train and validate
(`shares`, a mean over folds).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from common.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from common.corpus import Corpus


@dataclass(frozen=True)
class Fold:
    """Utterance ids of the parts of one fold.

    Attributes:
        name: name in reports and folders, for example "speaker-03".
        train: utterances that the model is trained on.
        validation: utterances that epochs and settings are chosen on; may be empty.
        test: utterances that are only predicted, when the model is finished.
    """

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class LeaveOneSpeakerOut:
    """Every speaker is the test part once (speaker-independent).

    Attributes:
        validation: "speaker": the next speaker (cyclic, so each speaker validates once); "stratified": a random
            `share` of each emotion's training utterances; "none": empty.
        share: of the training utterances, for "stratified".
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
        """Number of folds on a complete corpus."""
        return corpus.speakers

    def shares(self, corpus: Corpus) -> tuple[float, float]:
        """Shares of a complete corpus that train and validate."""
        rest = 1 - 1 / corpus.speakers
        validating = {"speaker": 1 / corpus.speakers, "stratified": self.share * rest, "none": 0.0}[self.validation]
        return rest - validating, validating

    def __call__(self, table: pd.DataFrame) -> list[Fold]:
        """One fold per speaker, in the order of their names."""
        speakers = _values(table, "speaker")
        needed = 3 if self.validation == "speaker" else 2
        if len(speakers) < needed:
            which = " with a validation speaker" if self.validation == "speaker" else ""
            raise UserError(f"Leaving one speaker out{which} needs {needed} speakers; there are {len(speakers)}.")
        folds = []
        for number, speaker in enumerate(speakers):
            is_test = table["speaker"] == speaker
            if self.validation == "speaker":
                is_validation = table["speaker"] == speakers[(number + 1) % len(speakers)]
            else:
                share = self.share if self.validation == "stratified" else 0.0
                is_validation = random_share(table, ~is_test, share, self.seed)
            folds.append(cut_fold(table, f"speaker-{speaker}", is_validation, is_test))
        return folds


@dataclass(frozen=True)
class StratifiedKFold:
    """Random folds with equal shares of each emotion; a speaker may be in every part (speaker-dependent).

    Attributes:
        folds: number of folds.
        share: of each emotion's training utterances that validate, for `validation` "share".
        seed: of the random cut.
        by: the column that has equal shares in the folds.
        validation: "share": see `share`; "fold": the next fold (Rana et al. 2019: eight of ten folds train).
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
        """Number of folds on a complete corpus."""
        return self.folds

    def shares(self, corpus: Corpus) -> tuple[float, float]:
        """Shares of a complete corpus that train and validate."""
        rest = 1 - 1 / self.folds
        validating = 1 / self.folds if self.validation == "fold" else self.share * rest
        return rest - validating, validating

    def __call__(self, table: pd.DataFrame) -> list[Fold]:
        """The folds, numbered from 1."""
        import numpy as np
        from sklearn.model_selection import StratifiedKFold as Splitter

        smallest = table[self.by].value_counts().min()
        if smallest < self.folds:
            raise UserError(
                f"{self.folds} stratified folds need at least {self.folds} utterances of each {self.by}; "
                f"the rarest has {smallest}."
            )
        if self.validation == "fold" and self.folds < 3:
            raise UserError("If one fold tests and another one validates, at least 3 folds are needed.")
        splitter = Splitter(self.folds, shuffle=True, random_state=self.seed)
        parts = [_mask(table, table.index[test]) for _, test in splitter.split(np.zeros(len(table)), table[self.by])]
        result = []
        for number, is_test in enumerate(parts):
            if self.validation == "fold":
                is_validation = parts[(number + 1) % self.folds]
            else:
                is_validation = random_share(table, ~is_test, self.share, self.seed)
            result.append(cut_fold(table, f"fold-{number + 1:02d}", is_validation, is_test))
        return result


@dataclass(frozen=True)
class LeaveOneSessionOut:
    """Every session is held out once (LOSO).

    Attributes:
        validation: where the validation part comes from. "half": a random half of each emotion of the held-out session
            validates and the other half tests, so usually both speakers are in both (Wen et al. 2023, Sec. 5.1).
            "half-speaker": one speaker of the held-out session validates, the other tests. "session": the next session
            validates, and the whole held-out session tests. "none": the whole held-out session tests and nothing
            validates (Pan et al. 2024, who name no validation set).
        seed: of the random halves.
    """

    validation: Literal["half", "half-speaker", "session", "none"] = "half"
    seed: int = 0

    @property
    def name(self) -> str:
        """Name in lists and reports."""
        return "leave one session out" + (", halves" if self.validation.startswith("half") else "")

    def count(self, corpus: Corpus) -> int:
        """Number of folds on a complete corpus."""
        return corpus.sessions

    def shares(self, corpus: Corpus) -> tuple[float, float]:
        """Shares of a complete corpus that train and validate."""
        session = 1 / corpus.sessions
        validating = {"session": session, "none": 0.0}.get(self.validation, session / 2)
        return 1 - session - (validating if self.validation == "session" else 0.0), validating

    def __call__(self, table: pd.DataFrame) -> list[Fold]:
        """One fold per session, in the order of their names."""
        sessions = _sessions(table, 3 if self.validation == "session" else 2)
        folds = []
        for number, session in enumerate(sessions):
            held_out = table["session"] == session
            if self.validation == "half":
                is_validation = random_share(table, held_out, 0.5, self.seed)
            elif self.validation == "half-speaker":
                speakers = _values(table[held_out], "speaker")
                if len(speakers) < 2:
                    raise UserError(f"Halves by speaker need 2 speakers in each session; session {session} has 1.")
                is_validation = held_out & (table["speaker"] == speakers[0])
            elif self.validation == "session":
                is_validation = table["session"] == sessions[(number + 1) % len(sessions)]
            else:
                is_validation = _mask(table, [])
            folds.append(cut_fold(table, f"session-{session}", is_validation, held_out & ~is_validation))
        return folds


@dataclass(frozen=True)
class FixedTestSession:
    """One session tests, the others train and validate (Atmaja and Akagi 2020, Sec. VI-A).

    Attributes:
        session: the session that tests.
        validation: "tail": the last `share` of the other sessions' utterances in the table's order (by path), as Keras'
            `validation_split` takes it; it is the end of the last session, so its speakers also train. "session": the
            whole last session that does not test, which shares no speaker with training.
        share: for "tail"; rounded down, so that 20 % of 7869 are 1573.
    """

    session: str = "5"
    validation: Literal["tail", "session"] = "tail"
    share: float = 0.2

    @property
    def name(self) -> str:
        """Name in lists and reports."""
        return f"session {self.session} tests"

    def count(self, corpus: Corpus) -> int:
        """Number of folds."""
        return 1

    def shares(self, corpus: Corpus) -> tuple[float, float]:
        """Shares of a complete corpus that train and validate, if all sessions have equal sizes."""
        rest = 1 - 1 / corpus.sessions
        validating = 1 / corpus.sessions if self.validation == "session" else self.share * rest
        return rest - validating, validating

    def __call__(self, table: pd.DataFrame) -> list[Fold]:
        """One fold."""
        sessions = _sessions(table, 3 if self.validation == "session" else 2)
        if self.session not in sessions:
            raise UserError(f"There is no session {self.session} to test on; there are {', '.join(sessions)}.")
        is_test = table["session"] == self.session
        if self.validation == "session":
            is_validation = table["session"] == [session for session in sessions if session != self.session][-1]
        else:
            rest = table.index[~is_test]
            is_validation = _mask(table, rest[len(rest) - int(self.share * len(rest)) :])
        return [cut_fold(table, f"session-{self.session}", is_validation, is_test)]


@dataclass(frozen=True)
class HoldOut:
    """A share of the corpus tests, a share validates, the rest trains (Guizzo et al. 2023: about 70/20/10).

    Attributes:
        unit: what is assigned to a part as a whole: an "utterance" (a speaker may then be in all parts), a "speaker", a
            "session", or a "half-speaker", a random half of a speaker's utterances (a speaker may then validate and
            test; this is what the authors' code does for a corpus of two speakers).
        validation: share of the units that validate, at least one unit.
        test: share of the units that test, at least one unit.
        in_turn: False: one fold, in which utterances are assigned at random, but speakers and sessions in order (the
            last ones test, as in the authors' code). True: as many folds as are needed to test every unit once.
        seed: of the random assignment.
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
        """Number of folds on a complete corpus."""
        units = self._units(corpus)
        return -(-units // self._sizes(units)[1]) if self.in_turn else 1

    def shares(self, corpus: Corpus) -> tuple[float, float]:
        """Shares of a complete corpus that train and validate, if all speakers or sessions have equal sizes."""
        units = self._units(corpus)
        validating, testing = (size / units for size in self._sizes(units))
        return 1 - validating - testing, validating

    def __call__(self, table: pd.DataFrame) -> list[Fold]:
        """One fold, or with `in_turn` as many as are needed."""
        import numpy as np

        column = table[self.unit] if self.unit in table else _half_speakers(table, self.seed)
        units = _sessions(table, 3) if self.unit == "session" else sorted(column.unique())
        if len(units) < 3:
            raise UserError(f"Training, validation and test part need 3 {self.unit}s; there are {len(units)}.")
        if self.unit == "utterance":
            units = [str(unit) for unit in np.random.default_rng(self.seed).permutation(units)]
        validating, testing = self._sizes(len(units))
        folds = []
        for number in range(-(-len(units) // testing) if self.in_turn else 1):
            # The last units test and those before them validate. The next fold tests the units before the tested ones,
            # and the units after the tested ones move to the front.
            end = len(units) - number * testing
            tested = units[max(0, end - testing) : end]
            others = units[end:] + units[: max(0, end - testing)]
            name = f"fold-{number + 1:02d}"
            is_test, is_validation = (column.isin(chosen) for chosen in (tested, others[len(others) - validating :]))
            folds.append(cut_fold(table, name, is_validation, is_test))
        return folds

    def _units(self, corpus: Corpus) -> int:
        """Number of units in a complete corpus."""
        units = {"utterance": corpus.utterances, "speaker": corpus.speakers, "session": corpus.sessions}
        return units.get(self.unit, 2 * corpus.speakers)

    def _sizes(self, units: int) -> tuple[int, int]:
        """Numbers of units that validate and test: 24 speakers are cut 17/5/2, 5 sessions 3/1/1."""
        return max(1, round(self.validation * units)), max(1, round(self.test * units))


def _half_speakers(table: pd.DataFrame, seed: int) -> pd.Series:
    """Cuts each speaker's utterances into random halves; each utterance's half, for example "03-1"."""
    import numpy as np

    generator = np.random.default_rng(seed)
    halves = table["speaker"].copy()
    for _, group in table.groupby("speaker", sort=True):
        order = generator.permutation(group.index.to_numpy())
        halves[order[: len(order) // 2]] += "-1"
        halves[order[len(order) // 2 :]] += "-2"
    return halves


def _sessions(table: pd.DataFrame, least: int) -> list[str]:
    """The sessions of a table; an error if there are fewer than `least`."""
    if table["session"].isna().any():
        raise UserError("This protocol needs a corpus with sessions; this one has none.")
    sessions = _values(table, "session")
    if len(sessions) < least:
        raise UserError(f"This protocol needs {least} sessions; there are {len(sessions)}.")
    return sessions


def _values(table: pd.DataFrame, column: str) -> list[str]:
    return sorted(table[column].unique())


def _mask(table: pd.DataFrame, index) -> pd.Series:
    mask = table["utterance"].isna()  # all False, with the table's index
    mask.loc[index] = True
    return mask


def random_share(table: pd.DataFrame, among: pd.Series, share: float, seed: int) -> pd.Series:
    """Marks a random `share` of each emotion's utterances `among` those given; the share is rounded per emotion."""
    import numpy as np

    chosen = []
    generator = np.random.default_rng(seed)
    for _, group in table[among].groupby("emotion", sort=True, dropna=False):
        count = round(share * len(group))
        chosen.extend(generator.permutation(group.index.to_numpy())[:count])
    return _mask(table, chosen)


def cut_fold(table: pd.DataFrame, name: str, is_validation: pd.Series, is_test: pd.Series) -> Fold:
    """A fold of that name; what neither validates nor tests trains."""
    ids = table["utterance"]
    return Fold(
        name,
        tuple(ids[~is_validation & ~is_test]),
        tuple(ids[is_validation]),
        tuple(ids[is_test]),
    )
