"""Bad inputs of six kinds, each tried in a process of its own: run by hand, ``bad_inputs.py`` says how."""
