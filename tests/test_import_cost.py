"""``import dfcvae`` loads torch and little else: what only some need is loaded when they need it."""

import subprocess
import sys

HEAVY = (
    "torchvision",
    "matplotlib",
    "sklearn",
    "PIL",
    "torchmetrics",
    "scipy",
    "pandas",
    "IPython",
    "ipywidgets",
)


def loaded_by(statement: str) -> set[str]:
    """Packages that are loaded after the statement and are not after ``import torch``."""
    code = f"import sys, torch; before = set(sys.modules); {statement}; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_import_loads_nothing_heavy():
    loaded = loaded_by("import dfcvae")
    assert "dfcvae" in loaded
    assert not loaded.intersection(HEAVY)


def test_the_command_loads_nothing_heavy_before_it_knows_what_to_do():
    assert not loaded_by("import dfcvae.cli, dfcvae.training, dfcvae.evaluation").intersection(HEAVY)


def test_model_code_never_loads_the_course():
    code = "import sys, dfcvae, dfcvae.training, dfcvae.evaluation; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "dfcvae.course" not in done.stdout.split()
