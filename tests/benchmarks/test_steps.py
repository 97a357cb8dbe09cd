"""What `python -m benchmarks steps` measures, and what it writes into `ser/steps.csv`."""

import csv

from benchmarks import __main__ as command
from benchmarks import steps
from ser import costs, registry


def test_every_step_of_every_paper_is_measured_on_a_core():
    wanted = {(name, step, "cpu") for name in registry.PAPERS for step in steps.steps_of(registry.paper(name))}
    found = costs.read_steps()
    assert {key for key in found if key[2] == "cpu"} == wanted, "run `python -m benchmarks steps --write`"
    assert {key[:2] for key in found} == {key[:2] for key in wanted}
    assert all(seconds > 0 and where for seconds, where in found.values())


def test_rows_of_one_paper_are_written_and_all_other_lines_stay():
    head = "paper,step,device,seconds_per_unit,how\n"
    a, c = "a,x,cpu,1,here\n", "c,x,cpu,1.0,\n"
    gpu = 'b,x,gpu,3,"a, b"\n'
    text = f"{head}{a}b,old,cpu,2,here\nb,x,cpu,4,there\n{gpu}{c}"
    found = steps.with_rows(text, "b", [("b", "x", "cpu", "5", "now, here")], {"x", "y"})
    assert found == f'{head}{a}b,x,cpu,5,"now, here"\n{gpu}{c}'
    assert steps.with_rows(text, "d", [("d", "x", "cpu", "1", "")], {"x"}) == f"{text}d,x,cpu,1,\n"
    whole = costs.STEPS.read_text(encoding="utf-8")
    assert steps.with_rows(whole, "mtap", [], steps.steps_of(registry.paper("mtap"))) == whole, "the file is sorted"


def test_write_changes_the_rows_of_the_named_paper_alone(tmp_path, monkeypatch, capsys):
    file = tmp_path / "steps.csv"
    before = costs.STEPS.read_text(encoding="utf-8")
    file.write_text(before, encoding="utf-8")
    monkeypatch.setattr(steps, "STEPS", file)
    monkeypatch.setattr(steps, "measure", lambda paper, wanted: [(step, 1.25) for step in wanted])
    steps.measure_paper(registry.paper("mtap"), write=False)
    assert file.read_text(encoding="utf-8") == before
    steps.measure_paper(registry.paper("mtap"), write=True)
    after = file.read_text(encoding="utf-8")
    changed = [line for line in after.splitlines() if line not in before.splitlines()]
    assert len(changed) == len(steps.steps_of(registry.paper("mtap")))
    assert {(row[0], row[3]) for row in csv.reader(changed)} == {("mtap", "1.25")}
    others = [[line for line in text.splitlines() if not line.startswith("mtap,")] for text in (before, after)]
    assert others[0] == others[1]
    assert "| mtap, backbone=densenet169 frames=600 | 1250.00 ms |" in capsys.readouterr().out


def test_a_fit_is_really_measured():
    paper = registry.paper("mtap")
    (step,) = [step for step in steps.steps_of(paper) if "small_cnn" in step]
    found = dict(steps.measure(paper, {step: steps.steps_of(paper)[step]}))
    assert set(found) == {step} and 1e-4 < found[step] < 0.1, "an utterance takes some milliseconds"


def test_wrong_names_end_in_a_sentence(capsys):
    for names in (["mtop"], ["--wirte"], ["mtap", "mtop"]):
        assert command.main(["steps", *names]) == 2
        assert "There is no paper" in capsys.readouterr().err
