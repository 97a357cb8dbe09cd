"""What several test modules need; imported as `tests.helpers`."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The clone."""

GOLDEN = ROOT / "tests" / "golden"
"""Small files with numbers from elsewhere."""

# Kept under another name, since conftest.py hides the folders of this machine; workers of pytest-xdist inherit it.
REAL_CORPORA = Path(os.environ.setdefault("SER_TESTS_CORPORA", os.environ.get("SER_CORPORA", "/nowhere")))
"""Folder of real corpora, for tests of the tier "corpus"."""
