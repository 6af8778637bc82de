"""Pictures: grids as PNG, figures for the notebooks, the explorer."""
