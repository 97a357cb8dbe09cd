"""All runs of an experiment side by side: `ser report --runs` and `ser.runs`."""

import io
import json

import pytest
from rich.console import Console

import ser
from common.errors import UserError
from ser import cli, registry
from ser.results.report import side_by_side
from ser.results.reported import COLUMNS
from tests.helpers import toy

ROW = "toy/table1/toy/row"


@pytest.fixture(autouse=True)
def _toy(tmp_path, monkeypatch):
    monkeypatch.setattr("common.training.clear_models", lambda: None)
    lines = [",".join(COLUMNS), f"t1/row/wa,1,Row,WA,wa/2class/folds,83.33,0.05,{ROW},"]
    lines += [f"fig1/row/wa,fig1,Row,Accuracy,wa/2class/folds,80,,{ROW},"]
    (tmp_path / "reported.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(type(toy.PAPER), "reported", property(lambda self: tmp_path / "reported.csv"))
    monkeypatch.setattr(registry, "paper_of", lambda experiment: toy.PAPER)


def make(results, run=None, **keywords):
    run = run or toy.run(**keywords)
    toy.execute([run], results)
    return run


def test_every_run_is_a_row_with_what_it_is_and_its_metrics(tmp_path):
    ablation = make(tmp_path, config=toy.ToyConfig(sleep_s=0.001), folds=3)
    scaled = make(tmp_path, config=toy.ToyConfig(shift=0.5), repeats=1)
    declared = make(tmp_path)
    found = ser.runs("toy/table1", tmp_path)
    assert found["column"].tolist() == ["WA", "macro F1", "weighted F1"] * 3
    first = found[found["metric"] == "wa/2class/folds"].reset_index(drop=True)
    assert first["run"].tolist() == [declared.id, scaled.id, ablation.id]
    assert first["condition"].tolist() == ["as declared", "scaled", "modified, incomplete (6 of 8)"]
    details = [
        "",
        "Scaled: shift = 0.5 instead of 0.0",
        "Modified: sleep_s = 0.001 instead of 0.0; Incomplete: 6 of 8 trials",
    ]
    assert first["details"].tolist() == details
    assert (first["trials"].tolist(), first["seeds"].tolist()) == ([8, 4, 6], [2, 1, 2])
    assert first["measured"].round(2).tolist() == [83.33, 50.0, 83.33]

    stream = io.StringIO()
    side_by_side.show(ROW, tmp_path, Console(file=stream, width=120))
    text = " ".join(stream.getvalue().split())
    assert all(run.id in text for run in (declared, scaled, ablation))
    assert f"{ablation.id}: Modified: sleep_s = 0.001 instead of 0.0. Incomplete: 6 of 8 trials" in text
    assert f"{declared.id}: As declared" in text and "83.33 ± 0.00" in text


def test_runs_that_differ_only_in_what_computed_them_are_told_apart(tmp_path):
    for backend, config in (("jax", toy.ToyConfig()), ("tensorflow", toy.ToyConfig(sleep_s=0.001))):
        file = make(tmp_path, config=config, repeats=1).folder(tmp_path) / "run.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "backend": backend, "features": {"a": backend}}))
    details = set(ser.runs(ROW, tmp_path)["details"])
    assert len(details) == 2 and all("backend jax" in one or "backend tensorflow" in one for one in details)
    assert all("; features " in one and "fingerprint" not in one for one in details)


def test_the_command_prints_runs_and_writes_no_page(tmp_path, capsys):
    run = make(tmp_path, repeats=1)
    assert cli.main(["report", "--runs", "toy", "--results", str(tmp_path)]) == 0
    assert run.id in capsys.readouterr().out and not (tmp_path / "report.html").exists()
    assert cli.main(["report", "--runs", "toy/table1/toy/raw", "--results", str(tmp_path)]) == 2
    assert f"There is no experiment 'toy/table1/toy/raw'. Did you mean {ROW}?" in capsys.readouterr().err


def test_a_run_of_an_experiment_that_is_no_longer_declared_is_shown(tmp_path):
    folder = make(tmp_path, repeats=1).folder(tmp_path)
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "experiment": "toy/table1/toy/gone"}))
    (tmp_path / "toy/table1/toy/gone").mkdir()
    folder.rename(tmp_path / "toy/table1/toy/gone" / folder.name)
    ((row,),) = side_by_side.rows("toy/table1/toy/gone", tmp_path).values()
    assert row.condition.label == "declared differently today, incomplete (4 of 8)" and row.measured == ()


def test_mistakes_are_explained(tmp_path):
    with pytest.raises(UserError, match=f"holds no finished trial of toy/table1. `ser run {ROW}` makes some"):
        ser.runs("toy/table1", tmp_path)
    with pytest.raises(UserError, match=f"no experiment 'toy/table1/toy/raw'. Did you mean {ROW}"):
        ser.runs("toy/table1/toy/raw", tmp_path)
    with pytest.raises(UserError, match="no results folder"):
        ser.runs(ROW, tmp_path / "nowhere")
