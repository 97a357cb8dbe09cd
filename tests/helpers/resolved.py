"""A config as a run on this machine would use it."""

import dataclasses
import tempfile
from pathlib import Path

from common.artefacts import Artefacts
from common.checksums import Checksums
from ser.options import Options
from ser.resolving import ConfigResolver


def resolve(paper, config, *, scaled=False, allow=True, artefacts=None):
    """Resolves a config as if an experiment of the paper declared it.

    Args:
        paper: the paper.
        config: the declared config.
        scaled: as with `--scaled`.
        allow: as with `--allow-random-weights`.
        artefacts: where pretrained networks are; None: there are none.

    Returns:
        See `ser.resolving.Resolved`.
    """
    experiment = dataclasses.replace(paper.experiments[0], config=config)
    options = Options(scaled=scaled, allow_random_weights=allow)
    with tempfile.TemporaryDirectory() as folder:
        artefacts = artefacts or Artefacts(Path(folder) / "artefacts")
        return ConfigResolver(options, artefacts, Checksums(Path(folder))).config(paper, experiment)
