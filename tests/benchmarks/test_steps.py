"""What `python -m benchmarks steps` measures, and what it writes into `ser/steps.csv`."""

import csv

from benchmarks import __main__ as command
from benchmarks import steps
from ser import costs, registry


def wrong_rows(rows) -> list[tuple[str, str, str]]:
    """Rows of steps that no experiment needs, and rows without a positive time or without the place of measurement."""
    needed = {(name, step) for name in registry.PAPERS for step in steps.steps_of(registry.paper(name))}
    return [
        key for key, (seconds, where) in rows.items()
        if key[:2] not in needed or key[2] not in costs.DEVICES or not 0 < seconds < 1e4 or not where
    ]  # fmt: skip


def test_every_row_is_the_time_of_a_step_that_some_experiment_needs():
    rows = dict(costs.read_steps())
    assert not wrong_rows(rows), "run `python -m benchmarks steps --write PAPER`"
    planted = {
        ("mtap", "backbone=densenet1690", "cpu"): (1.0, "here"),
        ("mtop", "backbone=densenet169", "cpu"): (1.0, "here"),
        ("mtap", "backbone=densenet169", "tpu"): (1.0, "here"),
        ("mtap", "backbone=densenet169", "gpu"): (0.0, "here"),
        ("mtap", "backbone=resnet50", "gpu"): (1.0, ""),
    }
    assert wrong_rows({**rows, **planted}) == list(planted)


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


def test_write_changes_only_the_rows_of_the_named_paper(tmp_path, monkeypatch, capsys):
    file = tmp_path / "steps.csv"
    before = costs.STEPS.read_bytes()
    file.write_bytes(before)
    monkeypatch.setattr(steps, "STEPS", file)
    monkeypatch.setattr(steps, "measure", lambda paper, wanted: [(step, 1.25) for step in wanted])
    steps.measure_paper(registry.paper("mtap"), write=False)
    assert file.read_bytes() == before
    steps.measure_paper(registry.paper("mtap"), write=True)
    after = file.read_bytes()
    own, others = [
        [[line for line in text.splitlines(keepends=True) if line.startswith(b"mtap,") is wanted]
         for text in (before, after)]
        for wanted in (True, False)
    ]  # fmt: skip
    assert others[0] == others[1]
    rows = list(csv.reader(line.decode() for line in own[1]))
    assert {(row[1], row[3]) for row in rows} == {(step, "1.25") for step in steps.steps_of(registry.paper("mtap"))}
    assert "| mtap, backbone=densenet169 | 1250.00 ms |" in capsys.readouterr().out


def test_a_measurement_agrees_with_the_file_and_not_with_a_wrong_row():
    paper = registry.paper("mtap")
    step = "backbone=small_cnn"
    found = dict(steps.measure(paper, {step: steps.steps_of(paper)[step]}))
    assert set(found) == {step}
    written, _ = costs.read_steps()["mtap", step, "cpu"]

    def plausible(seconds):  # machines differ, but not a hundredfold
        return 0.1 < seconds / found[step] < 10

    assert plausible(written) and not plausible(100 * written) and not plausible(written / 100)


def test_wrong_names_end_in_a_sentence(capsys):
    for names in (["mtop"], ["--wirte"], ["mtap", "mtop"]):
        assert command.main(["steps", *names]) == 2
        assert "There is no paper" in capsys.readouterr().err
