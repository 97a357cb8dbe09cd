"""A complete command, from audio files to report pages, that can be killed before any of its file operations.

SER_CRASH contains a role ("driver" or "worker"), a number n and a flag file: the first process in that role that is
about to do its n-th file operation below the root kills itself, once. SER_CRASH_LOG names a log of all operations.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

from common.contract import Experiment, Paper
from common.files import find
from common.splits import LeaveOneSpeakerOut
from ser.results.reported import COLUMNS
from tests.helpers import toy
from tests.helpers.rated import Loudness

SPEAKERS = ("03", "08", "09", "10")
CHANGES = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree")


@dataclasses.dataclass(frozen=True)
class Config:
    shift: float = 0.0


class CrashPaper(Paper):
    @property
    def reported(self):
        return Path(os.environ["SER_CRASH_ROOT"]).parent / "reported.csv"


def features(config):
    return {"loudness": Loudness()}


def fit(config, train, validation, context):
    def make(folder):
        loudness = np.array([train.features["loudness"][one][0] for one in train.table["utterance"]], np.float64)
        means = [float(loudness[train.labels == k].mean()) for k in np.unique(train.labels)]
        (folder / "means.json").write_text(json.dumps(means))

    made_of = {"config": dataclasses.asdict(config), "train": train.fingerprint, "seed": context.seed}
    artefact = context.artefacts.get("crash/means", made_of, make)
    means = json.loads((artefact.folder / "means.json").read_text())
    context.history["loss"] = [1.0]
    if context.on_epoch:
        context.on_epoch(1, 1, {"loss": 1.0})
    return Fitted(np.array(means), np.unique(train.labels), train.classes, context.seed)


class Fitted:
    def __init__(self, means, present, classes, seed):
        self.means, self.present, self.classes, self.seed = means, present, classes, seed

    def predict(self, part):
        loudness = np.array([part.features["loudness"][one][0] for one in part.table["utterance"]])
        columns = {f"p_{name}": np.zeros(len(loudness)) for name in self.classes}
        for mean, k in zip(self.means, self.present, strict=True):
            noise = np.random.default_rng(self.seed).normal(0, 1e-6, len(loudness))
            columns[f"p_{self.classes[k]}"] = np.exp(-np.abs(loudness - mean)) + noise
        return columns

    def save(self, folder):
        (folder / "model.json").write_text(json.dumps(self.means.tolist()))


PAPER = CrashPaper(
    package=__name__,
    title="A paper that is killed",
    reference="nobody, never",
    experiments=(Experiment("crash/table1/emodb/row", "Row", "emodb", "7class", LeaveOneSpeakerOut(), Config(), 2),),
    features=":features",
    fit=":fit",
    load=":load",
    scaled={},
)


def corpus(folder: Path) -> None:
    """Writes a small EMODB, and the cells that its paper reports."""
    (folder / "emodb" / "wav").mkdir(parents=True)
    for speaker, text, letter in itertools.product(SPEAKERS, ("a01", "a02"), "WT"):
        tone = (0.1 + 0.3 * (letter == "W")) * np.sin(np.arange(4000) * 0.2 * (1 + int(speaker)))
        file = folder / "emodb" / "wav" / f"{speaker}{text}{letter}a.wav"
        soundfile.write(file, tone, 16000, subtype="PCM_16")
    lines = [",".join(COLUMNS), f"t1/ua,1,Row,UA,ua/7class/folds,61.5,,{PAPER.experiments[0].id},"]
    (folder / "reported.csv").write_text("\n".join(lines) + "\n")


def command(folder: Path) -> int:
    """Runs everything: features of a corpus, trials in two workers, and the report."""
    from ser import cli, session
    from ser.options import Options
    from ser.progress import Progress
    from ser.results.report import build

    root = Path(os.environ["SER_CRASH_ROOT"])
    options = Options(
        root=folder / "emodb",
        results=root / "results",
        cache=root / "cache",
        partial=True,
        keep_models=True,
        yardstick=False,
        jobs=1,
        executor="local",
        workers=2,
    )
    with Progress() as observer:
        performing = session.Session(options, observer)
        performing.run_all([(PAPER, PAPER.experiments)])
    report = build.from_results([PAPER], options.results)
    cli.write_pages(report, options.results / "report.html", options.results / "report.md")
    return int(bool(performing.failures))


def watch() -> None:
    """Counts the file operations of this process below the root, and kills it if SER_CRASH says so."""
    role = "driver" if multiprocessing.parent_process() is None else "worker"
    root, numbers = os.environ["SER_CRASH_ROOT"], itertools.count(1)
    wanted, number, flag = os.environ.get("SER_CRASH", "nobody:0:").split(":")
    log = os.environ.get("SER_CRASH_LOG")

    def hook(event, arguments):
        if event not in CHANGES or not str(arguments[0]).startswith(root):
            return
        if event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        count = next(numbers)
        if log:
            with open(log, "a") as file:
                file.write(f"{role} {count} {event} {arguments[0]}\n")
        if (role, count) == (wanted, int(number)):
            try:
                os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


if os.environ.get("SER_CRASH_ROOT"):
    watch()


def run(folder: Path, root: Path, **changes) -> subprocess.CompletedProcess:
    """Runs the command in another process."""
    environment = {**os.environ, "PYTHONPATH": str(toy.ROOT), "TOY_LIGHT": "1"}
    environment |= {"SER_CRASH_ROOT": str(root), **changes}
    program = (
        "import pathlib, sys\nfrom tests.helpers import crash\nfrom ser.cli import guarded\n"
        f"sys.exit(guarded(lambda: crash.command(pathlib.Path({str(folder)!r}))))"
    )
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)


def outcome(root: Path) -> dict[str, object]:
    """Everything that a command writes and that must not depend on how often it was killed."""
    found: dict[str, object] = {"pages": sorted(path.name for path in (root / "results").glob("report.*"))}
    for record in find(root / "results", "trial.json"):
        kept = json.loads(record.read_text())
        name = record.parent.name
        found[f"{name} record"] = {
            key: kept[key] for key in ("seed", "config", "utterances", "audit", "flags", "history")
        }
        for file in ("predictions.parquet", "model/model.json"):
            found[f"{name} {file}"] = (record.parent / file).read_bytes()
    for entry in sorted((root / "cache").rglob("*")):
        # Checksums of files that are seconds old are not kept (see `common.checksums`).
        kept = entry.name != "artefact.json" and entry.parent.name != "checksums"
        if entry.is_file() and entry.suffix in (".npy", ".json") and kept:
            found[str(entry.relative_to(root))] = entry.read_bytes()
    markdown = (root / "results" / "report.md").read_text()
    found["report"] = [line for line in markdown.splitlines() if not line.startswith("Made")]
    return found
