"""Self-checks of the problem sets: they name a mistake while somebody works, and keep the solution back."""
