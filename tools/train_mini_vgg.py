"""Train the mini VGG of dfcvae/pretrained on drawn images that are not faces, and write its file.

    python tools/train_mini_vgg.py [--steps 1500] [--out dfcvae/pretrained/vgg_mini.safetensors]

The network is VGG-19 to relu5_1 with a quarter of the channels or fewer. Three kinds of tasks, read off
relu1_1 ... relu5_1 by single 1x1 convolutions, so that each layer itself must hold the answers:

* the picture itself, in bands of spatial frequency that count alike: no pixel direction is invisible,
* from averages over a neighbourhood: the material and its orientation and scale, the outlines of shapes,
  the colour, and which flaw of decoders (blur, grain, grid, blocks, halo) spoils the place,
* from the whole picture: light, number and softness of shapes.

Batch norm helps to train 13 layers and is folded into the convolutions at the end. Then every channel is
divided by its mean activation, as in the "normalised VGG" of Gatys, Ecker and Bethge (arXiv 1505.07376).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from drawn_textures import FLAWS, LIGHT_NAMES, MATERIALS, Drawn, draw
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from dfcvae.files import checksum_of_all, digest
from dfcvae.perceptual import measure_differences
from dfcvae.vgg import VGGFeatures, build_layers

WIDTHS = (16, 32, 64, 128, 128)
LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
GREY = torch.full((3, 3), 1 / 3)  # projects a colour onto grey
STRETCH = GREY + 1.5 * (torch.eye(3) - GREY)  # colour varies less than light does
LABELS = len(MATERIALS) + len(FLAWS) + 3 + 1 + 2  # kinds, flaws, geometry, outlines, colour
SHALLOW_UNTIL = 0.6  # share of the steps in which the network ends at relu3_1, a third of the work
PICTURE_WEIGHT = 1.0
OUT = Path(__file__).parents[1] / "dfcvae" / "pretrained" / "vgg_mini.safetensors"


class MiniVGG(nn.Module):
    """The trunk with batch norm, and the read-outs, which are thrown away after training."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.trunk = build_layers("vgg19_bn", LAYERS[-1], widths)
        nn.init.orthogonal_(self.trunk[0].weight)
        self.pixels = nn.ModuleList(nn.Conv2d(width, 3 * 4**i, 1) for i, width in enumerate(widths))
        self.labels = nn.ModuleList(nn.Conv2d(width, LABELS, 1) for width in widths[1:])
        self.light = nn.ModuleList(nn.Linear(width, len(LIGHT_NAMES)) for width in widths)

    def forward(self, x: Tensor, depth: int = 5) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Of the first ``depth`` layers: pictures (N, 3, S, S), label maps but of the first, light (N, 4)."""
        h, features = stretch(x), []
        for name, layer in self.trunk.named_children():
            h = layer(h)
            if name in LAYERS:
                features.append(h)
            if len(features) == depth:
                break
        read_out = [head(phi) for head, phi in zip(self.pixels, features, strict=False)]
        pictures = [F.pixel_shuffle(p, 2**i) for i, p in enumerate(read_out)]  # 3 * 4**i maps -> (N, 3, S, S)
        around = [F.avg_pool2d(phi, 5, 1, 2, count_include_pad=False) for phi in features[1:3]] + features[3:]
        maps = [head(phi) for head, phi in zip(self.labels, around, strict=False)]
        return pictures, maps, self.light[depth - 1](h.mean(dim=(2, 3)))


def stretch(x: Tensor) -> Tensor:
    """Normalised images with colours half as far again from grey; folded into conv1_1 at the end."""
    return torch.einsum("ij,njhw->nihw", STRETCH, (x - MEAN[0]) / STD[0])


def bands(x: Tensor) -> list[Tensor]:
    """An image as differences between averages over 1, 2, 4, 8 pixels, and the last average."""
    parts = []
    for _ in range(3):
        coarse = F.avg_pool2d(x, 2)
        parts.append(x - F.interpolate(coarse, scale_factor=2))
        x = coarse
    return [*parts, x - 0.5]


def picture_loss(picture: Tensor, bands_of_x: list[Tensor]) -> Tensor:
    """The share of each band's energy that is missed, mean over the bands."""
    pairs = zip(bands(picture.float() + 0.5), bands_of_x, strict=True)
    return torch.stack([(a - b).square().mean() / b.square().mean() for a, b in pairs]).mean()


def label_loss(maps: Tensor, batch: Drawn) -> Tensor:
    """Errors in what each place shows; labels are taken at the places of the map."""
    stride = batch.material.shape[-1] // maps.shape[-1]
    at = (..., slice(stride // 2, None, stride), slice(stride // 2, None, stride))
    sizes = [len(MATERIALS), len(FLAWS), 3, 1, 2]
    kinds, flaws, geometry, outlines, colour = maps.float().split(sizes, dim=1)
    miss = (geometry - batch.geometry[at]).square().sum(1) * batch.oriented[at]
    edges = F.max_pool2d(batch.edges[:, None], stride) if stride > 1 else batch.edges[:, None]
    return (
        F.cross_entropy(kinds, batch.material[at])
        + F.cross_entropy(flaws, batch.flaw[at])
        + miss.mean()
        + (outlines - edges).square().mean()
        + (colour - chroma(batch.images, maps.shape[-1])).square().sum(1).mean()
    )


def chroma(images: Tensor, side: int) -> Tensor:
    """Red against green and blue against yellow, of order 1: (N, 3, S, S) -> (N, 2, side, side)."""
    red, green, blue = F.adaptive_avg_pool2d(images, side).unbind(1)
    return 6 * torch.stack([red - green, blue - (red + green) / 2], dim=1)


def augment(batch: Drawn, generator: torch.Generator) -> Drawn:
    """Permute the colour channels, invert, mirror: labels stay what they are, or change sign."""
    images = batch.images.float()[:, torch.randperm(3, generator=generator)] / 255
    invert, mirror = torch.rand(2, generator=generator) < 0.5
    batch = batch._replace(images=1 - images if invert else images)
    if not mirror:
        return batch
    flipped = Drawn(*(t.flip(-1) if t.ndim > 2 else t for t in batch))
    signs = torch.tensor([1.0, -1.0, 1.0]).view(3, 1, 1)
    light = batch.light * torch.tensor([-1.0, 1.0, 1.0, 1.0])
    return flipped._replace(geometry=flipped.geometry * signs, light=light)


def with_sensor_noise(images: Tensor, generator: torch.Generator) -> Tensor:
    """White noise of up to 0.05 in every channel; the tasks ask for the picture without it.

    A network that sees no noise grows filters for the finest coloured patterns, which no picture has, and
    as a loss it then weighs them a thousand times more than what the eye sees.
    """
    noise = torch.randn(images.shape, generator=generator)
    return images + 0.05 * torch.rand(len(images), 1, 1, 1, generator=generator) * noise


def draw_many(n: int, generator: torch.Generator) -> Drawn:
    """n pictures, kept as uint8 (N, 3, S, S); labels at every second pixel (N, S / 2, S / 2)."""
    chunks = []
    for _ in range(n // 256):
        drawn = draw(256, generator)
        maps = {k: getattr(drawn, k)[..., 1::2, 1::2] for k in ("material", "geometry", "oriented", "flaw")}
        edges = F.max_pool2d(drawn.edges[:, None], 2)[:, 0]
        chunks.append(drawn._replace(images=(drawn.images * 255).round().byte(), edges=edges, **maps))
    return Drawn(*(torch.cat(parts) for parts in zip(*chunks, strict=True)))


def losses(model: MiniVGG, batch: Drawn, noisy: Tensor, depth: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the layers miss of the picture (depth,) and of the labels (depth - 1,), and of the light."""
    with torch.autocast("cpu", torch.bfloat16):
        pictures, maps, light = model(noisy.contiguous(memory_format=torch.channels_last), depth)
    target = bands(batch.images)
    seen = torch.stack([picture_loss(picture, target) for picture in pictures])
    named = torch.stack([label_loss(labels, batch) for labels in maps])
    return seen, named, (light.float() - batch.light).square().mean()


def train(model: MiniVGG, pool: Drawn, steps: int, batch_size: int, rate: float, seed: int) -> None:
    """Adam, the learning rate rising over a tenth of the steps and then falling to nothing."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), rate, betas=(0.9, 0.99), weight_decay=0.01)
    start = time.perf_counter()
    for step in range(1, steps + 1):
        done = step / steps
        optimizer.param_groups[0]["lr"] = rate * (min(done / 0.1, 1.0) * (1 - done) + 1e-3)
        rows = torch.randint(len(pool.images), (batch_size,), generator=generator)
        batch = augment(Drawn(*(t[rows] for t in pool)), generator)
        depth = 3 if done < SHALLOW_UNTIL else 5
        seen, named, lit = losses(model, batch, with_sensor_noise(batch.images, generator), depth)
        optimizer.zero_grad()
        (PICTURE_WEIGHT * seen.sum() + named.sum() + lit).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        if step % 100 == 0:
            speed = step * batch_size / (time.perf_counter() - start)
            numbers = [" ".join(f"{value:.3f}" for value in t.tolist()) for t in (seen, named, lit[None])]
            print(f"step {step}  {speed:.0f} images/s  {' | '.join(numbers)}", flush=True)


@torch.no_grad()
def folded(model: MiniVGG) -> nn.Sequential:
    """The trunk as a plain VGG-19: w' = w * gamma / std, b' = (b - mean) * gamma / std + beta."""
    widths = [model.trunk.get_submodule(f"conv{block}_1").out_channels for block in range(1, 6)]
    plain = build_layers("vgg19", LAYERS[-1], widths)
    for name, layer in plain.named_children():
        if isinstance(layer, nn.Conv2d):
            trained = model.trunk.get_submodule(name)
            norm = model.trunk.get_submodule(name.replace("conv", "bn"))
            gain = norm.weight / (norm.running_var + norm.eps).sqrt()
            layer.weight.copy_(trained.weight * gain[:, None, None, None])
            layer.bias.copy_((trained.bias - norm.running_mean) * gain + norm.bias)
    plain[0].weight.copy_(torch.einsum("oihw,ij->ojhw", plain[0].weight, STRETCH))
    return plain


@torch.no_grad()
def normalise(trunk: nn.Sequential, images: Tensor) -> None:
    """Divide every channel by its mean activation on ``images`` and undo it in the next convolution.

    ReLU and max-pool commute with positive factors, so nothing changes but the scale of the channels. A
    channel that hardly ever fires counts as a tenth of the layer's mean, or the loss would be all its own.
    """
    h, scale = (images - MEAN[0]) / STD[0], torch.ones(3)
    for layer in trunk:
        if isinstance(layer, nn.Conv2d):
            layer.weight.mul_(scale[None, :, None, None])
            conv = layer
        h = layer(h)
        if isinstance(layer, nn.ReLU):
            scale = h.mean(dim=(0, 2, 3))
            scale = scale.clamp_min(0.1 * scale.mean())
            conv.weight.div_(scale[:, None, None, None])
            conv.bias.div_(scale)
            h = h / scale[:, None, None]


def save(trunk: nn.Sequential, path: Path, note: str) -> None:
    """Write fp16 tensors under torchvision's keys, with their checksum and the constants of calibration."""
    tensors = {}
    for index, layer in enumerate(trunk):
        if isinstance(layer, nn.Conv2d):
            tensors[f"features.{index}.weight"] = layer.weight.detach().half().contiguous()
            tensors[f"features.{index}.bias"] = layer.bias.detach().half()
    metadata = {"name": "mini VGG", "arch": "vgg19", "mean": json.dumps(MEAN), "std": json.dumps(STD)}
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata |= {"trained": note, "crc32": str(checksum_of_all(tensors))}
    save_file(tensors, path, metadata)
    relus = [name for name, layer in trunk.named_children() if isinstance(layer, nn.ReLU)]
    differences = measure_differences(VGGFeatures(layers=relus, weights=path))
    calibration = {name: float(f"{value:.6g}") for name, value in differences.items()}
    save_file(tensors, path, metadata | {"calibration": json.dumps(calibration)})
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, sha256 {digest(path)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch-size", type=int, default=48)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--images", type=int, default=8192)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    pool = draw_many(args.images, torch.Generator().manual_seed(args.seed))
    model = MiniVGG().to(memory_format=torch.channels_last)
    train(model, pool, args.steps, args.batch_size, args.learning_rate, args.seed + 1)
    trunk = folded(model)
    clean = pool.images[pool.flaw.flatten(1).max(1).values == 0][:512]
    normalise(trunk, clean.float() / 255)
    save(trunk, args.out, f"{args.steps} steps of {args.batch_size} images, seed {args.seed}")


if __name__ == "__main__":
    main()
