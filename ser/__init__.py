"""Rebuilt speech emotion recognition papers: run them, compare results with the reported numbers, use the models.

>>> import ser
>>> ser.experiments("mtap", tables=["1"]).index[0]
'mtap/table1/emodb/softmax'

The functions do what the commands of the same names do, and take the same options:

- `experiments`: what can be run;
- `run`: one experiment;
- `reproduce`: all experiments of a paper or of some tables;
- `claims`: whether what papers claim holds, by everything in a results folder;
- `report`: reported and measured numbers of everything in a results folder;
- `runs`: all runs of an experiment side by side;
- `load_model`: a model that was kept with `keep_models=True`, ready to predict audio files.

Importing this package loads neither TensorFlow nor pandas; the functions do so when they need them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ser.api import claims, experiments, load_model, report, reproduce, run, runs

__all__ = ["claims", "experiments", "load_model", "report", "reproduce", "run", "runs"]


def __getattr__(name: str):
    if name in __all__:
        return getattr(importlib.import_module("ser.api"), name)
    raise AttributeError(f"module 'ser' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
