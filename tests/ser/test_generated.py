"""Consistency of the repository: generated blocks are up to date, papers are complete, documented commands exist."""

import re

import pytest

from common.errors import UserError
from ser import cli, costs, generated, registry
from ser.results.report import build
from ser.results.report.content import LEGEND, Section
from tests.helpers import ROOT


@pytest.mark.parametrize("name", registry.PAPERS)
def test_cards_are_up_to_date(name):
    card = (registry.paper(name).folder / "README.md").read_text(encoding="utf-8")
    assert generated.updated_card(registry.paper(name), card) == card, "run `python -m ser.generated`"
    assert "<!-- measured: generated -->" in card


@pytest.mark.parametrize("name", registry.PAPERS)
def test_papers_have_the_same_files(name):
    names = {file.name for file in registry.paper(name).folder.iterdir()}
    code = {"config.py", "data.py", "model.py", "train.py", "experiments.py"}
    assert {"README.md", "reported.csv"} | code <= names


def test_the_readme_is_up_to_date():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert generated.updated_readme(readme) == readme, "run `python -m ser.generated`"


def test_the_costs_in_the_scale_plan_are_up_to_date():
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    papers = [registry.paper(name) for name in registry.PAPERS]
    assert generated.with_block(page, "costs", costs.markdown(papers)) == page, "run `python -m ser.generated`"


def test_every_paper_is_registered():
    packages = {file.parent.name for file in (ROOT / "papers").glob("*/experiments.py")}
    assert packages == set(registry.PAPERS)


def test_a_block_is_replaced_and_a_missing_block_is_an_error():
    text = "a\n<!-- x: generated -->\nold\n<!-- x: end -->\nb"
    assert generated.with_block(text, "x", "new") == "a\n<!-- x: generated -->\nnew\n<!-- x: end -->\nb"
    empty = "<!-- x: generated -->\n<!-- x: end -->"
    assert generated.with_block(empty, "x", "new") == "<!-- x: generated -->\nnew\n<!-- x: end -->"
    with pytest.raises(UserError, match="no block '<!-- y: generated -->'"):
        generated.with_block(text, "y", "new")


def test_only_the_card_of_a_named_paper_is_rewritten(tmp_path, monkeypatch):
    files = {}
    monkeypatch.setattr(generated, "write_text", lambda file, text: files.setdefault(file, text))
    assert generated.rewrite_blocks(["mtap"]) == list(files) == [registry.paper("mtap").folder / "README.md"]
    files.clear()
    generated.rewrite_blocks([])
    assert {ROOT / "README.md", ROOT / "docs" / "scale.md"} < set(files) and len(files) == 2 + len(registry.PAPERS)


def test_the_legend_of_a_card_is_a_separate_paragraph(tmp_path, monkeypatch):
    section = Section(registry.paper("mtap"), "1", (), (), ("a condition",))
    monkeypatch.setattr(generated.build, "from_results", lambda papers, results: build.report([section]))
    lines = generated.measured_tables(registry.paper("mtap"), tmp_path).splitlines()
    assert lines[-3:] == ["- a condition", "", LEGEND]


def test_a_card_shows_the_cells_that_were_run_and_their_corpus():
    from common.results import Comparison, Measurement
    from ser.results.reported import read_cells

    paper = registry.paper("quaternion_at")
    own, other, missing = [cell for cell in read_cells(paper.reported) if cell.experiment][:3]
    found = Measurement(50.0, 0.0, 40.0, 60.0, 1, 1, 1, 10, 2)
    rows = (Comparison(own, "scaled", found, "iemocap"), Comparison(other, "scaled", found, "emodb"))
    section = Section(paper, "1", (*rows, Comparison(missing, "not run")), (), tuple(map(str, range(13))))
    lines = generated.measured_table(section).splitlines()
    table = [line for line in lines if line.startswith("| ")]
    assert len(table) == 3 and table[1].startswith(f"| {own.row} |")
    assert table[2].startswith(f"| {other.row} (on emodb) |") and lines[0].startswith("### ")
    assert "Not run: 1 other cells." in lines and "<summary>13 conditions</summary>" in lines
    few = generated.measured_table(Section(paper, "1", rows, (), ("one",)))
    assert few.endswith("\n- one\n") and "Not run" not in few and "details" not in few


@pytest.mark.parametrize(
    "file", ["README.md", "CONTRIBUTING.md", *(f"papers/{name}/README.md" for name in registry.PAPERS)]
)
def test_documented_commands_are_accepted(file):
    """The parser accepts every `ser ...` line of a code block, so no document shows an option that does not exist."""
    text = (ROOT / file).read_text(encoding="utf-8")
    commands = []
    for block in re.findall(r"```(?:sh|)\n(.*?)```", text, re.DOTALL):
        commands += [re.split(r"\s{3,}|\s#", line.removeprefix("$ "))[0] for line in block.splitlines()]
    commands = [command.split()[1:] for command in commands if command.startswith("ser ")]
    for command in commands:
        if "NAME" not in command:
            cli.parse(command)
    assert commands or file == "CONTRIBUTING.md"


def test_make_targets_in_the_readme_exist():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = set(re.findall(r"(?:`|^)make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert used and used <= targets


def test_continuous_integration_runs_make_test_alone():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    commands = [line for line in lines if line and not line.startswith("#")]
    assert commands == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', "make test"]
