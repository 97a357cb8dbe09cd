"""Speed and memory, each against a stated limit or a peer: `make bench`, or `python -m benchmarks NAME`."""
