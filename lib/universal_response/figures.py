"""Dataset -> matplotlib Figure: takes data, computes nothing."""
