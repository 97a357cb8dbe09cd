"""From a corpus on disk to a table of utterances.

`data_prep/readers` has one module per corpus, named after it. Each has a `CORPUS` (what is known about the corpus
before its folder is read) and a function `read(root)` that returns the utterance table. `load` finds a reader by its
name and returns a subset that is ready to be cut into folds; `fetching` downloads what is public.
"""

from data_prep.loading import Loaded, find_root, load, read
from data_prep.registry import NAMES, corpus

__all__ = ["NAMES", "Loaded", "corpus", "find_root", "load", "read"]
