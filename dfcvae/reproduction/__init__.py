"""The paper's trainings as one recipe: run, measured, reported."""
