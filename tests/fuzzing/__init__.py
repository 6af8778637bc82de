"""Bad inputs of six kinds, each tried in its process, for benchmarks/bad_inputs.py and test_fuzzing.py."""
