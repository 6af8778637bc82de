"""The command ``dfcvae``."""

from dfcvae.cli.parser import main

__all__ = ["main"]
