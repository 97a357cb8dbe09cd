import io
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from common.metrics import METRICS, Metric, wa
from ser.results import yardstick
from ser.results.reading import read_run
from ser.results.report import build, html, markdown, terminal
from ser.results.reported import COLUMNS
from tests.helpers import toy


@pytest.fixture(autouse=True)
def _no_models(monkeypatch):
    """These papers make no Keras models; looking for some after each trial takes a second in a process that is full."""
    monkeypatch.setattr("common.training.clear_models", lambda: None)


@pytest.fixture
def paper(tmp_path, monkeypatch):
    """The toy paper with reported cells for every kind of outcome."""
    lines = [
        ",".join(COLUMNS),
        "t1/row/wa,1,Row <b>,WA,wa/2class/folds,83.33,0.05,toy/table1/toy/row,slip & co",
        "t1/row/ua,1,Row <b>,UA,ua/2class/folds,99.00,,toy/table1/toy/row,",
        "t1/low/ua,1,Low,UA,ua/2class/pooled,10.00,,toy/table1/toy/row,",
        "t1/none/wa,1,None,WA,wa/2class/folds,50,,,",
        "t1/absent/wa,1,Absent,WA,wa/2class/folds,50,,toy/table1/toy/absent,",
        "t2/row/wa,2,Other table,WA,wa/2class/folds,12.34,,,",
    ]
    file = tmp_path / "reported.csv"
    file.write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(type(toy.PAPER), "reported", property(lambda self: file))
    return toy.PAPER


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results"


def make(results, **keywords):
    run = toy.run(**keywords)
    toy.execute([run], results)
    return run


def section(paper, results, run):
    absent = {"toy/table1/toy/absent": "not here"}
    return build.section(paper, "1", {run.experiment.id: read_run(run.folder(results))}, absent, results)


def test_verdicts_of_all_outcomes(paper, results):
    shown = section(paper, results, make(results))
    reported = [one for one in shown.comparisons if "F1" not in one.cell.column]
    assert [one.verdict for one in reported] == ["agrees", "differs", "differs", "not run", "corpus absent"]
    assert shown.title == "toy, Table 1"
    # 5 of the 6 utterances of each speaker are predicted correctly: 3 of 3 angry, 2 of 3 sad.
    assert [round(one.measured.value, 2) for one in reported[:3]] == [83.33, 83.33, 83.33]
    assert reported[0].difference == pytest.approx(0.0, abs=0.01)


def test_a_scaled_run_says_so_everywhere(paper, results):
    run = make(results, config=toy.ToyConfig(shift=0.5), flags=["random weights", "synthetic corpus: toy"])
    shown = section(paper, results, run)
    assert shown.title == "toy, Table 1 (scaled)"
    assert {one.verdict for one in shown.comparisons[:3]} == {"scaled"}
    report = build.report([shown])
    stream = io.StringIO()
    terminal.show(report, Console(file=stream, width=120))
    for text in (stream.getvalue(), markdown.render(report), html.render(report)):
        words = " ".join(text.split())
        assert (
            "scaled" in words
            and "ynthetic corpus" in words
            and "shift = 0.5 instead of 0.0" in words
            and "andom weights" in words
        )


def test_the_terminal_shows_numbers_and_trials(paper, results):
    stream = io.StringIO()
    terminal.show(build.report([section(paper, results, make(results))]), Console(file=stream, width=120))
    line = next(line for line in stream.getvalue().splitlines() if "Row <b>" in line)
    assert "83.33 ± 0.05" in line and "83.33 ± 0.00" in line and "2×4" in line and "agrees" in line
    assert "+0.00 (-0.45 … +0.45)" in line


def test_markdown_has_one_row_per_cell(paper, results):
    text = markdown.render(build.report([section(paper, results, make(results))]))
    rows = [line for line in text.splitlines() if line.startswith("| ") and "Reported" not in line]
    assert len(rows) == 5 + 2
    assert rows[0].endswith("| agrees (slip & co) |")
    assert {line.count("|") for line in rows} == {9}


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.tags = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "line", "circle", "path"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_valid_escaped_and_self_contained(paper, results):
    text = html.render(build.report([section(paper, results, make(results))]))
    page = Page()
    page.feed(text)
    assert page.open == [] and page.addresses == []
    assert "script" not in page.tags and "link" not in page.tags
    assert "Row &lt;b&gt;" in text and "slip &amp; co" in text and "<b>" not in text
    assert not re.search(r"url\(|@import|https?://", text)
    assert text.count('class="reported"') == 5 and text.count('class="measured"') == 3 + 2


def test_yardsticks_are_computed_on_the_folds_that_were_run(paper, results):
    run = make(results, repeats=1, folds=2)
    file = yardstick.file_of(results, read_run(run.folder(results)).run)
    numbers = {row.utterance: [float(row.emotion == "angry")] for row in run.table.itertuples()}
    yardstick.evaluate_and_write(file, run.table, numbers, run.folds, run.subset.classes)
    shown = section(paper, results, run)
    columns = ("WA", "UA", "macro F1", "weighted F1")
    assert [(one.column, round(one.measured.value), one.measured.folds) for one in shown.yardsticks] == [
        (column, 100, 2) for column in columns
    ] * 2
    assert shown.yardsticks[0].title == "TOY (synthetic) eGeMAPS + SVM"
    assert "sees the test speaker's unlabelled data" in shown.yardsticks[4].title


def test_a_new_entry_in_the_registry_of_metrics_appears_everywhere(paper, results, monkeypatch):
    monkeypatch.setitem(METRICS, "errors", Metric("Errors", "confusions", lambda counts: 1 - wa(counts), always=True))
    run = make(results)
    file = yardstick.file_of(results, read_run(run.folder(results)).run)
    numbers = {row.utterance: [float(row.emotion == "angry")] for row in run.table.itertuples()}
    yardstick.evaluate_and_write(file, run.table, numbers, run.folds, run.subset.classes)
    report = build.report([section(paper, results, run)])
    frame = report.to_frame()
    frame = frame[frame["column"] == "Errors"]
    assert frame["verdict"].tolist() == ["not reported", "yardstick", "yardstick"]
    assert frame["measured"].round(2).tolist() == [16.67, 0.0, 0.0]
    stream = io.StringIO()
    terminal.show(report, Console(file=stream, width=120))
    for text in (stream.getvalue(), report.markdown(), report.html()):
        assert text.count("Errors") == 3 and "16.67" in text
    # A paper that reports the metric needs only a cell.
    with paper.reported.open("a") as reported:
        reported.write("t1/row/errors,1,Row <b>,Err.,errors/2class/folds,16.67,,toy/table1/toy/row,\n")
    shown = section(paper, results, run)
    (compared,) = [one for one in shown.comparisons if one.cell.function == "errors"]
    assert compared.verdict == "agrees" and compared.cell.column == "Err."


def test_the_report_of_a_folder_prefers_runs_as_declared(paper, results):
    make(results, config=toy.ToyConfig(shift=0.5))
    declared = make(results)
    make(results, config=toy.ToyConfig(shift=0.4))
    whole = build.from_results([paper], results)
    assert [one.table for one in whole.sections] == ["1"]
    assert whole.sections[0].comparisons[0].verdict == "agrees"
    assert whole.versions["keras"]
    assert declared.id in str(declared.folder(results))


def test_the_report_of_an_empty_folder_is_empty(paper, results):
    results.mkdir()
    assert build.from_results([paper], results).sections == ()
    assert "Nothing has been run yet" in html.render(build.report([]))


def test_conditions_name_the_rows_that_they_hold_for(paper, results):
    first = read_run(make(results).folder(results))
    second = read_run(make(results, config=toy.ToyConfig(shift=0.1), flags=["random weights"]).folder(results))
    second.run["title"] = "Other row"
    lines = build._conditions(paper, [first, second], results)
    assert "toy/2class: 24 utterances, leave one speaker out" in lines
    assert "Random weights (Other row)" in lines
