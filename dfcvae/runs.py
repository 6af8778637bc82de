"""A run folder, read back."""

from dfcvae.checkpoint import load_run, read_checkpoint, read_config, read_metrics

__all__ = ["load_run", "read_checkpoint", "read_config", "read_metrics"]
