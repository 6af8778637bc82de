"""Deep Feature Consistent Variational Autoencoders."""

__version__ = "0.1.0"
