"""The paper's trainings as one recipe: run, measured, reported, for notebook 06 and for the command."""
