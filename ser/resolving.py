"""From a declared config to the one that will really run, with every difference in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.artefacts import Artefact, Artefacts
from common.contract import Experiment, Paper, Pretraining, override
from ser.options import Options

PROTOCOL = "protocol."
"""Prefix of `--set` names that change the protocol instead of the config."""


@dataclass(frozen=True)
class Resolved:
    """A config as it will run.

    Attributes:
        config: the config.
        changes: how it differs from the declared one, in words; empty if it does not.
        flags: what every result must state ("random weights", ...).
    """

    config: Any
    changes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


class ConfigResolver:
    """Resolves the configs of one command's experiments.

    Args:
        options: the user's choices.
        artefacts: where pretrained networks are looked up.
    """

    def __init__(self, options: Options, artefacts: Artefacts):
        self.options = options
        self.artefacts = artefacts
        self._resolved: dict[Any, tuple[Any, list[str]]] = {}
        self._newest: dict[tuple, Artefact | None] = {}

    def config(self, paper: Paper, experiment: Experiment) -> Resolved:
        """The experiment's config with the user's settings, the scaled settings, and what this machine can offer.

        Raises:
            UserError: A setting names no field, or has a value that the field cannot hold.
        """
        by_hand = {name: value for name, value in self.options.settings.items() if not name.startswith(PROTOCOL)}
        wanted = override(experiment.config, by_hand)
        if self.options.scaled:
            # What the user sets by hand overrides the scaled settings.
            wanted = override(wanted, {name: value for name, value in paper.scaled.items() if name not in by_hand})
        flags: list[str] = []
        if paper.resolve:
            if wanted not in self._resolved:
                self._resolved[wanted] = paper.function(paper.resolve)(wanted)
            wanted, flags = self._resolved[wanted]
        resolved = Resolved(wanted, tuple(differences(wanted, experiment.config)), tuple(flags))
        for pretraining in paper.pretrainings:
            resolved = self._with_pretrained(paper, pretraining, resolved)
        return resolved

    def protocol(self, experiment: Experiment) -> Resolved:
        """The experiment's protocol with the user's settings.

        Raises:
            UserError: A setting names no field, or has a value that the field cannot hold.
        """
        settings = {
            name.removeprefix(PROTOCOL): value
            for name, value in self.options.settings.items()
            if name.startswith(PROTOCOL)
        }
        protocol = override(experiment.protocol, settings)
        return Resolved(protocol, tuple(differences(protocol, experiment.protocol)))

    def _with_pretrained(self, paper: Paper, pretraining: Pretraining, resolved: Resolved) -> Resolved:
        """A config that names the pretrained network it will use instead of "newest"."""
        config = resolved.config
        if getattr(config, pretraining.field) != "newest":
            return resolved
        found = self._newest_artefact(
            paper, pretraining, {name: getattr(config, name) for name in pretraining.matching}
        )
        if found is None:
            command = f"ser pretrain {paper.name} {pretraining.name}"
            flag = f"random weights: no {pretraining.title} is here (`{command}` makes one)"
            change = f"{pretraining.title} of random weights"
            return Resolved(config, (*resolved.changes, change), (*resolved.flags, flag))
        # A digest in the place of "newest" is what the experiment asks for, and not a change of it.
        config = dataclasses.replace(config, **{pretraining.field: found.digest})
        origin = f"{found.made_of['corpus']}/{found.made_of['subset']}"
        used = f"{pretraining.title} {found.digest}, trained on {origin}"
        problems = found.record.get("flags", [])
        flags = [f"{used}: {problem}" for problem in problems] or [used]
        wrong = any(
            problem.startswith(("not as declared", "partial", "bad audio", "synthetic")) for problem in problems
        )
        changes = [f"{pretraining.title} not made as the paper's"] if wrong else []
        return Resolved(config, (*resolved.changes, *changes), (*resolved.flags, *flags))

    def _newest_artefact(self, paper: Paper, pretraining: Pretraining, matching: Mapping[str, Any]) -> Artefact | None:
        # Whether an artefact is complete is found by reading it: once per command, not once per experiment.
        key = paper.name, pretraining.name, *matching.items()
        if key not in self._newest:
            self._newest[key] = self.artefacts.newest(f"{paper.name}/{pretraining.name}", matching)
        return self._newest[key]


def differences(actual: Any, declared: Any) -> list[str]:
    """How a config or protocol differs from the declared one, in words."""
    return [
        f"{item.name} = {getattr(actual, item.name)} instead of {getattr(declared, item.name)}"
        for item in dataclasses.fields(actual)
        if getattr(actual, item.name) != getattr(declared, item.name)
    ]
