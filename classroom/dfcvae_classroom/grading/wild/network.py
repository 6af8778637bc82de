"""Questions to the VAE and the loss of a class, promises P1 and P7 to P14: each gives "" or what is wrong."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from dfcvae_classroom.grading.wild.case import Case, close


def in_range(case: Case) -> str:
    x_hat = case.model().decode(1000 * case.latent(8))
    low, high = x_hat.min().item(), x_hat.max().item()
    if not 0 <= low <= high <= 1:
        return f"decode gives numbers from {low:.2f} to {high:.2f}"
    return "" if low < 0.05 and high > 0.95 else f"decode never leaves {low:.2f} to {high:.2f}"


def not_clipped(case: Case) -> str:
    x_hat = case.model().decode(10 * case.latent(8))
    stuck = ((x_hat <= 0) | (x_hat >= 1)).float().mean().item()
    return (
        ""
        if stuck < 0.05
        else f"{stuck:.0%} of the pixels stand at an end or beyond: clipping hides the range"
    )


def _runs(case: Case, size: int, channels: list[int]) -> str:
    try:
        model, x = case.model(image_size=size, channels=channels), case.images(2, size)
        model(x)
    except RuntimeError as error:
        return f"images of {size} pixels with channels {channels} stop it: {str(error).splitlines()[0]}"
    same = model(x)[0].shape == x.shape and model.sample(2).shape == x.shape
    return "" if same else f"images of {size} pixels come back as {tuple(model(x)[0].shape[2:])}"


def other_size(case: Case) -> str:
    return _runs(case, case.size, case.channels)


def other_depth(case: Case) -> str:
    return _runs(case, 64, [6, 4, 8, 5, 7, 8][: case.depth - 1] + [128])


def other_width(case: Case) -> str:
    return _runs(case, 64, case.channels[:-1] + [case.width])


def list_kept(case: Case) -> str:
    given = case.channels
    case.model(channels=given)
    if given == case.channels[::-1]:
        return "the caller's list comes back reversed: a second name for a list is not a copy"
    return "" if given == case.channels else f"the caller's list was changed to {given}"


def list_forgotten(case: Case) -> str:
    given = case.channels
    model, x = case.model(channels=given), case.images()
    given.clear()
    if model(x)[0].shape != x.shape or case.model(channels=tuple(case.channels))(x)[0].shape != x.shape:
        return "images come back in another size"
    return list_kept(case)


def _with_log_var(case: Case, bias: torch.Tensor | float) -> nn.Module:
    model = case.model()
    with torch.no_grad():
        model.to_log_var.weight.zero_()
        model.to_log_var.bias.copy_(torch.as_tensor(bias))
    return model


def bounded(case: Case) -> str:
    for bias in (case.large, -case.large):
        model, x = _with_log_var(case, bias), case.images()
        mu, log_var = model.encode(x)
        if not (log_var.abs() <= 30).all():
            drawn = model.reparameterize(mu, log_var).isfinite().all()
            priced = model.loss_function(x, x, mu, log_var)["kl"].isfinite()
            where = " (the KL alone is protected)" if priced and not drawn else ""
            where = " (the draw alone is protected)" if drawn and not priced else where
            return f"encode gives a log_var of {log_var.flatten()[0].item():.0f}{where}"
    return ""


def finite(case: Case) -> str:
    model, x = _with_log_var(case, case.large), case.images()
    x_hat, mu, log_var = model(x)
    if not x_hat.isfinite().all():
        return "the reconstruction is NaN where log_var is large: the draw is not protected"
    loss = model.loss_function(x, x_hat, mu, log_var)["loss"]
    if not loss.isfinite():
        return "the loss is not finite where log_var is large"
    loss.backward()
    bad = [name for name, p in model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    return f"the gradient of {bad[0]} is not finite where log_var is large" if bad else ""


def harmless(case: Case) -> str:
    inside = torch.linspace(-4, 4, case.latents)
    _, log_var = _with_log_var(case, inside).encode(case.images())
    if ((log_var[0] - inside).abs() > 0.1 * inside.abs() + 0.05).any():
        return "a log_var between -4 and 4, which harms nobody, is changed by more than a tenth"
    return kl_in_nats(case) or (bounded(case) and finite(case))


def from_mu(case: Case) -> str:
    model, x = case.model(), case.images()
    first, again = model.generate(x), model.generate(x)
    if not close(first, again):
        return "two calls of generate give two pictures"
    return "" if close(first, model.decode(model.encode(x)[0])) else "generate does not decode mu"


def draws_elsewhere(case: Case) -> str:
    model, x = case.model(), case.images()
    if close(model(x)[0], model(x)[0], 1e-6):
        return "forward no longer draws z in eval"
    state = torch.random.default_generator.get_state()
    model.generate(x)
    drew = not state.equal(torch.random.default_generator.get_state())
    return "generate draws random numbers or sets their seed" if drew else from_mu(case)


def _codes(case: Case, n: int) -> torch.Tensor:
    """mu and log_var (n, J), neither near 0."""
    return torch.randn(2, n, case.latents, generator=torch.Generator().manual_seed(case.seed))


def kl_in_nats(case: Case) -> str:
    mu, log_var = _codes(case, 4)
    model, x = case.model(), case.images(4)
    found = model.loss_function(x, case.images(4, more=1), mu, log_var)["kl"]
    expected = 0.5 * (mu.double() ** 2 + log_var.double().exp() - 1 - log_var.double()).sum(1).mean()
    return "" if close(found, expected) else f"the KL is {found:.3f} nats where {expected:.3f} is right"


def sum_of_terms(case: Case) -> str:
    alpha, beta = case.alpha, case.beta
    model, x, x_hat = case.model(alpha=alpha, beta=beta), case.images(), case.images(more=1)
    terms = model.loss_function(x, x_hat, *_codes(case, 3))
    pairs = zip(model.features(x_hat), model.features(x), strict=True)
    features = sum(0.5 * F.mse_loss(a, b) for a, b in pairs)
    if not close(terms["features"], features):
        return "the feature term is not half the mean squared differences, summed over layers"
    right = close(terms["loss"], alpha * terms["kl"] + beta * features)
    return "" if right else "the loss is no longer alpha * KL + beta * features"


def decoder_hears(case: Case) -> str:
    model, x = case.model(alpha=0.0), case.images().requires_grad_()
    x_hat, mu, log_var = model(x.detach())
    model.loss_function(x, x_hat, mu, log_var)["loss"].backward()
    if x.grad is not None and x.grad.abs().sum() > 0:
        return "the original gets a gradient"
    dead = [name for name, p in model.decoder.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    return f"no gradient reaches decoder.{dead[-1]}" if len(dead) > 4 else ""


def deviation(case: Case) -> str:
    mu, log_var = torch.full((20_000, 3), 2.0), torch.tensor([-2.0, 0.0, 1.5]).expand(20_000, 3)
    z = case.model().reparameterize(mu, log_var)
    right = close(z.std(0), log_var[0].div(2).exp(), 0.05) and close(z.mean(0), mu[0], 0.05)
    if not right:
        return "z has not the mean mu and the standard deviation exp(log_var / 2)"
    drawn = case.model().sample(2)
    different = drawn.shape == (2, 3, 64, 64) and not close(drawn[0], drawn[1], 1e-6)
    return "" if different else "sample(2) does not give two different images"
