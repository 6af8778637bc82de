"""The same numbers in less time: put around a model, visibly."""
