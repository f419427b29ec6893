"""Speed of the engine beside other ways to compute the same; run with `python -m benchmarks`."""
