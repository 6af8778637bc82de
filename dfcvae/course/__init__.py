"""What the notebooks import beside the model: the set-up cell, profiles, trained models, a file a lesson."""
