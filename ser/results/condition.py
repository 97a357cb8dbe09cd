"""What a run is: as declared, or incomplete, modified, on another corpus, scaled, synthetic, partial.

All of it is recomputed from what the run stored (config, protocol, target, data) and what its paper declares today.
The list "changes" in `run.json` adds only what cannot be recomputed, so that emptying it gives no verdict.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from common.contract import Experiment, Paper, without_effect
from common.results import Condition, RunResults
from ser.pretrained import weights_of
from ser.results.runs import as_record

PARTIAL = ("partial", "bad audio")
"""Beginnings of the flags of a corpus that is not complete."""

RANDOM = ("random weights",)
"""Beginnings of the flags of a run that lacks pretrained weights."""

DIGEST = re.compile(r"[0-9a-f]{16}")
"""The digest of an artefact (see `common.artefacts`)."""


PROBLEM = re.compile(": (not as declared|partial|bad audio|synthetic)")
"""What a flag of a pretrained network says if it is not made as the paper's."""


def condition_of(run: RunResults, paper: Paper) -> Condition:
    """Compares a run with the experiment as its paper declares it.

    Args:
        run: the run; predictions are not needed.
        paper: the paper, with its experiments as they are declared today.
    """
    record = run.run
    declared = next((one for one in paper.experiments if one.id == record["experiment"]), None)
    if declared is None:
        trials, of_trials = _trials(run, record["declared_repeats"])
        return Condition(trials, of_trials, outdated=("the paper has no experiment of this name",))
    scaled, random, modified, outdated = _settings(run, paper, declared)
    repeats = min(paper.scaled_repeats, declared.repeats) if scaled else declared.repeats
    trials, of_trials = _trials(run, repeats)
    corpus = "" if record.get("own") else _corpus(record, declared)
    return Condition(
        trials=trials,
        of_trials=of_trials,
        corpus=corpus,
        synthetic=bool(corpus) and bool(record.get("synthetic")),
        scaled=tuple(scaled),
        random=tuple(random),
        modified=tuple(modified),
        partial=tuple(flag for flag in run.flags if flag.startswith(PARTIAL)),
        outdated=tuple(outdated),
    )


def alike(first: Condition, second: Condition) -> bool:
    """True if two runs, of the same or of different experiments, deviate from their declarations in the same way.

    Only then is the difference between them that of the experiments. Settings that are scaled in both must have the
    same values; one that is scaled in a single run is declared so in the other one. Whether the runs have the same
    folds, seeds and versions is another question, and so is whether trials are missing.
    """
    own, other = (dict(text.split(" instead of ")[0].split(" = ", 1) for text in one.scaled) for one in (first, second))
    return first.deviation == second.deviation and all(own[name] == other[name] for name in own.keys() & other.keys())


def _trials(run: RunResults, repeats: int) -> tuple[int, int]:
    """How many of the wanted trials are finished, and how many are wanted."""
    folds = run.run["folds"]
    finished = {(trial["fold"], trial["repeat"]) for trial in run.trials}
    wanted = {(fold, repeat) for fold in folds for repeat in range(1, repeats + 1)}
    return len(finished & wanted), len(wanted)


def _corpus(record: Mapping[str, Any], declared: Experiment) -> str:
    """Which corpus, or subset of the same corpus, takes the place of the declared one; empty if none does."""
    if record["corpus"] != declared.corpus:
        return f"{record['corpus']} instead of {declared.corpus}"
    if record["subset"] != declared.subset:
        return f"{record['corpus']}/{record['subset']} instead of {declared.corpus}/{declared.subset}"
    return ""


def _settings(run: RunResults, paper: Paper, declared: Experiment) -> tuple[list[str], ...]:
    """How a run's settings differ: scaled, without pretrained weights, otherwise, and what is declared differently."""
    record = run.run
    outdated = []
    config, wanted = record.get("config", {}), _as_json(dataclasses.asdict(declared.config))
    protocol, wanted_protocol = record.get("protocol", {}), _as_json(as_record(declared.protocol))
    if record["corpus"] != declared.corpus and protocol.get("kind") != wanted_protocol["kind"]:
        # Another protocol took the place of one that cannot cut this corpus (see `ser.splitting`).
        protocol = wanted_protocol = {"kind": ""}
    for what, stored, today in (("config", config, wanted), ("protocol", protocol, wanted_protocol)):
        if fields := sorted(stored.keys() ^ today.keys()):
            outdated.append(f"other fields of the {what} ({', '.join(fields)})")
    if protocol.get("kind") != wanted_protocol["kind"]:
        outdated.append(f"protocol {wanted_protocol['kind']}, then {protocol.get('kind')}")
    if record.get("target") != _as_json(as_record(declared.target)):
        outdated.append("what is predicted")

    digests = {one.field for one in paper.pretrainings if DIGEST.fullmatch(str(config.get(one.field)))}
    changed = {
        name: value
        for name, value in config.items()
        if name in wanted and value != wanted[name] and not (name in digests and wanted[name] == "newest")
    }
    small = _scaled_values(paper)
    as_scaled = {name for name, value in changed.items() if value in small.get(name, ())}
    # A field that a scaled run changes may have been set by hand; then it is neither scaled nor as declared.
    unused = without_effect(declared.config, declared.protocol)
    kept = [
        name
        for name, values in small.items()
        if name not in changed and name not in unused and wanted[name] not in values
    ]
    if len(as_scaled) <= len(kept):
        as_scaled = set()
    worded = {name: f"{name} = {value} instead of {wanted[name]}" for name, value in changed.items()}
    scaled = [text for name, text in worded.items() if name in as_scaled]
    fallback = _without_weights(paper, declared)
    lacking = {name for name, value in changed.items() if name not in as_scaled and fallback.get(name) == value}
    random = [text for name, text in worded.items() if name in lacking]
    modified = [text for name, text in worded.items() if name not in as_scaled | lacking]
    modified += [
        f"protocol.{name} = {value} instead of {wanted_protocol[name]}"
        for name, value in protocol.items()
        if name != "kind" and name in wanted_protocol and value != wanted_protocol[name]
    ]
    modified += _auxiliary(record.get("auxiliary"), declared.auxiliary)
    modified += _pretrained(run, paper, config)
    if not changed and not modified:
        # A control may declare random weights.
        asked = {f"random weights: {one.title}" for one in weights_of(paper, declared.config) if one.random}
        random += [flag for flag in run.flags if flag.startswith(RANDOM) and flag not in asked]
    names = {*config, *wanted, *protocol, *wanted_protocol}
    modified += [
        change for change in record.get("changes", ()) if change not in modified and not _recomputed(change, names)
    ]
    return scaled, random, modified, outdated


def _without_weights(paper: Paper, declared: Experiment) -> dict[str, Any]:
    """The fields, with their values, that replace pretrained weights which are not available."""
    fallback = {one.field: "random" for one in paper.pretrainings if getattr(declared.config, one.field) == "newest"}
    for weights in weights_of(paper, declared.config):
        fallback |= weights.fallback
    return fallback


def _as_json(values: dict) -> dict:
    """Values as they are after they were written to a JSON file and read from it."""
    return json.loads(json.dumps(values))


def _scaled_values(paper: Paper) -> dict[str, tuple]:
    """The values that a scaled run, or the demonstration, gives to the fields that it changes."""
    scaled = _as_json(dict(paper.scaled))
    demo = {**scaled, **_as_json(dict(paper.demo_changes))}
    return {name: (scaled.get(name, value), value) for name, value in demo.items()}


def _auxiliary(used: Mapping[str, str] | None, declared: str) -> list[str]:
    """How the auxiliary data differ from the declared ones."""
    if used is None:
        return ["without auxiliary data"] if declared else []
    name = f"{used['corpus']}/{used['subset']}"
    return [f"auxiliary data {name} instead of {declared or 'none'}"] if name != declared else []


def _pretrained(run: RunResults, paper: Paper, config: Mapping[str, Any]) -> list[str]:
    """Networks of pretrainings that are not made as the paper's."""
    found = []
    for one in paper.pretrainings:
        used = f"{one.title} {config.get(one.field)}, trained on "
        if any(flag.startswith(used) and PROBLEM.search(flag) for flag in run.flags):
            found.append(f"{one.title} not made as the paper's")
    return found


def _recomputed(change: str, names: set[str]) -> bool:
    """True for a stored change that is recomputed from the run's data or settings."""
    name = change.split(" = ")[0]
    return name in names or bool(re.match(r"(on \S+ instead of \S+$|auxiliary data |without auxiliary data)", change))
