"""Self-checks of problem set 1."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from dfcvae.course.checks import trial
from dfcvae.course.checks.trial import Task, Tried, expect_shape, recognise, same, seeded, self_check
from dfcvae.vae import VAE

STEPS, NO_NOISE = 6, -30.0


class WatchedVAE(VAE):
    """A small VAE that keeps what passes through it, a line for each step, and the gradients of it.

    shift: added to log_var, which makes the clouds narrow.
    """

    def __init__(self, shift: float) -> None:
        super().__init__(32, 5, (6, 8))
        trial.filled(self, 9)
        self.shift = shift
        self.seen: list[dict[str, Any]] = []

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, log_var = super().encode(x)
        self.seen.append({"x": x.detach(), "training": self.training})
        return self._noted("mu", mu), self._noted("log_var", log_var + self.shift)

    def decode(self, z: Tensor) -> Tensor:
        return self._noted("x_hat", super().decode(self._noted("z", z)))

    def _noted(self, name: str, tensor: Tensor) -> Tensor:
        line = self.seen[-1]
        line[name] = tensor.detach()
        if tensor.requires_grad:
            tensor.register_hook(lambda gradient: line.update({f"by {name}": gradient}))
        return tensor


@self_check
def draw_z(task: Task, answer: Tried) -> None:
    """Try ``draw_z(mu, log_var, draws, generator)``."""
    (mu, log_var, draws), generator = (task[name] for name in ("mu", "log_var", "draws")), seeded(0)
    state = torch.get_rng_state()
    z = answer(mu, log_var, draws, generator)
    expect_shape(z, (draws, *mu.shape), "(draws, pictures, latents)")
    task.refuse((z.std(dim=0) < 1e-4).all(), "every draw the same")
    task.refuse(not torch.equal(z[:1], answer(mu, log_var, draws, seeded(0))[:1]), "generator unused")
    task.refuse(not torch.equal(state, torch.get_rng_state()), "PyTorch's state used")
    task.refuse(torch.equal(z[:1], answer(mu, log_var, draws, generator)[:1]), "seeded anew")
    task.refuse((z >= mu).all(), "uniform from 0")
    mean, spread = z.detach().mean(dim=0), z.detach().std(dim=0)
    task.refuse(mean.abs().max() < 0.1, "no mu")
    task.refuse((mean - mu).abs().max() > 0.1, "another mean")
    recognise(spread, task["spread"], 0.04)
    epsilon = (z.detach() - mean) / spread
    task.refuse((epsilon**4).mean() < 2.5, "uniform")
    one = epsilon[:, 0, 0]
    others = {"pictures": epsilon[:, 1, 0], "latents": epsilon[:, 0, 1], "neighbours": one.roll(1)}
    for name, other in others.items():
        task.refuse(torch.corrcoef(torch.stack([one, other]))[0, 1].abs() > 0.05, f"shared by {name}")
    few = answer(mu, log_var, 3, seeded(0))
    right = {"mu": torch.full_like(mu, 3), "log_var": (few.detach() - mu).sum(dim=0) / 2}
    trial.expect_gradients(
        lambda **by: answer(*by.values(), 3, seeded(0)), {"mu": mu, "log_var": log_var}, right
    )


@self_check
def kl_normal(task: Task, answer: Tried) -> None:
    """Try ``kl_normal(mu, log_var, m, s)``."""
    trial.try_cases(task, answer)


@self_check
def kl_from_draws(task: Task, answer: Tried) -> None:
    """Try ``kl_from_draws(mu, log_var, log_p, draws, generator)``."""
    mu, log_var, std, m, s, draws = (task[x] for x in ("mu", "log_var", "std", "m", "s", "draws"))
    asked = []

    def log_p(z: Tensor) -> Tensor:
        asked.append(z.detach())
        return Normal(m, s).log_prob(z).sum(dim=-1)

    found = answer(mu, log_var, log_p, draws, seeded(0))
    task.refuse(not asked, "log_p never called")
    task.refuse(asked[0].shape == (draws, *mu.shape) and (asked[0] >= mu).all(), "uniform from 0")
    for part in trial.expect_parts(found, "estimate", "standard error"):
        expect_shape(part, mu.shape[:1], "one number a picture")
    recognise(found[0], task["kl"], 0.017)  # six standard errors
    recognise(found[1], task["error"], 0.08)
    few = [answer(mu, log_var, log_p, 20, seeded(0))[0] for _ in range(2)]
    task.refuse(not torch.equal(*few), "another estimate")
    q = Normal(mu[0], std[0])
    nothing = answer(mu[:1], log_var[:1], lambda z: q.log_prob(z).sum(dim=-1), 20, seeded(0))[0]
    task.refuse(nothing.abs().max() > 1e-3, "other draws for p")
    trial.expect_gradients(
        lambda **by: answer(*by.values(), log_p, draws, seeded(0))[0],
        {"mu": mu, "log_var": log_var},
        task["gradients"],
        0.1,
    )


@self_check
def elbo(task: Task, answer: Tried) -> None:
    """Try ``elbo(x, x_hat, mu, log_var, sigma)``."""
    trial.try_cases(task, answer)


@self_check
def decoder(task: Task, up_block: Tried, make_decoder: Tried) -> None:
    """Try ``up_block(c_in, c_out)`` and ``make_decoder(latent_dim, channels, image_size)``."""
    block, h = up_block(2, 3), task["h"]
    task.refuse(not isinstance(block, nn.Module), "no module", function="up_block", kind=type(block).__name__)
    shapes = sorted(tuple(parameter.shape) for parameter in block.parameters())
    task.refuse(shapes != [(3,), (3, 2, 3, 3)], "parameters", shapes=shapes)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(task["weight" if parameter.ndim == 4 else "bias"])
    out = Tried(block)(h)
    expect_shape(out, (len(h), 3, 2 * h.shape[2], 2 * h.shape[3]), "twice as high and twice as wide")
    recognise(out, task["block"])

    (latent_dim, channels, size), z = task["sizes"], task["z"]
    network = make_decoder(latent_dim, tuple(channels), size)
    kind = type(network).__name__
    task.refuse(not isinstance(network, nn.Module), "no module", function="make_decoder", kind=kind)
    x_hat = Tried(network.train())(z)
    expect_shape(x_hat, (len(z), 3, size, size), "pictures with three colours")
    low, high = x_hat.min().item(), x_hat.max().item()
    task.refuse(low < 0 or high > 1, "out of range", low=low, high=high)
    task.refuse((x_hat[0] - x_hat[1]).abs().max() < 1e-4, "z unused")
    linears, convolutions, norms = (_by_width(network, x) for x in (nn.Linear, nn.Conv2d, nn.BatchNorm2d))
    found = [tuple(convolution.weight.shape[:2]) for convolution in convolutions]
    expected = [*zip([*channels[1:], 3], channels, strict=True)]
    task.refuse(found != expected, "levels", found=found, expected=expected)
    task.refuse(len(norms) != len(channels) - 1, "norms", norms=len(norms), expected=len(channels) - 1)
    for i, layer in enumerate([*linears, *convolutions, *norms]):
        trial.filled(layer, i)
    recognise(network(z), task["whole"])
    nn.init.constant_(convolutions[-1].bias, -6.0)  # that layer alone sets how dark a picture may be
    dark = network(z)
    task.refuse(dark.min() <= 0, "cut off")
    task.refuse(dark.mean() > 0.05, "never dark")


def _by_width(network: nn.Module, kind: type) -> list[Any]:
    """Its layers of a kind from wide to narrow, in whatever order they are registered."""
    layers = [module for module in network.modules() if isinstance(module, kind)]
    return sorted(layers, key=lambda layer: -layer.weight.shape[:2].numel())


@self_check
def train_vae(task: Task, answer: Tried) -> None:
    """Try ``train_vae(model, pictures, steps, batch_size, alpha, beta, learning_rate, generator)``."""
    pictures, settings, updates = task["pictures"], task["settings"], task["updates"]
    batch, alpha, _, _ = settings

    def run(pictures: Tensor, shift: float, steps: int = STEPS, elsewhere: int = 0) -> tuple[WatchedVAE, Any]:
        model = WatchedVAE(shift)
        torch.manual_seed(elsewhere)
        return model, answer(model, pictures, steps, *settings, seeded(0))

    model, history = run(pictures, -1.5)
    seen = model.seen
    task.refuse(len(seen) != STEPS or any("z" not in line for line in seen), "calls", calls=len(seen))
    task.refuse(not all(line["training"] for line in seen), "eval mode")
    task.refuse(not isinstance(history, list) or len(history) != STEPS, "no history")
    for name in "loss", "kl", "reconstruction":
        task.refuse(not all(isinstance(h.get(name), float) for h in history), "no floats", name=name)
    sizes = {len(line["x"]) for line in seen}
    task.refuse(sizes != {batch}, "batch size", sizes=sorted(sizes), batch=batch)
    task.refuse(torch.equal(seen[0]["x"], seen[1]["x"]), "same batch")
    _noise(task, *(torch.stack([line[name] for line in seen]) for name in ("mu", "log_var", "z")))
    again = run(pictures, -1.5, elsewhere=1)[0]
    task.refuse(not torch.equal(seen[0]["z"], again.seen[0]["z"]), "generator unused")

    # The same picture throughout and hardly any noise: whatever is drawn, the numbers are known.
    same_picture = pictures[:1].expand_as(pictures)
    for name, case in task["terms"].items():
        recognise(run(same_picture, case["shift"], 1)[1][0][name], case)

    def moved(steps: int) -> dict[str, Tensor]:
        """By how much a training moves weights."""
        model, start = run(same_picture, NO_NOISE, steps)[0], WatchedVAE(0.0)
        return {name: (model.get_parameter(name) - start.get_parameter(name)).detach() for name in updates}

    moves = {1: moved(1), STEPS: moved(STEPS)}
    still = [name for name in ("to_mu.weight", "from_z.weight") if not moves[STEPS][name].any()]
    task.refuse(len(still) == 2, "no weight moves")
    task.refuse("to_mu.weight" in still, "encoder stays")
    task.refuse(still, "decoder stays")
    line = seen[0]
    task.refuse("by z" not in line or "by log_var" not in line, "no gradient through z")
    by_mu = line["by z"] + alpha * line["mu"] / batch
    by_log_var = 0.5 * (line["by z"] * (line["z"] - line["mu"]) + alpha * (line["log_var"].exp() - 1) / batch)
    right = same(line["by mu"], by_mu, 0.01) and same(line["by log_var"], by_log_var, 0.01)
    task.refuse(not right, "no gradient through z")
    for steps, what, tolerance in (1, "first step", 0.01), (STEPS, "later steps", 0.05):
        for name, expected in updates.items():
            found, right = moves[steps][name], expected[str(steps)]
            ratio = (trial.digest(found).norm() / trial.digest(right).norm()).item()
            task.refuse(not same(found, right, tolerance), what, name=name, ratio=ratio)


def _noise(task: Task, mu: Tensor, log_var: Tensor, z: Tensor) -> None:
    """Of all steps together, each (steps, batch, J): is z drawn from N(mu, exp(log_var))?"""
    std = (0.5 * log_var).exp()
    epsilon = (z - mu) / std
    task.refuse(epsilon.abs().max() < 1e-3, "no noise")
    task.refuse((epsilon >= 0).all(), "uniform from 0")
    task.refuse((epsilon.std(dim=1) < 1e-3).all(), "shared by pictures")
    spreads = {"variance": std**2, "sign": 1 / std, "log_var": log_var.abs() + 1e-3, "one": 0 * std + 1}
    nats = {name: Normal(mu, spread).log_prob(z).sum().item() for name, spread in spreads.items()}
    nats["prior"] = Normal(0.0, 1.0).log_prob(z).sum().item()
    likeliest = max(nats, key=lambda name: nats[name])
    task.refuse(nats[likeliest] > Normal(mu, std).log_prob(z).sum() + 10, likeliest)
    task.refuse(not 0.85 < epsilon.std() < 1.15 or epsilon.abs().max() < 2, "another spread")
