"""One command's work: from experiments to finished trials, for any paper."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import data_prep
from common.artefacts import Artefact, Artefacts
from common.checksums import Checksums
from common.contract import Context, Experiment, Paper, Pretraining
from common.errors import CorpusAbsent, UserError, unknown
from ser.data_source import CachedFeatures
from ser.options import Options
from ser.pretrained import MissingWeights
from ser.resolving import ConfigResolver
from ser.results.environment import libraries
from ser.splitting import fitting_protocol
from ser.subsets import LoadedSubset, Subsets, check_labels, corpus_and_subset

if TYPE_CHECKING:
    from ser.execution.executor import Failure, Observer, Outcome
    from ser.results.runs import Run


class Session:
    """Prepares and performs the runs of one command; each corpus is read once.

    Args:
        options: the user's choices.
        observer: receives the progress (see `ser.execution.executor.Observer`).
    """

    def __init__(self, options: Options, observer: Observer):
        self.options = options
        self.observer = observer
        self.failures: list[Failure] = []
        self.artefacts = Artefacts(options.cache / "artefacts", libraries())
        self.data_source = CachedFeatures(options.cache, options.jobs, options.skip_bad_audio)
        self.checksums = Checksums(options.cache / "checksums")
        self.subsets = Subsets(options, self.checksums, observer.note)
        self.resolver = ConfigResolver(options, self.artefacts, self.checksums)

    def run_all(self, chosen: Sequence[tuple[Paper, Sequence[Experiment]]]) -> tuple[dict[str, Path], dict[str, str]]:
        """Prepares experiments of some papers and performs their trials together.

        Args:
            chosen: papers with their experiments, in order.

        Returns:
            Run folders by experiment; and, for each experiment whose corpus is not on this machine, why.

        Raises:
            CorpusAbsent: No experiment's corpus is on this machine.
            MissingWeights: Pretrained weights are not on this machine.
            UserError: Nothing could be done.
        """
        pairs = [(paper, experiment) for paper, experiments in chosen for experiment in experiments]
        corpora = sorted({corpus_and_subset(one, self.options.corpus)[0].name for _, one in pairs})
        if self.options.root is not None and len(corpora) > 1:
            raise UserError(
                f"--root names one folder, but these rows need {' and '.join(corpora)}. Choose one with --corpus, "
                "or put them side by side and set SER_CORPORA."
            )
        runs, absent, missing = [], {}, []
        for paper, experiment in pairs:
            try:
                runs.append(self.prepare(paper, experiment))
            except CorpusAbsent as error:
                absent[experiment.id] = str(error)
            except MissingWeights as error:
                missing += error.missing
        if missing:
            raise MissingWeights(missing)
        if not runs and absent:
            raise CorpusAbsent(next(iter(absent.values())))
        self.resolver.check_settings()
        self.observer.runs_planned(runs, self.options.results, redo=self.options.redo)
        self.perform(runs)
        return {run.experiment.id: run.folder(self.options.results) for run in runs}, absent

    def prepare(self, paper: Paper, experiment: Experiment) -> Run:
        """The experiment as it will really run: config resolved, corpus read, folds cut.

        Raises:
            CorpusAbsent: Its corpus is not on this machine.
            MissingWeights: Pretrained weights that its config asks for are not on this machine.
            UserError: Anything else that the user can fix.
        """
        from common.features.store import settings_hash
        from ser.results.runs import Run

        options = self.options
        corpus, subset = corpus_and_subset(experiment, options.corpus)
        # Mistyped settings are told before a corpus is read.
        self.resolver.with_settings(paper, experiment)
        if corpus.own is None:
            self.resolver.protocol(experiment)
        data = self.subsets.load(corpus.name, subset)
        check_labels(experiment, data.loaded)
        protocol = self.resolver.protocol(experiment, fitting_protocol(experiment, corpus, data.loaded.table))
        resolved = self.resolver.config(paper, experiment, protocol.config)
        changes, flags = [*resolved.changes, *protocol.changes], list(resolved.flags)
        if corpus.name != experiment.corpus:
            changes.insert(0, f"on {corpus.name} instead of {experiment.corpus}")
        if type(protocol.config) is not type(experiment.protocol):
            self.observer.note(f"Folds: {protocol.config.name}")
            if corpus.own is None:  # no paper declares how a user's own recordings are cut
                changes.append(f"protocol {protocol.config.name} instead of {experiment.protocol.name}")
        auxiliary, without = self._auxiliary(experiment, corpus.name)
        changes += without
        flags += without
        if auxiliary is not None:
            flags += auxiliary.loaded.flags
        folds = tuple(protocol.config(data.loaded.table))
        chosen = chosen_folds([fold.name for fold in folds], options.folds)
        if resolved.missing:
            raise MissingWeights(resolved.missing)
        extractors = dict(paper.function(paper.features)(resolved.config))
        if auxiliary is not None and paper.auxiliary_features:
            others = paper.function(paper.auxiliary_features)(resolved.config)
            extractors |= {f"auxiliary {name}": extractor for name, extractor in others.items()}
        return Run(
            paper=paper,
            experiment=experiment,
            protocol=protocol.config,
            config=resolved.config,
            corpus=data.loaded.corpus,
            subset=data.loaded.subset,
            table=data.loaded.table,
            fingerprint=data.fingerprint,
            folds=folds,
            chosen=chosen,
            repeats=options.repeats or (paper.scaled_repeats if options.scaled else experiment.repeats),
            flags=(*data.loaded.flags, *flags),
            changes=tuple(changes),
            deterministic=options.deterministic,
            auxiliary=auxiliary.record if auxiliary is not None else None,
            features={name: settings_hash(extractor) for name, extractor in extractors.items()},
            pretrained=resolved.pretrained,
        )

    def _auxiliary(self, experiment: Experiment, corpus: str) -> tuple[LoadedSubset | None, list[str]]:
        """The auxiliary data, and what must be stated if they are not those of the experiment.

        Raises:
            UserError: They are of the corpus that is run on, so that a model would be trained on test speakers.
        """
        wanted = self.options.auxiliary or experiment.auxiliary
        if not wanted or wanted == "none":
            return None, ["without auxiliary data"] if experiment.auxiliary else []
        name, _, subset = wanted.partition("/")
        subset = subset or data_prep.corpus(name).default_subset
        if name == corpus:
            raise UserError(
                f"Auxiliary data must come from another corpus than {corpus}, which the test utterances are from; "
                "choose one with --auxiliary, or --auxiliary none."
            )
        try:
            data = self.subsets.load(name, subset, own_root=False)
        except CorpusAbsent:
            if self.options.auxiliary:
                raise
            return None, [f"without auxiliary data: {name} is not here"]
        changed = [f"auxiliary data {wanted} instead of {experiment.auxiliary}"] if self.options.auxiliary else []
        return data, changed if wanted != experiment.auxiliary else []

    def pretrain(self, paper: Paper, pretraining: Pretraining) -> Artefact:
        """Trains the network that `ser pretrain` asks for, unless it exists already.

        Raises:
            CorpusAbsent: Its corpus is not on this machine.
            MissingWeights: It starts from another pretrained network, which is not on this machine.
            UserError: Anything else that the user can fix.
        """
        from common.features.store import settings_hash

        options = self.options
        resolved = self.resolver.config(paper, paper.experiments[0], pretraining=True)
        if resolved.missing:
            raise MissingWeights(resolved.missing)
        name, _, asked = (options.corpus or pretraining.corpus).partition("/")
        spec = data_prep.corpus(name)
        own = pretraining.subset if pretraining.subset in [one.name for one in spec.subsets] else spec.default_subset
        subset = spec.subset(asked or own).name
        data = self.subsets.load(name, subset)
        changes = list(resolved.changes)
        if (name, subset) != (pretraining.corpus, pretraining.subset):
            changes.insert(0, f"on {name}/{subset} instead of {pretraining.corpus}/{pretraining.subset}")
        extractors = paper.function(pretraining.features)(resolved.config)
        made_of = {
            "paper": paper.name,
            "pretraining": pretraining.name,
            "config": dataclasses.asdict(resolved.config),
            "features": {name: settings_hash(extractor) for name, extractor in extractors.items()},
            **data.record,
            "deterministic": options.deterministic,
        }

        def make(folder: Path) -> dict:
            from common.backend import start_backend

            part = self.data_source.extract(extractors, data.loaded.table, self.observer)
            start_backend()
            from common.training import seed_everything

            seed_everything(0, deterministic=options.deterministic)
            context = Context(seed=0, on_epoch=self.observer.epoch_ended, artefacts=self.artefacts)
            record = paper.function(pretraining.make)(resolved.config, part, folder, context) or {}
            flags = [*(f"not as declared: {change}" for change in changes), *data.loaded.flags, *resolved.flags]
            flags += [*part.flags, *context.flags]
            return {"history": context.history, "seconds": context.seconds, **record, "flags": flags}

        return self.artefacts.get(f"{paper.name}/{pretraining.name}", made_of, make)

    def perform(self, runs: Sequence[Run]) -> Outcome:
        """Performs the trials of runs that are not done yet, then evaluates their yardsticks.

        Raises:
            UserError: Not a single trial could be done, or a disk is full.
        """
        from ser.execution.executor import Job, execute

        options = self.options
        jobs = [
            Job(
                run,
                self._data_source_of(run),
                options.results,
                self.artefacts,
                options.keep_models,
                self.checksums,
                options.redo,
            )
            for run in runs
        ]
        outcome = execute(jobs, self._pool, self.observer)
        if outcome.failures and not outcome.done + outcome.found:
            raise UserError(outcome.failures[0].message)
        self.failures += outcome.failures
        failed = {failure.trial.run.experiment.id for failure in outcome.failures}
        for run in runs:
            if options.yardstick and run.experiment.id not in failed:
                self._evaluate_yardstick(run)
        return outcome

    def _data_source_of(self, run: Run) -> CachedFeatures:
        if run.auxiliary is None:
            return self.data_source
        others = self.subsets.load(run.auxiliary["corpus"], run.auxiliary["subset"], own_root=False).loaded.table
        if run.paper.auxiliary:
            others = run.paper.function(run.paper.auxiliary)(run.config, others)
        return dataclasses.replace(self.data_source, others=others if len(others) else None)

    def _pool(self, trials: int):
        """The workers that the user wants."""
        from ser.execution.resources import Request, threads_environment

        options = self.options
        request = Request(options.workers, options.gpus_per_trial, options.cpus_per_trial, options.deterministic)
        if options.executor == "ray":
            from ser.execution.cluster import RayCluster

            return RayCluster(request, trials, options.results, options.address)
        if options.executor == "local":
            from ser.execution.local import LocalProcesses

            return LocalProcesses(request, trials)
        from ser.execution.in_process import InProcess

        if options.deterministic:
            os.environ.update(threads_environment(1))
        return InProcess()

    def _evaluate_yardstick(self, run: Run) -> None:
        from common.features.gemaps import GemapsFunctionals
        from ser.results import yardstick

        record = json.loads((run.folder(self.options.results) / "run.json").read_bytes())
        file = yardstick.file_of(self.options.results, record)
        if not yardstick.read(file):
            self.observer.note("Yardstick: eGeMAPS + SVM on the same folds")
            functionals = self.data_source.features(run.table, GemapsFunctionals(), self.observer)
            yardstick.evaluate_and_write(file, run.table, functionals, run.folds, run.classes, run.target)


def chosen_folds(names: Sequence[str], choice: str | None) -> tuple[str, ...]:
    """The folds to run: all, the first N, or those named (comma-separated).

    Raises:
        UserError: There are not so many folds, or there is no fold of that name.
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
