"""A class under test, with dealt sizes, and what a frozen VGG should make of images."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import cached_property
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from dfcvae_classroom.grading.wild.program import small_vgg

MEAN = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).view(3, 1, 1)


def close(found: Any, expected: Tensor, tolerance: float = 1e-3) -> bool:
    """Of the expected shape, and nowhere further off than ``tolerance`` of the largest expected number."""
    found, expected = torch.as_tensor(found).detach().double(), expected.detach().double()
    if found.shape != expected.shape or not found.isfinite().all():
        return False
    return bool(((found - expected).abs() <= tolerance * (expected.abs().max() + 1e-6)).all())


def all_close(found: Any, expected: list[Tensor]) -> bool:
    return len(found) == len(expected) and all(map(close, found, expected))


@dataclass
class Case:
    """Model: the class under test. drawn: deals sizes, widths and seeds; the same ones for the same seed.

    The sizes are such that a program that runs for 64 pixels and four levels that end in 128 channels alone
    can be asked for its other promises.
    """

    Model: type
    drawn: Random
    numbers: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        draw = self.drawn
        low, high = draw.sample(range(4, 8), 2)
        self.numbers = {
            "seed": draw.randrange(2**31),
            "widths": [draw.randint(4, 7) for _ in range(5)],
            "latents": draw.randint(5, 11),
            "channels": [max(low, high), min(low, high), draw.choice([8, 9]), 128],  # neither sorted nor even
            "norms": sorted(draw.sample((1, 4, 8, 11, 15), 2)),
            "size": draw.choice([32, 48, 96]),
            "depth": draw.choice([3, 5]),
            "width": draw.choice([10, 12, 24]),
            "large": draw.choice([300.0, 2e3, 1e5]),
            "alpha": round(draw.uniform(0.3, 3), 2),
            "beta": round(draw.uniform(2, 9), 2),
        }

    def __getattr__(self, name: str) -> Any:
        if name == "numbers" or name not in self.numbers:
            raise AttributeError(name)
        value = self.numbers[name]
        return list(value) if isinstance(value, list) else value

    @cached_property
    def trunk(self) -> nn.Sequential:
        return small_vgg(self.widths, self.seed)

    def model(self, **options: Any) -> nn.Module:
        """One of the class under test, in eval, with the weights that belong to the seed."""
        chosen = {"latent_dim": self.latents, "channels": self.channels} | options
        trunk = chosen.pop("trunk", self.trunk)
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(self.seed)
            return self.Model(copy.deepcopy(trunk), **chosen).eval()

    def images(self, n: int = 3, size: int = 64, more: int = 0) -> Tensor:
        return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(self.seed + more))

    def latent(self, n: int = 3) -> Tensor:
        return torch.randn(n, self.latents, generator=torch.Generator().manual_seed(self.seed))

    def outputs(self, x: Tensor, numbers: tuple[int, ...] | list[int], normal: Any = None) -> list[Tensor]:
        """What layers of the trunk give in eval, in float64. normal: another way to normalise x."""
        h, seen = (normal or (lambda y: (y - MEAN) / STD))(x.detach().double()), []
        for number, layer in enumerate(copy.deepcopy(self.trunk[: max(numbers) + 1]).double().eval()):
            h = h.clamp_min(0) if isinstance(layer, nn.ReLU) else layer(h)
            if number in numbers:
                seen.append(h.detach())
        return seen

    def either(self, found: Any, x: Tensor, numbers: tuple[int, ...] | list[int]) -> bool:
        """Right whether x was normalised or not, which is another promise."""
        return any(all_close(found, self.outputs(x, numbers, way)) for way in (None, lambda y: y))
