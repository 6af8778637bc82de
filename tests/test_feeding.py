"""Images reach a step in three ways, and are the same bytes in all of them."""

from types import SimpleNamespace

import pytest
import torch
from dfcvae.feeding import WAYS, Feed, pick_way
from two_ranks import build

from dfcvae import feeding
from dfcvae.training import Settings, Trainer

CPU = torch.device("cpu")


@pytest.fixture
def trainer(vgg_file, images) -> Trainer:
    return Trainer(build("pixel", vgg_file).train(), images, Settings(batch_size=8, steps=30, flip=True), CPU)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_the_images_of_the_step(trainer, images, way):
    """Over the end of an epoch of five steps, and where the steps do not follow each other."""
    trainer.feed = Feed(images.pixels, trainer.rows, CPU, way)
    for step in (0, 1, 2, 3, 4, 5, 6, 11, 3, 4):
        found = trainer.feed(step)
        assert found.dtype == torch.uint8 and found.equal(images.pixels[trainer.rows(step)]), step


def test_weights_do_not_tell_which_way_the_images_came(vgg_file, images):
    ends = []
    for way in WAYS:
        settings = Settings(batch_size=8, steps=30, flip=True, precision="fp32")
        trainer = Trainer(build("pixel", vgg_file).train(), images, settings, CPU)
        trainer.feed = Feed(images.pixels, trainer.rows, CPU, way)
        for step in range(7):
            trainer.step(step)
        ends.append(torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()]))
    assert ends[0].equal(ends[1]) and ends[0].equal(ends[2])


def test_the_thread_is_one_step_ahead(trainer, images):
    """What it has gathered is what the file held before the step was asked for."""
    pixels = images.pixels.clone()
    feed = Feed(pixels, trainer.rows, CPU, "ahead")
    feed(0)
    feed._ahead[1].result()
    pixels.zero_()
    assert feed(1).equal(images.pixels[trainer.rows(1)])
    feed._ahead[1].result()
    assert not feed(2).any()


def test_what_fails_in_the_thread_fails_in_the_step_that_needs_it(trainer, images):
    feed = Feed(images.pixels[:20], lambda step: torch.tensor([0, 30 * step]), CPU, "ahead")
    assert feed(0).shape == (2, 3, 32, 32)
    with pytest.raises((IndexError, RuntimeError), match="out of range"):
        feed(1)


def test_waited_counts_the_time_of_the_gather_and_not_that_between_steps(trainer, images, monkeypatch):
    clock = [0.0]

    def rows(step: int) -> torch.Tensor:
        clock[0] += 2.0
        return trainer.rows(step)

    monkeypatch.setattr(feeding, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    feed = Feed(images.pixels, rows, CPU, "direct")
    for step in range(3):
        feed(step)
        clock[0] += 100.0
    assert feed.waited == 6.0 and trainer.feed.waited == 0.0


@pytest.mark.parametrize(("free", "way"), [(2, "ahead"), (3, "resident")])
def test_a_gpu_holds_what_fits_into_half_of_its_free_memory(images, monkeypatch, free, way):
    size = images.pixels.numel()
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free * size, 9 * size))
    assert pick_way(images.pixels, torch.device("cuda")) == way


def test_elsewhere_images_come_straight_from_the_file(images):
    assert pick_way(images.pixels, CPU) == pick_way(images.pixels, torch.device("mps")) == "direct"


def test_an_unknown_way_is_refused(images):
    with pytest.raises(ValueError, match="'workers': expected auto, resident, ahead, direct"):
        Feed(images.pixels, lambda step: torch.arange(2), CPU, "workers")
