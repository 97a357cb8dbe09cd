"""What several test modules need; imported as `tests.helpers`."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The clone."""

GOLDEN = ROOT / "tests" / "golden"
"""Small files with numbers from elsewhere."""
