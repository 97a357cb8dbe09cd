"""From an experiment's name to finished trials: what `ser run` and `ser reproduce` do, for any paper."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import data_prep
from common.artefacts import Artefact, Artefacts
from common.errors import CorpusAbsent, UserError, unknown
from common.experiments import Experiment, Paper, Pretraining, by_name, override
from papers.material import Material
from papers.options import Options, add_run_options, options_from

if TYPE_CHECKING:
    from common.executor import Failure, Outcome


@dataclass(frozen=True)
class Data:
    """A loaded subset and what was found in it; shared by all experiments of one command that use it."""

    loaded: data_prep.Loaded
    fingerprint: str

    @property
    def described(self) -> dict[str, str]:
        """Which data these are."""
        corpus, subset = self.loaded.corpus.name, self.loaded.subset.name
        return {"corpus": corpus, "subset": subset, "fingerprint": self.fingerprint}


class Session:
    """One command: loads each corpus once, prepares runs and performs them.

    Args:
        options: the person's choices.
        observer: is told of progress (see `common.executor.Observer`, with `planned` besides).
    """

    def __init__(self, options: Options, observer: Any):
        self.options = options
        self.observer = observer
        self.failures: list[Failure] = []
        self._data: dict[tuple[str, str], Data] = {}
        self._resolved: dict[Any, tuple[Any, list[str]]] = {}
        self._newest: dict[tuple, Artefact | None] = {}
        self.artefacts = Artefacts(options.cache / "artefacts")
        self.material = Material(options.cache, options.jobs, options.skip_bad_audio)

    def prepare(self, paper: Paper, experiment: Experiment):
        """The experiment as it will really run.

        Raises:
            CorpusAbsent: its corpus is not here.
            UserError: anything else the user can mend.
        """
        from common.trials import Run

        options = self.options
        corpus, subset = target(experiment, options.corpus)
        config, changes, flags = self._config(paper, experiment)
        protocol = override(experiment.protocol, _for_protocol(options.changes))
        changes += differences(protocol, experiment.protocol)
        if corpus.name != experiment.corpus:
            changes.insert(0, f"on {corpus.name} instead of {experiment.corpus}")
        data = self._load(corpus.name, subset)
        check_labels(experiment, data.loaded)
        auxiliary, without = self._auxiliary(experiment, corpus.name)
        changes += without
        flags += without
        if auxiliary is not None:
            flags += auxiliary.loaded.flags
        folds = tuple(protocol(data.loaded.table))
        repeats = options.repeats or (paper.scaled_repeats if options.scaled else experiment.repeats)
        return Run(
            paper=paper,
            experiment=experiment,
            protocol=protocol,
            config=config,
            corpus=data.loaded.corpus,
            subset=data.loaded.subset,
            table=data.loaded.table,
            fingerprint=data.fingerprint,
            folds=folds,
            chosen=chosen_folds([fold.name for fold in folds], options.folds),
            repeats=repeats,
            flags=(*data.loaded.flags, *flags),
            changes=tuple(changes),
            deterministic=options.deterministic,
            auxiliary=auxiliary.described if auxiliary is not None else None,
        )

    def _auxiliary(self, experiment: Experiment, corpus: str) -> tuple[Data | None, list[str]]:
        """The data to learn from besides, and what must be said if they are not those of the experiment.

        Raises:
            UserError: the corpus that is run on, whose test speakers must stay unheard.
        """
        wanted = self.options.auxiliary or experiment.auxiliary
        if not wanted or wanted == "none":
            return None, ["without auxiliary data"] if experiment.auxiliary else []
        name, _, subset = wanted.partition("/")
        subset = subset or data_prep.corpus(name).default_subset
        if name == corpus:
            raise UserError(
                f"Auxiliary data must be of another corpus than {corpus}, which the test utterances are from; "
                "choose one with --auxiliary, or --auxiliary none."
            )
        try:
            data = self._load(name, subset, own_root=False)
        except CorpusAbsent:
            if self.options.auxiliary:
                raise
            return None, [f"without auxiliary data: {name} is not here"]
        changed = [f"auxiliary data {wanted} instead of {experiment.auxiliary}"] if self.options.auxiliary else []
        return data, changed if wanted != experiment.auxiliary else []

    def _config(self, paper: Paper, experiment: Experiment) -> tuple[Any, list[str], list[str]]:
        """Config, how it differs from the declared one (in words), and flags."""
        by_hand = {name: value for name, value in self.options.changes.items() if not name.startswith(PROTOCOL)}
        wanted = override(experiment.config, by_hand)
        if self.options.scaled:
            # What a person sets by hand wins over the scaled settings.
            wanted = override(wanted, {name: value for name, value in paper.scaled.items() if name not in by_hand})
        flags: list[str] = []
        if paper.resolve:
            if wanted not in self._resolved:
                self._resolved[wanted] = paper.call("resolve")(wanted)
            wanted, flags = self._resolved[wanted]
        changes = differences(wanted, experiment.config)
        for pretraining in paper.pretrainings:
            # A digest in the place of "newest" is what the experiment asks for and no change of it.
            wanted, more, wrong = self._pretrained(paper, pretraining, wanted)
            flags, changes = [*flags, *more], changes + wrong
        return wanted, changes, list(flags)

    def _pretrained(self, paper: Paper, pretraining: Pretraining, config: Any) -> tuple[Any, list[str], list[str]]:
        """A config that names the pretrained network it will use; flags; what keeps it from being the paper's."""
        asked = getattr(config, pretraining.field)
        if asked != "newest":
            return config, [], []
        matching = {name: getattr(config, name) for name in pretraining.matching}
        # Whether an artefact is whole is found by reading it: once a command, not once an experiment.
        key = paper.name, pretraining.name, *matching.items()
        if key not in self._newest:
            self._newest[key] = self.artefacts.newest(f"{paper.name}/{pretraining.name}", matching)
        found = self._newest[key]
        if found is None:
            command = f"ser pretrain {paper.name} {pretraining.name}"
            flag = f"random weights: no {pretraining.title} is here (`{command}` makes one)"
            return config, [flag], [f"{pretraining.title} of random weights"]
        learnt = f"{pretraining.title} {found.digest}, learnt on {found.made_of['corpus']}/{found.made_of['subset']}"
        told = found.record.get("flags", [])
        flags = [f"{learnt}: {flag}" for flag in told] or [learnt]
        wrong = any(flag.startswith(("not as declared", "partial", "bad audio", "synthetic")) for flag in told)
        changes = [f"{pretraining.title} not made as the paper's"] if wrong else []
        return dataclasses.replace(config, **{pretraining.field: found.digest}), flags, changes

    def pretrain(self, paper: Paper, pretraining: Pretraining) -> Artefact:
        """Trains what `ser pretrain` asks for, unless it is there already.

        Raises:
            CorpusAbsent: its corpus is not here.
            UserError: anything else the user can mend.
        """
        from common.experiments import Context

        options = self.options
        config, changes, flags = self._config(paper, paper.experiments[0])
        name, _, asked = (options.corpus or pretraining.corpus).partition("/")
        spec = data_prep.corpus(name)
        own = pretraining.subset if pretraining.subset in [one.name for one in spec.subsets] else spec.default_subset
        subset = spec.subset(asked or own).name
        data = self._load(name, subset)
        flags = [*data.loaded.flags, *flags]
        if (name, subset) != (pretraining.corpus, pretraining.subset):
            changes = [f"on {name}/{subset} instead of {pretraining.corpus}/{pretraining.subset}", *changes]
        made_of = {
            "paper": paper.name,
            "pretraining": pretraining.name,
            "config": dataclasses.asdict(config),
            **data.described,
            "deterministic": options.deterministic,
        }

        def make(folder: Path) -> dict:
            from common.backend import start_backend

            extractors = by_name(pretraining.features)(config)
            part = self.material.extracted(extractors, data.loaded.table, self.observer)
            start_backend()
            from common.training import seed_everything

            seed_everything(0, deterministic=options.deterministic)
            context = Context(seed=0, on_epoch=self.observer.epoch_ended, artefacts=self.artefacts)
            record = by_name(pretraining.make)(config, part, folder, context) or {}
            found = [*(f"not as declared: {change}" for change in changes), *flags, *part.flags, *context.flags]
            return {"history": context.history, "seconds": context.seconds, **record, "flags": found}

        return self.artefacts.get(f"{paper.name}/{pretraining.name}", made_of, make)

    def _load(self, corpus: str, subset: str, own_root: bool = True) -> Data:
        from common.corpus import fingerprint

        key = (corpus, subset)
        if key not in self._data:
            self.observer.note(f"Reading {corpus}/{subset}")
            root = self.options.root if own_root else None
            loaded = data_prep.load(corpus, subset, root, partial=self.options.partial)
            self._data[key] = Data(loaded, fingerprint(loaded.table))
        return self._data[key]

    def perform(self, runs: Sequence) -> Outcome:
        """Performs the trials of runs that are not done yet, then their yardsticks."""
        from common.executor import Job, execute

        options = self.options
        jobs = [Job(run, self._source(run), options.results, self.artefacts, options.keep_models) for run in runs]
        outcome = execute(jobs, self._pool, self.observer)
        if outcome.failures and not outcome.done + outcome.found:
            raise UserError(outcome.failures[0].message)
        self.failures += outcome.failures
        failed = {failure.trial.run.experiment.id for failure in outcome.failures}
        for run in runs:
            if options.yardstick and run.experiment.id not in failed:
                self._yardstick(run)
        return outcome

    def _source(self, run) -> Material:
        if run.auxiliary is None:
            return self.material
        others = self._data[run.auxiliary["corpus"], run.auxiliary["subset"]].loaded.table
        return dataclasses.replace(self.material, others=others)

    def _pool(self, trials: int):
        """Workers, where the person wants them."""
        from common.resources import Request

        options = self.options
        request = Request(options.workers, options.gpus_per_trial, options.cpus_per_trial, options.deterministic)
        if options.executor == "ray":
            from common.pools.cluster import Cluster

            return Cluster(request, trials, options.results, options.address)
        if options.executor == "local":
            from common.pools.local import Local

            return Local(request, trials)
        from common.pools.here import Here
        from common.resources import threads_environment

        if options.deterministic:
            os.environ.update(threads_environment(1))
        return Here()

    def _yardstick(self, run) -> None:
        import json

        from common import yardstick
        from common.features.gemaps import GemapsFunctionals

        described = json.loads((run.folder(self.options.results) / "run.json").read_bytes())
        file = yardstick.file_of(self.options.results, described)
        if not yardstick.read(file):
            self.observer.note("Yardstick: eGeMAPS + SVM on the same folds")
            functionals = self.material.features(run.table, GemapsFunctionals(), self.observer)
            yardstick.write(file, run.table, functionals, run.folds, run.classes, run.target)


PROTOCOL = "protocol."
"""Prefix of `--set` names that change the protocol and not the config."""


def _for_protocol(changes: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix(PROTOCOL): value for name, value in changes.items() if name.startswith(PROTOCOL)}


def differences(actual: Any, declared: Any) -> list[str]:
    """How a config or protocol differs from the declared one, in words."""
    return [
        f"{item.name} = {getattr(actual, item.name)} instead of {getattr(declared, item.name)}"
        for item in dataclasses.fields(actual)
        if getattr(actual, item.name) != getattr(declared, item.name)
    ]


def target(experiment: Experiment, corpus: str | None):
    """Corpus and subset an experiment runs on: its own, or another corpus' subset of the same name, or its default one.

    Raises:
        UserError: no such corpus, or one without emotions for an experiment that learns them.
    """
    spec = data_prep.corpus(corpus or experiment.corpus)
    names = [subset.name for subset in spec.subsets]
    subset = experiment.subset if experiment.subset in names else spec.default_subset
    own = data_prep.corpus(experiment.corpus).subset(experiment.subset)
    if not experiment.target.dimensions and own.classes and not spec.subset(subset).classes:
        raise UserError(f"{experiment.id} learns emotions, and {spec.name}/{subset} has no emotion labels.")
    return spec, subset


def check_labels(experiment: Experiment, loaded: data_prep.Loaded) -> None:
    """Refuses a corpus that was not rated on what the experiment predicts.

    Raises:
        UserError: an utterance has no such label.
    """
    for column in experiment.target.needs:
        missing = int(loaded.table[column].isna().sum())
        if missing:
            raise UserError(
                f"{experiment.id} learns {column}, which {missing} of {len(loaded.table)} utterances of "
                f"{loaded.corpus.name}/{loaded.subset.name} are not labelled with. Choose another --corpus."
            )


def chosen_folds(names: Sequence[str], choice: str | None) -> tuple[str, ...]:
    """The folds to run: all, the first N, or those named (comma-separated).

    Raises:
        UserError: there are not so many, or no fold of that name.
    """
    if choice is None:
        return tuple(names)
    if choice.isdigit():
        if not 0 < int(choice) <= len(names):
            raise UserError(f"--folds {choice}: the protocol has {len(names)} folds.")
        return tuple(names[: int(choice)])
    wanted = choice.split(",")
    for name in wanted:
        if name not in names:
            raise unknown("fold", name, names)
    return tuple(wanted)


def perform_all(
    session: Session, chosen: Sequence[tuple[Paper, Sequence[Experiment]]]
) -> tuple[dict[str, Path], dict[str, str]]:
    """Prepares experiments of some papers and performs them together.

    Args:
        session: the command.
        chosen: papers with their experiments, in order.

    Returns:
        Run folders by experiment, and for experiments whose corpus is not here, why.

    Raises:
        CorpusAbsent: no experiment's corpus is here.
        UserError: nothing could be done.
    """
    pairs = [(paper, experiment) for paper, experiments in chosen for experiment in experiments]
    corpora = sorted({target(experiment, session.options.corpus)[0].name for _, experiment in pairs})
    if session.options.root is not None and len(corpora) > 1:
        raise UserError(
            f"--root names one folder, but these rows need {' and '.join(corpora)}. Choose one with --corpus, "
            "or put them side by side and set SER_CORPORA."
        )
    runs, absent = [], {}
    for paper, experiment in pairs:
        try:
            runs.append(session.prepare(paper, experiment))
        except CorpusAbsent as error:
            absent[experiment.id] = str(error)
    if not runs and absent:
        raise CorpusAbsent(next(iter(absent.values())))
    session.observer.planned(runs, session.options.results)
    session.perform(runs)
    return {run.experiment.id: run.folder(session.options.results) for run in runs}, absent


def tell_failures(failures: Sequence[Failure]) -> int:
    """Says which trials failed and why, below everything else.

    Returns:
        The exit code: 1 if any did.
    """
    for line in summary(failures):
        print(f"ser: {line}", file=sys.stderr)
    return int(bool(failures))


def summary(failures: Sequence[Failure]) -> list[str]:
    """A line a reason, with the trials it stopped."""
    trials: dict[str, list[str]] = {}
    for failure in failures:
        trial = failure.trial
        trials.setdefault(failure.message, []).append(f"{trial.run.experiment.id} {trial.name}")
    lines = []
    for message, names in trials.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        lines.append(f"{names[0]}{more} failed: {message}")
    return lines


def guarded(command: Callable[[], int], kept: str = "Finished trials are kept") -> int:
    """Runs a command; what the user can mend becomes one message and exit code 2, an interruption 130 or 143.

    Args:
        command: gives the exit code.
        kept: what an interruption leaves, for its message.
    """
    stopped_by = []

    def stop(number, frame):
        stopped_by.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        return command()
    except UserError as error:
        print(f"ser: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of our output went away (`ser list | head`); nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print(f"\nser: stopped. {kept}; the same command goes on from here.", file=sys.stderr)
        return 128 + (stopped_by[0] if stopped_by else signal.SIGINT)


def run_one(paper: Paper, name: str, options: Options) -> int:
    """`ser run`: one experiment, then its cells beside the reported ones."""
    from common.report import build, terminal
    from papers.progress import Progress

    experiment = paper.experiment(name)
    with Progress() as observer:
        session = Session(options, observer)
        folders, _ = perform_all(session, [(paper, [experiment])])
    runs = {name: build.read_run(folder) for name, folder in folders.items()}
    shown = build.section(paper, experiment.table, runs, (), options.results, only={experiment.id})
    terminal.show(build.report([shown]))
    return tell_failures(session.failures)


def train_main(paper: Paper, argv: Sequence[str] | None = None) -> int:
    """`python -m papers.NAME.train EXPERIMENT [options]`, the same as `ser run`."""
    import argparse

    parser = argparse.ArgumentParser(prog=f"python -m papers.{paper.name}.train", description=paper.title)
    parser.add_argument("experiment", help=f"for example {paper.experiments[0].id}")
    add_run_options(parser)
    arguments = parser.parse_args(argv)
    return guarded(lambda: run_one(paper, arguments.experiment, options_from(arguments)))
