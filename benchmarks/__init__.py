"""Speed and memory, compared with stated limits or with peers: `make bench`, or `python -m benchmarks NAME`."""
