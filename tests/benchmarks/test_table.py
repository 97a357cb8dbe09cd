"""The table of all benchmarks: one that fails, takes too long or lacks something has a row, and the others run."""

import dataclasses
import json
import sys

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import _table
from benchmarks.measure import HEAD, Absent, Figure, figure, in_own_process, worst
from common.errors import UserError

FAKES = {
    "good": '''
"""Something compared with its peer.

More words."""
import numpy as np
from benchmarks.measure import figure
def main():
    print("chatter")
    yield figure("this compared with that", [1.0, 1.2, 0.8], "times", 1.1)
    yield figure("its seconds", list(np.float32([2.0, 2.0])), "s")
''',
    "breaks": """
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
from benchmarks.measure import Absent, not_installed
def main():
    return [Absent("this compared with the peer", not_installed("json", "no_such_peer"))]
""",
    "echo": """
import json, os, sys
print("chatter")
print(json.dumps([*sys.argv[1:], os.environ["SPOKEN"]]))
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


def test_a_benchmark_that_fails_or_lacks_something_has_a_row_and_the_others_run(fakes):
    names = ("breaks", "killed", "absent", "peerless", "good")
    shown = []
    results = _table.run_all({name: f"fakes.{name}" for name in names}, shown.append)
    assert shown == results and [one.name for one in results] == list(names)
    assert [one.failed for one in results] == [True, True, False, False, False]
    lines = _table.readme_table(results, "a machine").splitlines()
    rows = [line for line in lines if line.startswith("|")][2:]
    assert rows[0] == "| before it broke | 50.00 % |  | 100 % | met, 50 % of it |"
    assert rows[1].startswith("| breaks | – |") and "failed: RuntimeError: no / luck" in rows[1]
    assert rows[2].startswith("| killed | – |") and "signal 9" in rows[2]
    assert rows[3].startswith("| Needs a corpus. | – |") and "not run: There is no emodb here." in rows[3]
    assert rows[4] == "| this compared with the peer | – | | | not run: no_such_peer is not installed |"
    assert rows[5] == "| this compared with that | 1.00 times | 0.80 … 1.20 | 1.1 times | met, 91 % of it |"
    assert len(rows) == 6, "seconds without a peer or a limit are in RESULTS.md only"
    page = _table.results_page(results, "a machine")
    assert "| its seconds | 2.00 s |" in page and "## good\n\nSomething compared with its peer. (" in page
    assert all(line.count("|") == 6 for line in page.splitlines() if line.startswith("|"))


def test_a_benchmark_that_takes_too_long_is_stopped(fakes):
    result = _table.run("endless", "fakes.endless", limit_s=2)
    assert result.failed and "still not done after 2 s" in result.figures[-1].why and result.seconds < 20


def test_only_the_generated_block_of_the_readme_changes(tmp_path):
    readme, page = tmp_path / "README.md", tmp_path / "RESULTS.md"
    readme.write_text("before\n<!-- bench: generated -->\nold\n<!-- bench: end -->\nafter\n")
    result = _table.Result("one", "One.", (figure("x", [3.0], "times", 2.0),), 61.0)
    for _ in range(2):
        _table.write([result], "here", readme, page)
        text = readme.read_text()
        assert text.startswith("before\n<!-- bench: generated -->\n`make bench`, one run on here:\n\n| Figure ")
        assert text.endswith("(benchmarks/RESULTS.md).\n<!-- bench: end -->\nafter\n") and "old" not in text
        assert "| x | 3.00 times |  | 2 times | missed by 50 % |" in text and "(1 minutes)" in text
    readme.write_text("no block")
    with pytest.raises(UserError, match="no block"):
        _table.write([result], "here", readme, page)


def test_the_readme_has_the_block():
    assert HEAD in _table.with_block(_table.README.read_text(encoding="utf-8"), "bench", HEAD)


def test_figures_of_numpy_numbers_can_be_written_as_json():
    made = figure("a", list(np.float32([0.5, 1.5, 1.0])), "s", np.float32(2.0))
    assert json.loads(json.dumps(dataclasses.asdict(made))) == {
        "name": "a", "value": 1.0, "unit": "s", "limit": 2.0, "spread": [0.5, 1.5], "headline": True, "floor": False,
    }  # fmt: skip


def test_the_last_line_of_a_process_is_its_result(fakes):
    assert in_own_process("fakes.echo", "a", 1, environment={"SPOKEN": "b"}) == ["a", "1", "b"]


def test_ratios_and_figures_with_a_limit_are_headlines():
    assert figure("a", [1.0], "times").headline and figure("a", [1.0], "s", 2.0).headline
    assert not figure("a", [1.0], "s").headline and not figure("a", [1.0], "times", headline=False).headline
    several = [figure("a", [1.0, 9.0, 1.0], "times", 2.0), figure("b", [1.5], "times", 2.0)]
    assert worst("all", several) == Figure("all", 1.5, "times", 2.0, (1.0, 1.5))
    assert Absent("x", "y").headline


def test_a_floor_is_a_lower_limit():
    assert figure("a", [1.8], "times", 1.5, floor=True).line().endswith("| at least 1.5 times | met, 120 % of it |")
    assert figure("a", [1.2], "times", 1.5, floor=True).line().endswith("| missed by 20 % |")


def test_a_wrong_name_offers_the_right_ones_and_writing_takes_no_names(capsys):
    assert command.main(["huberd"]) == 2 and "hubert" in capsys.readouterr().err
    assert command.main(["start", "--write"]) == 2 and "give no names" in capsys.readouterr().err
    assert "steps" not in command.NAMES and {"hubert", "start", "fusion"} <= set(command.NAMES)
    assert not {"measure", "_table", "__main__"} & set(command.NAMES)


def test_the_conditions_name_the_versions():
    assert f"Python {sys.version.split()[0]}" in _table.conditions() and "numpy" in _table.conditions()
    assert json.dumps(_table.conditions())
