"""Old names of modules: imported they are the new ones, and say so."""

import importlib
import subprocess
import sys

import pytest

from dfcvae.moved import MOVED


@pytest.mark.parametrize("old", MOVED)
def test_an_old_name_is_the_new_module_and_warns(old):
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"{old} is now {MOVED[old]};") as caught:
        found = importlib.import_module(old)
    assert found is importlib.import_module(MOVED[old]) and found.__spec__.name == MOVED[old]
    assert len(caught) == 1


def test_the_ways_to_import_and_whom_the_warning_names(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from dfcvae import show\n"
        "import dfcvae.hardware\n"
        "from dfcvae.course.closer import *\n"
        "assert show.__name__ == 'dfcvae.figures.show' and dfcvae.hardware.pick_device\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if "DeprecationWarning" in line]
    assert [line.partition("script.py:")[2][0] for line in lines] == ["1", "2", "3"]
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("dfcvae.nowhere")


def test_nothing_of_ours_uses_an_old_name():
    code = (
        "import importlib, pkgutil, dfcvae\n"
        "for found in pkgutil.walk_packages(dfcvae.__path__, 'dfcvae.'):\n"
        "    if not found.name.endswith('__main__'): importlib.import_module(found.name)\n"
    )
    old = ["-W", "error::DeprecationWarning:dfcvae"]
    done = subprocess.run([sys.executable, *old, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
