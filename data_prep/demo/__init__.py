"""The embedded demo corpus and the scripts that made it.

`corpus/` holds FLAC files, labels and transcripts; `expected.json` holds the counts that `make.py` wrote with them.
`data_prep/readers/demo.py` reads the corpus.
"""
