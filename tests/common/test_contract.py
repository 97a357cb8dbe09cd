import dataclasses
import time
from pathlib import Path
from typing import Literal, Optional

import numpy as np
import pytest

from common.contract import Context, Experiment, Paper, Part, override, setting
from common.corpus import build_table
from common.errors import UserError
from tests.helpers import toy


@dataclasses.dataclass(frozen=True)
class Config:
    kind: Literal["one", "two"] = setting("one", "Sec. 1")
    name: str = setting("x", "Sec. 2")
    count: int = setting(3, "Sec. 3")
    rate: float = setting(0.5, "Sec. 4")
    on: bool = setting(False, "Sec. 5")
    limit: int | None = setting(None, "Sec. 6")
    share: float | None = setting(0.1, "Sec. 7")
    choice: Literal["a", "b"] | None = setting(None, "Sec. 8")
    old_style: Optional[int] = setting(None, "Sec. 9")  # noqa: UP045

    def __post_init__(self):
        if self.count < 0:
            raise UserError("count must not be negative.")


@pytest.mark.parametrize(
    ("field", "typed", "value"),
    [
        ("kind", "two", "two"),
        ("name", "12", "12"),
        ("name", "none", "none"),
        ("count", "12", 12),
        ("count", "-0", 0),
        ("rate", "1e-4", 1e-4),
        ("rate", "2", 2.0),
        ("on", "true", True),
        ("on", "False", False),
        ("limit", "7", 7),
        ("limit", "none", None),
        ("limit", "None", None),
        ("share", "0.25", 0.25),
        ("share", "none", None),
        ("choice", "b", "b"),
        ("choice", "none", None),
        ("old_style", "5", 5),
        ("old_style", "none", None),
    ],
)
def test_strings_are_converted_to_the_type_of_the_field(field, typed, value):
    changed = override(Config(), {field: typed})
    assert getattr(changed, field) == value
    assert type(getattr(changed, field)) is type(value)
    assert dataclasses.replace(changed, **{field: getattr(Config(), field)}) == Config()


def test_values_that_are_not_strings_are_kept():
    changed = override(Config(), {"count": 5, "rate": 0.25, "on": True, "share": None})
    assert changed == Config(count=5, rate=0.25, on=True, share=None)


def test_the_given_config_is_not_changed():
    config = Config(count=7)
    assert override(config, {"name": "y"}) == Config(count=7, name="y")
    assert config == Config(count=7)
    assert override(config, {}) == config


@pytest.mark.parametrize(
    ("field", "typed", "message"),
    [
        ("kind", "three", "kind cannot be 'three'; it is one of one, two"),
        ("count", "2.5", "count cannot be '2.5'; it needs a value of type int"),
        ("count", "none", "count cannot be 'none'"),
        ("rate", "fast", "rate cannot be 'fast'; it needs a value of type float"),
        ("on", "1", "on cannot be '1'; it is true or false"),
        ("limit", "many", "limit cannot be 'many'"),
        ("choice", "c", "choice cannot be 'c'; it is one of a, b"),
        ("count", "-1", "must not be negative"),
    ],
)
def test_values_that_a_field_cannot_hold(field, typed, message):
    with pytest.raises(UserError, match=message):
        override(Config(), {field: typed})


def test_a_mistyped_field_offers_names():
    with pytest.raises(UserError, match=r"no config field of Config 'coumt'\. Did you mean count"):
        override(Config(), {"coumt": "3"})
    with pytest.raises(UserError, match="There is: kind, name, count"):
        override(Config(), {"zzzzzz": "3"})


def test_a_setting_keeps_its_source():
    assert [field.metadata["source"] for field in dataclasses.fields(Config)] == [f"Sec. {n}" for n in range(1, 10)]


# --- Part ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def part():
    table = build_table(
        [
            {
                "utterance": name, "path": f"/{name}", "speaker": "s", "emotion": emotion, "duration": 1.0,
                "valence": 2.0, "arousal": 3.0, "dominance": 4.0, "text": f"words of {name}", "script": "s1",
            }
            for name, emotion in [("a", "sad"), ("b", "happy"), ("c", "sad"), ("d", "angry")]
        ],
        "test",
    )  # fmt: skip
    return Part(table, {"x": {"a": 1}}, ("angry", "happy", "sad"))


def test_labels_are_the_positions_of_the_classes(part):
    assert part.labels.tolist() == [2, 1, 2, 0]
    assert part.labels.dtype == np.int64


def test_take_returns_the_requested_order(part):
    taken = part.take(("c", "a", "b"))
    assert list(taken.table["utterance"]) == ["c", "a", "b"]
    assert taken.labels.tolist() == [2, 2, 1]
    assert list(taken.table.index) == [0, 1, 2]
    assert list(taken.table.columns) == list(part.table.columns)
    assert taken.features is part.features
    assert len(taken) == 3
    assert list(taken.take(("b", "c")).table["text"]) == ["words of b", "words of c"]
    assert len(part) == 4


def test_take_nothing(part):
    empty = part.take(())
    assert len(empty) == 0
    assert empty.labels.tolist() == []


def test_take_an_unknown_utterance(part):
    with pytest.raises(KeyError, match="z"):
        part.take(("a", "z"))


def test_without_labels_removes_everything_that_contains_the_emotion(part):
    hidden = part.without_labels()
    labels = ["emotion", "valence", "arousal", "dominance", "path"]  # file names contain the emotion in many corpora
    assert hidden.table[labels].isna().all(axis=None)
    rest = [column for column in part.table.columns if column not in labels]
    assert hidden.table[rest].equals(part.table[rest])
    assert list(hidden.table.columns) == list(part.table.columns)
    with pytest.raises(ValueError, match="no label"):
        _ = hidden.labels
    # The part itself keeps them.
    assert part.labels.tolist() == [2, 1, 2, 0]
    assert part.table["valence"].tolist() == [2.0] * 4


def test_an_emotion_that_is_not_a_class_is_an_error(part):
    with pytest.raises(ValueError, match="no label"):
        _ = dataclasses.replace(part, classes=("angry", "sad")).labels


# --- Context, Paper ------------------------------------------------------------------------------------------------


def test_times_of_the_same_name_are_added():
    context = Context()
    for _ in range(3):
        with context.timed("fit"):
            time.sleep(0.02)
    with context.timed("predict"):
        time.sleep(0.01)
    assert 0.06 <= context.seconds["fit"] < 0.5
    assert 0.01 <= context.seconds["predict"] < context.seconds["fit"]


def test_the_time_of_a_failed_block_counts():
    context = Context()
    with pytest.raises(RuntimeError), context.timed("fit"):
        time.sleep(0.02)
        raise RuntimeError
    assert context.seconds["fit"] >= 0.02


def test_contexts_share_nothing():
    one, two = Context(), Context()
    one.history["loss"] = [1.0]
    one.flags.append("scaled")
    assert (two.history, two.flags, two.seconds) == ({}, [], {})


@pytest.fixture
def paper():
    def experiment(name):
        return Experiment(name, "row", "emodb", "7class", None, Config(), 5)

    listed = (experiment("toy/table1/emodb/softmax"), experiment("toy/fig4/emodb/apfl"))
    return Paper("tests.helpers.toy", "t", "r", listed, {}, fit=":fit")


def test_an_experiment_is_found_by_its_id(paper):
    assert paper.experiment("toy/fig4/emodb/apfl").table == "fig4"
    assert paper.experiment("toy/table1/emodb/softmax").table == "1"
    with pytest.raises(UserError, match="Did you mean toy/table1/emodb/softmax"):
        paper.experiment("toy/table1/emodb/softmx")


def test_functions_are_named_relative_to_the_package(paper):
    assert paper.function(paper.fit) is toy.fit and paper.name == "toy"
    assert paper.folder == Path(toy.__file__).parent and paper.reported.name == "reported.csv"
