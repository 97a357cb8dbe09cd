"""From a declared config to the one that will really run, with every difference in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.artefacts import Artefact, Artefacts
from common.checksums import Checksums
from common.contract import Experiment, Paper, PretrainedWeights, Pretraining, override, without_effect
from common.errors import UserError
from ser.options import Options
from ser.pretrained import Record, how_to_get, how_to_make, record_of, record_of_artefact, weights_of

PROTOCOL = "protocol."
"""Prefix of `--set` names that change the protocol instead of the config."""


@dataclass(frozen=True)
class Resolved:
    """A config as it will run.

    Attributes:
        config: the config.
        changes: how it differs from the declared one, in words; empty if it does not.
        flags: what every result must state ("random weights", ...).
        pretrained: what it starts from: title, name and checksum (see `ser.pretrained`).
        missing: pretrained weights that it asks for and that are not here, each with how to get it.
    """

    config: Any
    changes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    pretrained: tuple[Record, ...] = ()
    missing: tuple[str, ...] = ()


class ConfigResolver:
    """Resolves the configs of one command's experiments.

    Args:
        options: the user's choices.
        artefacts: where pretrained networks are looked up.
        checksums: of pretrained files.
    """

    def __init__(self, options: Options, artefacts: Artefacts, checksums: Checksums):
        self.options = options
        self.artefacts = artefacts
        self.checksums = checksums
        self.with_effect: set[str] = set()
        self._newest: dict[tuple, Artefact | None] = {}
        self._records: dict[PretrainedWeights, Record] = {}

    def config(
        self, paper: Paper, experiment: Experiment, protocol: Any = None, *, pretraining: bool = False
    ) -> Resolved:
        """The experiment's config with the user's settings, the scaled settings, and what this machine can offer.

        A setting that has no effect on this experiment keeps its declared value, so that it is not listed as a
        difference (see `check_settings`).

        Args:
            paper: the paper.
            experiment: one of its experiments.
            protocol: that cuts the folds; None: the experiment's own.
            pretraining: the config is for `ser pretrain`, which settings affect that the experiment does not use.

        Raises:
            UserError: A setting names no field, or has a value that the field cannot hold.
        """
        config, by_hand = self.with_settings(paper, experiment), self._by_hand
        if pretraining:
            self.with_effect |= by_hand.keys()
        else:
            protocol = self.protocol(experiment).config if protocol is None else protocol
            self.with_effect |= by_hand.keys() - without_effect(config, protocol)
            config = keep_declared(config, experiment.config, protocol)
        allowed = self.options.allow_random_weights or self.options.scaled
        flags, found, missing = [], [], []
        for weights in weights_of(paper, config):
            if weights.random:
                flags.append(f"random weights: {weights.title}")
            elif not weights.missing:
                found.append(self._record(weights))
            elif allowed:
                config = dataclasses.replace(config, **weights.fallback)
                flags.append(f"random weights, because these are not here: {how_to_get(weights)}")
            else:
                missing.append(how_to_get(weights))
        resolved = Resolved(config, (), tuple(flags), tuple(found), tuple(missing))
        problems: list[str] = []
        for one in paper.pretrainings:
            resolved, own = self._with_pretrained(paper, one, resolved, allowed)
            problems += own
        declared = dataclasses.replace(experiment.config, **_digests(paper, experiment.config, resolved.config))
        return dataclasses.replace(resolved, changes=(*differences(resolved.config, declared), *problems))

    def with_settings(self, paper: Paper, experiment: Experiment) -> Any:
        """The experiment's config with the user's settings and the scaled settings; nothing is looked up.

        Raises:
            UserError: A setting names no field, or has a value that the field cannot hold.
        """
        config = override(experiment.config, self._by_hand)
        if self.options.scaled:
            # What the user sets by hand overrides the scaled settings.
            scaled = {name: value for name, value in paper.scaled.items() if name not in self._by_hand}
            config = override(config, scaled)
        return config

    @property
    def _by_hand(self) -> dict[str, Any]:
        """The user's settings of configs."""
        return {name: value for name, value in self.options.settings.items() if not name.startswith(PROTOCOL)}

    def check_settings(self) -> None:
        """Refuses settings that had no effect on any experiment whose config was resolved.

        Raises:
            UserError: There is such a setting.
        """
        names = [name for name in self.options.settings if not name.startswith(PROTOCOL)]
        idle = [name for name in names if name not in self.with_effect]
        if idle:
            raise UserError(
                f"--set {idle[0]}={self.options.settings[idle[0]]} has no effect here: with the other settings, "
                f"{idle[0]} is not used. Leave it out, or change the setting that it depends on as well."
            )

    def protocol(self, experiment: Experiment, fitting: Any = None) -> Resolved:
        """The experiment's protocol, or the one that takes its place on another corpus, with the user's settings.

        Args:
            experiment: the experiment.
            fitting: see `ser.splitting.fitting_protocol`; None: the experiment's own.

        Raises:
            UserError: A setting names no field, or has a value that the field cannot hold.
        """
        settings = {
            name.removeprefix(PROTOCOL): value
            for name, value in self.options.settings.items()
            if name.startswith(PROTOCOL)
        }
        used = experiment.protocol if fitting is None else fitting
        protocol = override(used, settings)
        return Resolved(protocol, tuple(differences(protocol, used)))

    def _with_pretrained(
        self, paper: Paper, pretraining: Pretraining, resolved: Resolved, allowed: bool
    ) -> tuple[Resolved, list[str]]:
        """A config that names the pretrained network it will use instead of "newest", and what is wrong with that."""
        config, title = resolved.config, pretraining.title
        chosen = getattr(config, pretraining.field)
        if chosen == "newest":
            matching = {name: getattr(config, name) for name in pretraining.matching}
            found = self._newest_artefact(paper, pretraining, matching)
        else:
            found = self.artefacts.find(f"{paper.name}/{pretraining.name}", chosen)
        if found is None:
            if chosen != "newest":  # "none", "random", or a digest that is not here, which the fit refuses
                return resolved, []
            how = how_to_make(paper, pretraining)
            if not allowed:
                return dataclasses.replace(resolved, missing=(*resolved.missing, how)), []
            config = dataclasses.replace(config, **{pretraining.field: "random"})
            flag = f"random weights, because this is not here: {how}"
            return dataclasses.replace(resolved, config=config, flags=(*resolved.flags, flag)), []
        config = dataclasses.replace(config, **{pretraining.field: found.digest})
        origin = f"{found.made_of['corpus']}/{found.made_of['subset']}"
        used = f"{title} {found.digest}, trained on {origin}"
        problems = found.record.get("flags", [])
        flags = [f"{used}: {problem}" for problem in problems] or [used]
        wrong = any(
            problem.startswith(("not as declared", "partial", "bad audio", "synthetic")) for problem in problems
        )
        record = record_of_artefact(pretraining, found)
        return (
            dataclasses.replace(
                resolved,
                config=config,
                flags=(*resolved.flags, *flags),
                pretrained=(*resolved.pretrained, record),
            ),
            [f"{title} not made as the paper's"] if wrong else [],
        )

    def _record(self, weights: PretrainedWeights) -> Record:
        # A checksum is looked up once per command, not once per experiment.
        key = dataclasses.replace(weights, fallback=())
        if key not in self._records:
            self._records[key] = record_of(weights, self.checksums)
        return self._records[key]

    def _newest_artefact(self, paper: Paper, pretraining: Pretraining, matching: Mapping[str, Any]) -> Artefact | None:
        # Whether an artefact is complete is found by reading it: once per command, not once per experiment.
        key = paper.name, pretraining.name, *matching.items()
        if key not in self._newest:
            self._newest[key] = self.artefacts.newest(f"{paper.name}/{pretraining.name}", matching)
        return self._newest[key]


def keep_declared(config: Any, declared: Any, protocol: Any) -> Any:
    """A config whose fields without effect under a protocol have their declared values."""
    return dataclasses.replace(config, **{name: getattr(declared, name) for name in without_effect(config, protocol)})


def _digests(paper: Paper, declared: Any, config: Any) -> dict[str, str]:
    """Fields whose digest takes the place of "newest": what the experiment asks for, and not a change of it."""
    fields = [one.field for one in paper.pretrainings if getattr(declared, one.field) == "newest"]
    return {field: getattr(config, field) for field in fields if getattr(config, field) not in ("none", "random")}


def differences(actual: Any, declared: Any) -> list[str]:
    """How a config or protocol differs from the declared one, in words."""
    return [
        f"{item.name} = {getattr(actual, item.name)} instead of {getattr(declared, item.name)}"
        for item in dataclasses.fields(actual)
        if getattr(actual, item.name) != getattr(declared, item.name)
    ]
