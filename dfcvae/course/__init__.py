"""What serves the course and not the model: profiles, set-up, badges, self-checks, classroom."""
