import re

import pytest

from common.errors import AudioError, CorpusAbsent, UserError, unknown

KNOWN = ["emodb", "savee", "iemocap", "msp-improv"]


@pytest.mark.parametrize(
    ("typed", "offered"), [("emobd", "emodb"), ("iemocp", "iemocap"), ("save", "savee"), ("msp_improv", "msp-improv")]
)
def test_a_mistyped_name_is_offered_the_nearest_one(typed, offered):
    error = unknown("corpus", typed, KNOWN)
    assert type(error) is UserError
    # The nearest comes first.
    assert re.match(rf"There is no corpus '{typed}'\. Did you mean {offered}[,?]", str(error))


def test_for_any_other_name_all_names_are_listed():
    message = str(unknown("corpus", "zzz", KNOWN))
    assert message == "There is no corpus 'zzz'. There is: emodb, savee, iemocap, msp-improv."


def test_at_most_three_names_are_offered():
    message = str(unknown("experiment", "row1", [f"row1{letter}" for letter in "abcdef"]))
    assert message.count("row1") == 4


def test_a_long_list_is_cut():
    message = str(unknown("cell", "zzz", (f"{number:02d}" for number in range(20))))
    assert "00, 01, 02" in message
    assert message.endswith("11 and 8 more.")
    assert "12," not in message


def test_an_empty_list_of_names():
    assert str(unknown("run", "x", [])) == "There is no run 'x'. There is: none."


def test_errors_for_the_user_have_one_base_class():
    assert issubclass(CorpusAbsent, UserError)
    assert issubclass(AudioError, UserError)
    assert not issubclass(UserError, ValueError)


def test_characters_that_are_not_printable_are_escaped():
    # Messages quote damaged files: an escape sequence must not reach the terminal, half a character must not stop it.
    assert str(UserError("x\x00\x1b[2J\udce4.wav: ä\n")) == "x\\x00\\x1b[2J\\udce4.wav: ä\\n"
