"""A judge for the benchmarks: which attributes can still be read in a picture?

A small convolutional network, trained on original drawn faces only and then frozen. It is no part of the
package, shares nothing with any loss network, and never sees a reconstruction while it learns.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfcvae.datasets import Images

FEATURES = 96


class AttributeClassifier(nn.Module):
    """Logits (N, A) from images (N, 3, 64, 64) in [0, 1]; ``features`` gives the layer before, (N, 96)."""

    def __init__(self, attributes: int) -> None:
        super().__init__()
        levels, channels = [], 3
        for width in (24, 48, 72, FEATURES):
            levels += [nn.Conv2d(channels, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
            channels = width
        self.body = nn.Sequential(*levels)
        # The layout of a face matters, so the 4 x 4 grid is kept, not averaged away.
        self.neck = nn.Sequential(
            nn.Flatten(), nn.Linear(16 * FEATURES, FEATURES), nn.ReLU(), nn.Dropout(0.2)
        )
        self.head = nn.Linear(FEATURES, attributes)

    def features(self, x: Tensor) -> Tensor:
        return self.neck(self.body(2 * x.to(memory_format=torch.channels_last) - 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def trained_classifier(images: Images, path: Path, epochs: int = 8, seed: int = 0) -> AttributeClassifier:
    """Train on ``images``, or read what an earlier call left at ``path``. Returned frozen, in eval mode."""
    torch.manual_seed(seed)
    model = AttributeClassifier(images.attributes.shape[1]).to(memory_format=torch.channels_last)
    if path.is_file():
        model.load_state_dict(torch.load(path, weights_only=True))
    else:
        _fit(model, images, epochs)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), path)
    return model.eval().requires_grad_(False)


def _fit(model: AttributeClassifier, images: Images, epochs: int, batch_size: int = 64) -> None:
    """Shifts, contrast, brightness, noise and a little blur, so that it reads more than sharp pixels."""
    steps = epochs * (len(images) // batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    rare = images.attributes.float().mean(0).clamp(0.01, 0.99)
    model.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(batch_size):
            if len(chosen) < batch_size:
                continue
            logits = model(_augmented(images.float(chosen)))
            target = images.attributes[chosen].float()
            weight = torch.where(target.bool(), 0.5 / rare, 0.5 / (1 - rare)).clamp(max=8)
            loss = F.binary_cross_entropy_with_logits(logits, target, weight)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()


def _augmented(x: Tensor) -> Tensor:
    size, (dy, dx) = x.shape[-1], torch.randint(0, 5, (2,)).tolist()
    x = F.pad(x, (2, 2, 2, 2), mode="replicate")[..., dy : dy + size, dx : dx + size]
    gain, offset = 0.8 + 0.4 * torch.rand(len(x), 1, 1, 1), 0.1 * torch.randn(len(x), 1, 1, 1)
    if torch.rand(()) < 0.3:
        x = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return (gain * (x - 0.5) + 0.5 + offset + 0.02 * torch.randn_like(x)).clamp(0, 1)


@torch.no_grad()
def attribute_scores(model: AttributeClassifier, x: Tensor, attributes: Tensor) -> dict[str, list | float]:
    """How well each attribute (N, A) can be read off x, by two measures that chance gives 0.5 in however rare
    the attribute is: ``attributes``, the mean of the hit rates with and without it, at the cut of the
    training; ``attributes_auroc``, the chance that a face with it scores above one without it, at no cut at
    all. And their means over the attributes.
    """
    from sklearn.metrics import roc_auc_score

    logits = torch.cat([model(part) for part in x.split(256)])
    right = (logits > 0) == attributes
    with_it = (right & attributes).sum(0) / attributes.sum(0).clamp_min(1)
    without = (right & ~attributes).sum(0) / (~attributes).sum(0).clamp_min(1)
    accuracy = (with_it + without) / 2
    auroc = [float(roc_auc_score(*pair)) for pair in zip(attributes.T.numpy(), logits.T.numpy(), strict=True)]
    return {
        "attributes": accuracy.tolist(),
        "attribute_mean": accuracy.mean().item(),
        "attributes_auroc": auroc,
        "auroc_mean": sum(auroc) / len(auroc),
    }
