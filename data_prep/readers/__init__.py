"""Readers: one module per corpus, each with a `CORPUS` and a `read(root)`. `data_prep.NAMES` lists them."""

from pathlib import Path

NAMES = tuple(sorted(file.stem for file in Path(__file__).parent.glob("[!_]*.py")))
"""Names of all corpora that have a reader."""
