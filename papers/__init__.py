"""One package a paper, and the command line that knows them all."""
