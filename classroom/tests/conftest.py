"""What every test finds: the same seed, one thread, a cache of its own, the smallest profile."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _surroundings(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DFCVAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("DFCVAE_PROFILE", "smoke")
        yield


@pytest.fixture(autouse=True)
def _same_start():
    torch.manual_seed(0)
