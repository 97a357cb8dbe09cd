"""One table of all benchmarks: those that fail, take too long or lack something have a line, and the others go on."""

import json
import sys

import pytest

from benchmarks import __main__ as command
from benchmarks import _table
from benchmarks.measure import HEAD, Absent, Figure, figure, worst
from common.errors import UserError

FAKES = {
    "good": '''
"""Something against its peer.

More words."""
from common.errors import UserError
from benchmarks.measure import figure
def main():
    print("chatter")
    yield figure("this beside that", [1.0, 1.2, 0.8], "times", 1.1)
    yield figure("its seconds", [2.0], "s")
''',
    "breaks": """
from common.errors import UserError
from benchmarks.measure import figure
def main():
    yield figure("before it broke", [50.0], "%", 100)
    raise RuntimeError("no | luck")
""",
    "killed": """
import os
def main():
    os.kill(os.getpid(), 9)
""",
    "absent": '''
"""Needs a corpus."""
from common.errors import CorpusAbsent
def main():
    raise CorpusAbsent("There is no emodb here.")
''',
    "peerless": """
from common.errors import UserError
from benchmarks.measure import Absent
def main():
    return [Absent("this beside the peer", "not run: peer is not installed")]
""",
    "endless": """
import time
def main():
    time.sleep(60)
""",
}


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    package = tmp_path / "fakes"
    package.mkdir()
    (package / "__init__.py").touch()
    for name, text in FAKES.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{_table.ROOT}")


def test_what_fails_or_lacks_something_has_a_line_and_the_others_go_on(fakes):
    names = ("breaks", "killed", "absent", "peerless", "good")
    told = []
    results = _table.run_all({name: f"fakes.{name}" for name in names}, told.append)
    assert told == results and [one.name for one in results] == list(names)
    assert [one.failed for one in results] == [True, True, False, False, False]
    lines = _table.block(results, "a machine").splitlines()
    rows = [line for line in lines if line.startswith("|")][2:]
    assert rows[0] == "| before it broke | 50.00 % |  | 100 % | met, 50 % of it |"
    assert rows[1].startswith("| breaks | – |") and "failed: RuntimeError: no / luck" in rows[1]
    assert rows[2].startswith("| killed | – |") and "signal 9" in rows[2]
    assert rows[3].startswith("| Needs a corpus. | – |") and "not run: There is no emodb here." in rows[3]
    assert rows[4] == "| this beside the peer | – | | | not run: peer is not installed |"
    assert rows[5] == "| this beside that | 1.00 times | 0.80 … 1.20 | 1.1 times | met, 91 % of it |"
    assert len(rows) == 6, "seconds without a peer or a limit are for RESULTS.md"
    page = _table.page(results, "a machine")
    assert "| its seconds | 2.00 s |" in page and "## good\n\nSomething against its peer. (" in page
    assert all(line.count("|") == 6 for line in page.splitlines() if line.startswith("|"))


def test_a_benchmark_without_end_is_ended(fakes):
    result = _table.run("endless", "fakes.endless", limit_s=2)
    assert result.failed and "still not done after 2 s" in result.figures[-1].why and result.seconds < 20


def test_only_the_block_of_the_readme_changes(tmp_path):
    readme, page = tmp_path / "README.md", tmp_path / "RESULTS.md"
    readme.write_text("before\n<!-- bench: generated -->\nold\n<!-- bench: end -->\nafter\n")
    result = _table.Result("one", "One.", (figure("x", [3.0], "times", 2.0),), 61.0)
    for _ in range(2):
        _table.write([result], "here", readme, page)
        text = readme.read_text()
        assert text.startswith("before\n<!-- bench: generated -->\n`make bench`, one run on here:\n\n| Figure ")
        assert text.endswith("(benchmarks/RESULTS.md).\n<!-- bench: end -->\nafter\n") and "old" not in text
        assert "| x | 3.00 times |  | 2 times | missed by 50 % |" in text and "1 minutes' work" in text
    readme.write_text("no block")
    with pytest.raises(UserError, match="no block"):
        _table.write([result], "here", readme, page)


def test_the_readme_has_the_block():
    assert HEAD in _table.with_block(_table.README.read_text(encoding="utf-8"), "bench", HEAD)


def test_headlines_are_ratios_and_what_has_a_limit():
    assert figure("a", [1.0], "times").headline and figure("a", [1.0], "s", 2.0).headline
    assert not figure("a", [1.0], "s").headline and not figure("a", [1.0], "times", headline=False).headline
    several = [figure("a", [1.0, 9.0, 1.0], "times", 2.0), figure("b", [1.5], "times", 2.0)]
    assert worst("all", several) == Figure("all", 1.5, "times", 2.0, (1.0, 1.5))
    assert Absent("x", "y").headline


def test_a_floor_is_met_from_above():
    assert figure("a", [1.8], "times", 1.5, floor=True).line().endswith("| at least 1.5 times | met, 120 % of it |")
    assert figure("a", [1.2], "times", 1.5, floor=True).line().endswith("| missed by 20 % |")


def test_a_wrong_name_names_what_there_is_and_writing_wants_all(capsys):
    assert command.main(["huberd"]) == 2 and "hubert" in capsys.readouterr().err
    assert command.main(["start", "--write"]) == 2 and "name none" in capsys.readouterr().err
    assert "steps" not in command.NAMES and {"hubert", "start", "fusion"} <= set(command.NAMES)
    assert not {"measure", "_table", "__main__"} & set(command.NAMES)


def test_versions_are_told():
    assert f"Python {sys.version.split()[0]}" in _table.conditions() and "numpy" in _table.conditions()
    assert json.dumps(_table.conditions())
