"""torch.compile changes how a step is computed: not what, nor what is saved."""

import shutil

import pytest
import torch
from dfcvae.checkpoint import read_checkpoint
from two_ranks import build

from dfcvae import train
from dfcvae.device import tuned
from dfcvae.training import Settings, Trainer

CPU = torch.device("cpu")
QUICK = {"batch_size": 8, "progress": False, "device": "cpu", "schedule": "constant", "precision": "fp32"}


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))), reason="no C++ compiler")
@pytest.mark.parametrize("preset", ["pixel", "vae-123"])
def test_compiled_steps_are_those_of_eager_and_are_compiled_once(vgg_file, images, preset):
    """Also under shifts that change with every step. Measured: terms 1e-7 apart, gradients 5e-7."""
    found = []
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for chosen in (False, True):
        model = build(preset, vgg_file).train()
        settings = Settings(batch_size=8, precision="fp32", compile=chosen, steps=9)
        trainer = Trainer(model, images, settings, CPU)
        terms = trainer.step(0)
        gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        later = [trainer.step(step) for step in range(1, 6)][-1]
        found.append((terms, gradient, later, model.state_dict()))
    (terms, gradient, later, state), (fast_terms, fast_gradient, fast_later, fast_state) = found
    for name in terms:
        assert fast_terms[name].item() == pytest.approx(terms[name].item(), rel=1e-5), name
        assert fast_later[name].item() == pytest.approx(later[name].item(), rel=1e-3), name
    assert (gradient - fast_gradient).norm() < 1e-5 * gradient.norm()
    assert state.keys() == fast_state.keys()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2, (
        "not the network and the loss, each once"
    )


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))), reason="no C++ compiler")
def test_a_run_goes_on_compiled_and_back(vgg_file, images, tmp_path):
    for steps, chosen in ((2, False), (4, True), (6, False)):
        options = QUICK | {"steps": steps, "compile": chosen, "validation": images[:10]}
        run = train(build("pixel", vgg_file), images, tmp_path, **options)
        assert run.config["training"]["compile"] is chosen
    state = read_checkpoint(tmp_path)
    assert state["step"] == 6 and state["model"].keys() == build("pixel", vgg_file).state_dict().keys()


def test_cudnn_is_tuned_within_a_training_on_cuda_and_nowhere_else():
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark
    with tuned(CPU):
        assert cudnn.benchmark == before
    with pytest.raises(KeyError), tuned(torch.device("cuda")):
        assert cudnn.benchmark
        raise KeyError
    assert cudnn.benchmark == before
