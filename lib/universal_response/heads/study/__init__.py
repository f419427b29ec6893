"""The study of a model's heads that is shipped as a results file."""
