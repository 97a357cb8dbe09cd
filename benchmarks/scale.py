"""What grows with the data: utterance table, cache, fitting the yardstick, trials on disk and in a report.

docs/scale.md is based on these numbers. All data are generated: a table like IEMOCAP's, spectrograms of its mean
duration, 88 functionals of four overlapping classes, and trials with 456 test utterances, ten times and a hundred times
as many.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.measure import Figure, cache_entry, figure, timed
from common.files import checksum

ROWS = 100_000
ENTRIES, FRAMES, BINS = 300, 455, 400
"""Spectrograms of 4.55 s."""
FITTED = (1250, 2500, 5000)
"""Utterances that the yardstick's SVM is fitted on."""
TRIALS, TESTED = 40, (456, 4_560, 45_600)
CLASSES = ("angry", "happy", "neutral", "sad")
REPORTED = 1000
"""Trials of the report that is timed."""


def main() -> Iterator[Figure]:
    """All figures; each takes a few seconds."""
    yield figure("a row of the utterance table", [_table_bytes() / ROWS], "bytes")
    with tempfile.TemporaryDirectory() as name:
        yield figure(
            "a spectrogram of 4.55 s from the cache, checked", [1e3 * one for one in _entries(Path(name))], "ms"
        )
    found = _yardstick()
    for count, seconds in zip(FITTED, found, strict=True):
        yield figure(f"yardstick: an SVM fitted on {count:,} utterances", [seconds], "s")
    power = float(np.log2(found[-1] / found[0]) / np.log2(FITTED[-1] / FITTED[0]))
    yield figure("yardstick: exponent of the number of utterances in its time", [power], "")
    yield figure("folds: memory per utterance and fold", [_fold_bytes()], "bytes")
    for tested in TESTED:
        with tempfile.TemporaryDirectory() as name:
            yield from _trials(Path(name), tested)
    with tempfile.TemporaryDirectory() as name:
        yield figure(f"a report of {REPORTED:,} trials of 456 test utterances", _report(Path(name)), "s")


def _table_bytes() -> int:
    from common.corpus import build_table

    rows = [
        {
            "utterance": f"Ses01F_impro{n:06d}_F000", "path": f"/corpora/iemocap/Session1/sentences/wav/{n:06d}.wav",
            "speaker": f"Ses0{n % 5}F", "gender": "female", "session": str(n % 5), "dialogue": f"Ses01F_{n // 40:05d}",
            "text": f"so this sentence has about the {n} words of one that people say to each other",
            "emotion": "neutral", "valence": 3.0, "arousal": 3.0, "dominance": 3.0, "duration": 4.55,
        }
        for n in range(ROWS)
    ]  # fmt: skip
    return int(build_table(rows, "scale").memory_usage(deep=True).sum())


def _entries(folder: Path) -> list[float]:
    """Seconds to read each entry; they were just written, so the system reads them from memory, not from disk."""
    from common.features.store import Features

    entry = cache_entry(np.random.default_rng(0).standard_normal((FRAMES, BINS), np.float32))
    paths = {str(number): folder / f"{number}.npy" for number in range(ENTRIES)}
    for path in paths.values():
        path.write_bytes(entry)
    features = Features(paths, {})
    return [timed(lambda name=name: features[name], 1)[0] for name in paths]


def _yardstick() -> list[float]:
    from ser.results.yardstick import classifier

    generator = np.random.default_rng(0)
    seconds = []
    for count in (100, *FITTED):  # the first fit also imports
        labels = generator.integers(0, 4, count)
        features = generator.standard_normal((count, 88)) + 0.1 * np.eye(4)[labels] @ generator.standard_normal((4, 88))
        started = time.process_time()
        classifier().fit(features, labels)
        seconds.append(time.process_time() - started)
    return seconds[1:]


def _fold_bytes() -> float:
    """Bytes of memory per utterance and fold, for ten folds."""
    import tracemalloc

    import pandas as pd

    from common.splits import StratifiedKFold

    rows = {"utterance": [f"Ses01F_impro{n:06d}_F000" for n in range(5531)], "speaker": [n % 10 for n in range(5531)]}
    table, protocol = pd.DataFrame(rows), StratifiedKFold(10, by="speaker", validation="fold")
    protocol(table)  # imports
    tracemalloc.start()
    folds = protocol(table)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return taken / len(table) / len(folds)


def _trials(folder: Path, tested: int) -> Iterator[Figure]:
    """Size of a trial on disk and in memory, and the time to read it."""
    from ser.results.reading import read_run

    files, size = _write_trials(folder, tested)
    yield figure(f"a trial of {tested:,} test utterances on disk, {files} files", [size / 1e3], "kB")
    size = read_run(folder).predictions[0].memory_usage(deep=True).sum()
    yield figure(f"a trial of {tested:,} in a report's memory, per utterance", [size / tested], "bytes")
    each = [1e3 * seconds / TRIALS for seconds in timed(lambda: read_run(folder), 3)]
    yield figure(f"a trial of {tested:,} read for a report", each, "ms")


def _write_trials(folder: Path, tested: int) -> tuple[int, int]:
    """Writes trials as `ser.results.trials.perform` does; returns the number of files and the bytes of one."""
    from common.files import write_json
    from ser.results.runs import FORMAT

    generator = np.random.default_rng(0)
    write_json(folder / "run.json", {"format": FORMAT, "folds": ["fold"], "declared_repeats": TRIALS})
    for number in range(TRIALS):
        _write_trial(folder, generator, "fold", number, tested)
    files = list((folder / "fold--0").iterdir())
    return len(files), sum(file.stat().st_size for file in files)


def _write_trial(folder: Path, generator: np.random.Generator, fold: str, repeat: int, tested: int) -> None:
    """Writes one trial with two test speakers."""
    import pandas as pd

    from common.files import write_json

    trial = folder / f"{fold}--{repeat}"
    trial.mkdir(parents=True)
    table = {
        "utterance": [f"Ses01F_impro01_F{n:03d}" for n in range(tested)],
        "speaker": [f"{fold}{n % 2}" for n in range(tested)],
        "label": np.array(CLASSES, object)[generator.integers(0, 4, tested)],
    }
    shares = generator.dirichlet(np.ones(4), tested)
    table |= {f"p_{name}": shares[:, column] for column, name in enumerate(CLASSES)}
    pd.DataFrame(table).to_parquet(trial / "predictions.parquet", index=False)
    write_json(
        trial / "trial.json",
        {
            "fold": fold, "repeat": repeat, "predictions": checksum(trial / "predictions.parquet"),
            "history": {name: generator.random(50).tolist() for name in ("loss", "validation")},
            "versions": {"python": "3.12", "keras": "3"}, "flags": [], "audit": {}, "finished": "2024-01-01T00:00:00",
        },
    )  # fmt: skip


def _report(folder: Path) -> list[float]:
    """Seconds for the report of a results folder, as `ser report` writes it."""
    from ser.registry import paper
    from ser.results.report import build

    _write_runs(folder)
    return timed(lambda: build.from_results([paper("mtap")], folder).html(), 3)


def _write_runs(folder: Path) -> None:
    """Writes complete runs, as declared, of five folds and five repeats each, of mtap's experiments."""
    from dataclasses import asdict

    from common.files import write_json
    from ser.registry import paper
    from ser.results.runs import FORMAT, as_record

    generator = np.random.default_rng(0)
    folds = [f"session-{session}" for session in range(1, 6)]
    for experiment in paper("mtap").experiments[: REPORTED // 25]:
        run = folder / experiment.id / "run"
        for fold in folds:
            for repeat in range(1, 6):
                _write_trial(run, generator, fold, repeat, 456)
        record = {
            "format": FORMAT, "experiment": experiment.id, "title": experiment.title, "corpus": experiment.corpus,
            "subset": experiment.subset, "synthetic": False, "classes": CLASSES, "dimensions": [], "folds": folds,
            "declared_repeats": 5, "config": asdict(experiment.config), "protocol": as_record(experiment.protocol),
            "protocol_name": experiment.protocol.name, "target": as_record(experiment.target), "utterances": 2280,
            "flags": [], "changes": [], "fingerprint": "",
        }  # fmt: skip
        write_json(run / "run.json", record)
