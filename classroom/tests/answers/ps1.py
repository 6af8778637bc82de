"""Problem set 1: typical wrong answers, by task and name, and right ones that are written differently.

Most wrong answers are the right one with a few words changed, and are written as just that: ``changed``.
"""

DRAW_Z = """
def draw_z(mu, log_var, draws, generator):
    return mu + torch.exp(0.5 * log_var) * torch.randn((draws, *mu.shape), generator=generator)
"""
KL_NORMAL = """
def kl_normal(mu, log_var, m, s):
    var, prior_var = log_var.exp(), s * s
    return 0.5 * (var / prior_var + (mu - m) ** 2 / prior_var - 1 - (var / prior_var).log()).sum(1).mean(0)
"""
KL_FROM_DRAWS = """
def kl_from_draws(mu, log_var, log_p, draws, generator):
    std = (log_var / 2).exp()
    epsilon = torch.randn(draws, *mu.shape, generator=generator)
    z = mu + std * epsilon
    log_q = (-0.5 * epsilon**2 - 0.5 * log_var - 0.5 * math.log(2 * math.pi)).sum(-1)
    d = log_q - log_p(z)
    kl = d.mean(0)
    return kl, ((d - kl) ** 2).sum(0).div(draws - 1).div(draws).sqrt()
"""
ELBO = """
def elbo(x, x_hat, mu, log_var, sigma):
    log_p = torch.distributions.Normal(x_hat, sigma).log_prob(x).sum(dim=(1, 2, 3))
    kl = -0.5 * (1 + log_var - mu**2 - torch.exp(log_var)).sum(1)
    return log_p - kl
"""
DECODER = """
class Up(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3)

    def forward(self, h):
        h = F.interpolate(h, scale_factor=2, mode="nearest")
        return self.conv(F.pad(h, (1, 1, 1, 1), mode="replicate"))


def up_block(c_in, c_out):
    return Up(c_in, c_out)


class Decoder(nn.Module):
    def __init__(self, latent_dim, channels, image_size):
        super().__init__()
        self.shape = channels[0], image_size // 2 ** len(channels), image_size // 2 ** len(channels)
        self.from_z = nn.Linear(latent_dim, math.prod(self.shape))
        self.ups = nn.ModuleList([up_block(a, b) for a, b in zip(channels, [*channels[1:], 3])])
        self.norms = nn.ModuleList([nn.BatchNorm2d(c) for c in channels[1:]])

    def forward(self, z):
        h = self.from_z(z).view(-1, *self.shape)
        for up, norm in zip(self.ups, self.norms):
            h = F.leaky_relu(norm(up(h)), 0.2)
        return torch.sigmoid(self.ups[-1](h))


def make_decoder(latent_dim, channels, image_size):
    return Decoder(latent_dim, channels, image_size)
"""
TRAIN_VAE = """
def train_vae(model, pictures, steps, batch_size, alpha, beta, learning_rate, generator):
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    history = []
    for step in range(steps):
        x = pictures[torch.randint(len(pictures), (batch_size,), generator=generator)]
        optimizer.zero_grad()
        mu, log_var = model.encode(x)
        std = torch.exp(0.5 * log_var)
        z = mu + std * torch.randn(mu.shape, generator=generator)
        x_hat = model.decode(z)
        kl = (0.5 * (mu**2 + std**2 - 1) - std.log()).sum(1).mean()
        reconstruction = ((x - x_hat) ** 2).sum(dim=(1, 2, 3)).mean()
        loss = alpha * kl + beta * reconstruction
        loss.backward()
        optimizer.step()
        values = loss, kl, reconstruction
        history.append(dict(zip(("loss", "kl", "reconstruction"), [float(v.detach()) for v in values])))
    return history
"""
# More right answers: what a student may do otherwise, in loops, in float64, in another order.
MORE_RIGHT = {
    "draw_z": """
class Noise:
    def __init__(self, generator):
        self.generator = generator

    def __call__(self, *shape):
        return torch.empty(shape, dtype=torch.float64).normal_(generator=self.generator)


def draw_z(mu, log_var, draws, generator):
    epsilon = Noise(generator)(*mu.shape, draws)
    return (mu[..., None] + torch.einsum("nj,njk->njk", log_var.exp().sqrt(), epsilon)).permute(2, 0, 1)
""",
    "kl_normal": """
def of_one(mu, log_var, m, s):
    return torch.log(s) - log_var / 2 + (torch.exp(log_var) + (mu - m) ** 2) / (2 * s**2) - 0.5


def kl_normal(mu, log_var, m, s):
    total = 0.0
    for n in range(mu.shape[0]):
        for j in range(mu.shape[1]):
            total = total + of_one(mu[n, j], log_var[n, j], m[j], s[j])
    return total / mu.shape[0]
""",
    "kl_from_draws": """
def kl_from_draws(mu, log_var, log_p, draws, generator):
    q = torch.distributions.MultivariateNormal(mu, torch.diag_embed(log_var.exp()))
    epsilon = torch.randn(draws, *mu.shape, generator=generator)
    z = mu + torch.einsum("nj,knj->knj", log_var.exp().sqrt(), epsilon)
    d = q.log_prob(z) - log_p(z)
    return [d.mean(0), (d.var(0, unbiased=False) / draws).sqrt()]
""",
    "elbo": """
def elbo(x, x_hat, mu, log_var, sigma):
    of_pictures = []
    for i in range(len(x)):
        error = F.mse_loss(x_hat[i].double(), x[i].double(), reduction="sum")
        constant = x[i].numel() * torch.log(torch.tensor(sigma * (2 * math.pi) ** 0.5))
        kl = sum((m**2 + v.exp() - v - 1) / 2 for m, v in zip(mu[i], log_var[i]))
        of_pictures.append(-error / (2 * sigma**2) - constant - kl)
    return torch.stack(of_pictures)
""",
    "decoder": """
class Twice(nn.Module):
    def forward(self, h):
        return torch.kron(h, torch.ones(2, 2))


def up_block(c_in, c_out):
    return nn.Sequential(Twice(), nn.ReplicationPad2d(1), nn.Conv2d(c_in, c_out, (3, 3)))


class Backwards(nn.Module):
    def __init__(self, latent_dim, channels, image_size):
        super().__init__()
        self.last = up_block(channels[-1], 3)
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in reversed(channels[1:]))
        self.ups = nn.ModuleList(up_block(a, b) for b, a in zip(channels[:0:-1], channels[-2::-1]))
        self.grid, self.wide = image_size // 2 ** len(channels), channels[0]
        self.first = nn.Linear(latent_dim, self.wide * self.grid**2)

    def forward(self, z):
        h = self.first(z).reshape(len(z), self.wide, self.grid, self.grid)
        for up, norm in zip(reversed(self.ups), reversed(self.norms)):
            h = F.leaky_relu(norm(up(h)), 0.2)
        return 1 / (1 + torch.exp(-self.last(h)))


def make_decoder(latent_dim, channels, image_size):
    return Backwards(latent_dim, channels, image_size)
""",
    "train_vae": """
def batches(pictures, batch_size, generator):
    while True:
        yield from torch.utils.data.DataLoader(
            pictures, batch_size=batch_size, shuffle=True, drop_last=True, generator=generator
        )


def train_vae(model, pictures, steps, batch_size, alpha, beta, learning_rate, generator):
    optimizer = torch.optim.Adam([{"params": list(model.parameters())}], lr=learning_rate)
    notes, source = [], batches(pictures, batch_size, generator)
    while len(notes) < steps:
        x = next(source)
        mu, log_var = model.train().encode(x)
        z = torch.addcmul(mu, (log_var / 2).exp(), torch.empty_like(mu).normal_(generator=generator))
        x_hat = model.decode(z)
        kl = sum(0.5 * (m @ m + (v.exp() - 1 - v).sum()) for m, v in zip(mu, log_var)) / len(x)
        reconstruction = F.mse_loss(x_hat, x, reduction="sum") / len(x)
        loss = alpha * kl + beta * reconstruction
        for p, gradient in zip(model.parameters(), torch.autograd.grad(loss, list(model.parameters()))):
            p.grad = gradient
        optimizer.step()
        notes.append({"reconstruction": reconstruction.tolist(), "kl": kl.tolist(), "loss": loss.tolist()})
    return notes
""",
}
ALTERNATIVES = {
    "draw_z": DRAW_Z,
    "kl_normal": KL_NORMAL,
    "kl_from_draws": KL_FROM_DRAWS,
    "elbo": ELBO,
    "decoder": DECODER,
    "train_vae": TRAIN_VAE,
}


def changed(right: str, *changes: tuple[str, str]) -> str:
    """The right answer with some words replaced. AssertionError where a word is not there to be replaced."""
    for old, new in changes:
        assert old in right, f"{old!r} is not in the answer: {right}"
        right = right.replace(old, new)
    return right


NOISE = "torch.randn((draws, *mu.shape), generator=generator)"
SUMMED, NORMS = ".sum(1).mean(0)", "h = F.leaky_relu(norm(up(h)), 0.2)"
UP, LAST = 'F.interpolate(h, scale_factor=2, mode="nearest")', "torch.sigmoid(self.ups[-1](h))"

WRONG = {
    "draw_z": {
        "std = exp(log_var)": changed(DRAW_Z, ("0.5 * log_var", "log_var")),
        "log_var for std": changed(DRAW_Z, ("torch.exp(0.5 * log_var)", "log_var")),
        "std = exp(-log_var / 2)": changed(DRAW_Z, ("0.5 * log_var", "-0.5 * log_var")),
        "rand for randn": changed(DRAW_Z, ("randn", "rand")),
        "uniform with the right spread": changed(
            DRAW_Z, (NOISE, f"(12**0.5 * ({NOISE.replace('randn', 'rand')} - 0.5))")
        ),
        "one epsilon a batch": changed(DRAW_Z, ("(draws, *mu.shape)", "(draws, 1, mu.shape[1])")),
        "one epsilon for all latents": changed(DRAW_Z, ("(draws, *mu.shape)", "(draws, len(mu), 1)")),
        "one epsilon for all draws": changed(
            DRAW_Z, (NOISE, f"{NOISE.replace('draws', '1')}.expand(draws, -1, -1)")
        ),
        "every other draw repeated": changed(
            DRAW_Z, (NOISE, f"{NOISE.replace('draws', 'draws // 2 + 1')}.repeat_interleave(2, 0)[:draws]")
        ),
        "broken gradient (.data)": changed(DRAW_Z, ("return mu +", "return mu.data +")),
        "broken gradient of the spread": changed(DRAW_Z, ("log_var)", "log_var.detach())")),
        "a plain draw": changed(DRAW_Z, ("return mu +", "with torch.no_grad():\n        return mu +")),
        "no mean": changed(DRAW_Z, ("return mu +", "return")),
        "no noise": "def draw_z(mu, log_var, draws, generator):\n    return mu.expand(draws, *mu.shape)\n",
        "generator unused": changed(DRAW_Z, (", generator=generator)", ")")),
        "its own seed": changed(
            DRAW_Z, ("    return", "    torch.manual_seed(7)\n    return"), (", generator=generator)", ")")
        ),
        "generator seeded anew": changed(DRAW_Z, ("    return", "    generator.manual_seed(7)\n    return")),
        "the package's own": """
def draw_z(mu, log_var, draws, generator):
    one = dfcvae.VAE(32, mu.shape[1], (8,))
    return torch.stack([one.reparameterize(mu, log_var, generator) for _ in range(draws)])
""",
    },
    "kl_normal": {
        "averages over latents": changed(KL_NORMAL, (SUMMED, ".mean(1).mean(0)")),
        "sums the batch": changed(KL_NORMAL, (SUMMED, ".sum()")),
        "one number a picture": changed(KL_NORMAL, (SUMMED, ".sum(1)")),
        "drops 1/2": changed(KL_NORMAL, ("0.5 * ", "")),
        "flips the sign": changed(KL_NORMAL, ("0.5", "-0.5")),
        "sums pictures, averages latents": changed(KL_NORMAL, (SUMMED, ".sum(0).mean()")),
        "std = exp(log_var)": changed(KL_NORMAL, ("log_var.exp()", "(2 * log_var).exp()")),
        "exp(log_var) squared": changed(KL_NORMAL, ("0.5 * (var /", "0.5 * (var**2 /")),
        "std for the variance": changed(KL_NORMAL, ("0.5 * (var /", "0.5 * (var**0.5 /")),
        "log_var for log sigma": changed(
            KL_NORMAL, ("(var / prior_var).log()", "(var**2 / prior_var).log()")
        ),
        "distance not squared": changed(KL_NORMAL, ("(mu - m) ** 2", "(mu - m)")),
        "-1 for -1/2": changed(KL_NORMAL, (" - 1", " - 2")),
        "ignores m": changed(KL_NORMAL, ("(mu - m)", "mu")),
        "ignores s": changed(KL_NORMAL, ("s * s", "torch.ones_like(s)")),
        "s for s^2": changed(KL_NORMAL, ("s * s", "s")),
        "mean not divided by s^2": changed(KL_NORMAL, ("** 2 / prior_var", "** 2")),
        "without log s": changed(KL_NORMAL, ("(var / prior_var).log()", "log_var")),
        "the other direction": changed(
            KL_NORMAL, ("var / prior_var", "prior_var / var"), ("** 2 / prior_var", "** 2 / var")
        ),
        "drops the -1": changed(KL_NORMAL, (" - 1", "")),
        "bits for nats": changed(KL_NORMAL, (SUMMED, f"{SUMMED} / math.log(2)")),
        "broken gradient (.data)": changed(
            KL_NORMAL, ("var, prior_var = log_var", "mu = mu.data\n    var, prior_var = log_var")
        ),
        "prior cannot learn": changed(
            KL_NORMAL, ("s * s", "s.item() ** 2 if s.ndim == 0 else (s * s).detach()")
        ),
        "a number, no tensor": changed(KL_NORMAL, (SUMMED, f"{SUMMED}.item()")),
        "torch's own": """
def kl_normal(mu, log_var, m, s):
    normal = torch.distributions.Normal
    return torch.distributions.kl_divergence(normal(mu, (0.5 * log_var).exp()), normal(m, s)).sum(1).mean()
""",
        "the package's own": "def kl_normal(mu, log_var, m, s):\n"
        "    return dfcvae.kl_divergence((mu - m) / s, log_var - 2 * s.log())\n",
    },
    "kl_from_draws": {
        "without log q": changed(KL_FROM_DRAWS, ("log_q - log_p(z)", "-log_p(z)")),
        "without log p": changed(KL_FROM_DRAWS, ("log_q - log_p(z)", "log_q")),
        "log q without its constant": changed(KL_FROM_DRAWS, (" - 0.5 * math.log(2 * math.pi)", "")),
        "log q without log sigma": changed(KL_FROM_DRAWS, (" - 0.5 * log_var", "")),
        "flips the sign": changed(KL_FROM_DRAWS, ("log_q - log_p(z)", "log_p(z) - log_q")),
        "averages over latents": changed(KL_FROM_DRAWS, (".sum(-1)", ".mean(-1)")),
        "sums the draws": changed(KL_FROM_DRAWS, ("kl = d.mean(0)", "kl = d.sum(0)")),
        "one number for the batch": changed(KL_FROM_DRAWS, ("kl = d.mean(0)", "kl = d.mean()")),
        "std = exp(log_var)": changed(KL_FROM_DRAWS, ("(log_var / 2).exp()", "log_var.exp()")),
        "draws from the prior": changed(
            KL_FROM_DRAWS, ("z = mu + std * epsilon", "z = epsilon\n    epsilon = (z - mu) / std")
        ),
        "other draws for p than for q": changed(
            KL_FROM_DRAWS, ("log_p(z)", "log_p(mu + std * torch.randn(z.shape, generator=generator))")
        ),
        "rand for randn": changed(KL_FROM_DRAWS, ("randn", "rand")),
        "bits for nats": changed(KL_FROM_DRAWS, ("log_q - log_p(z)", "(log_q - log_p(z)) / math.log(2)")),
        "log q with the variance for std": changed(
            KL_FROM_DRAWS, ("-0.5 * epsilon**2 - 0.5 * log_var", "-0.5 * epsilon**2 / std**2 - log_var")
        ),
        "generator unused": changed(KL_FROM_DRAWS, (", generator=generator)", ")")),
        "spread of a draw as the error": changed(KL_FROM_DRAWS, (".div(draws).sqrt()", ".sqrt()")),
        "variance as the error": changed(KL_FROM_DRAWS, (".div(draws).sqrt()", ".div(draws)")),
        "absolute differences": changed(KL_FROM_DRAWS, ("log_q - log_p(z)", "(log_q - log_p(z)).abs()")),
        "no gradient": changed(
            KL_FROM_DRAWS, ("    std =", "    mu, log_var = mu.data, log_var.data\n    std =")
        ),
        "closed form for every prior": """
def kl_from_draws(mu, log_var, log_p, draws, generator):
    kl = 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(1)
    return kl, torch.zeros_like(kl)
""",
    },
    "elbo": {
        "mean pixels with summed KL": changed(ELBO, (".sum(dim=(1, 2, 3))", ".mean(dim=(1, 2, 3))")),
        "KL averaged over latents": changed(ELBO, (".sum(1)", ".mean(1)")),
        "everything averaged": changed(
            ELBO, (".sum(1)", ".mean(1)"), (".sum(dim=(1, 2, 3))", ".mean(dim=(1, 2, 3))")
        ),
        "KL drops 1/2": changed(ELBO, ("-0.5 * (1", "-(1")),
        "adds the KL": changed(ELBO, ("log_p - kl", "log_p + kl")),
        "the loss in place of the ELBO": changed(ELBO, ("log_p - kl", "kl - log_p")),
        "bits for nats": changed(ELBO, ("log_p - kl", "(log_p - kl) / math.log(2)")),
        "mean over the batch": changed(ELBO, ("log_p - kl", "(log_p - kl).mean()")),
        "without the constant": changed(
            ELBO,
            ("torch.distributions.Normal(x_hat, sigma).log_prob(x)", "(-0.5 * ((x - x_hat) / sigma) ** 2)"),
        ),
        "sigma^2 for sigma": changed(ELBO, ("Normal(x_hat, sigma)", "Normal(x_hat, sigma**2)")),
        "root of sigma": changed(ELBO, ("Normal(x_hat, sigma)", "Normal(x_hat, sigma**0.5)")),
        "sigma forgotten": changed(ELBO, ("Normal(x_hat, sigma)", "Normal(x_hat, 1.0)")),
        "squared error without 1/2": changed(
            ELBO,
            (
                ".sum(dim=(1, 2, 3))",
                ".sum(dim=(1, 2, 3)) - ((x - x_hat) ** 2).sum(dim=(1, 2, 3)) / (2 * sigma**2)",
            ),
        ),
        "constant of one pixel": changed(
            ELBO,
            ("torch.distributions.Normal(x_hat, sigma).log_prob(x)", "(-0.5 * ((x - x_hat) / sigma) ** 2)"),
            ("log_p - kl", "log_p - kl - 0.5 * math.log(2 * math.pi * sigma**2)"),
        ),
        "constant without 2 pi": changed(
            ELBO, ("log_p - kl", "log_p - kl + 0.5 * x[0].numel() * math.log(2 * math.pi)")
        ),
        "KL averaged over the batch": changed(ELBO, ("log_p - kl", "log_p - kl.mean()")),
        "pixels of all pictures": changed(ELBO, (".sum(dim=(1, 2, 3))", ".sum()")),
        "std = exp(log_var)": changed(
            ELBO, ("1 + log_var", "1 + 2 * log_var"), ("torch.exp(log_var)", "torch.exp(2 * log_var)")
        ),
        "exp(log_var) squared": changed(ELBO, ("torch.exp(log_var)", "torch.exp(log_var) ** 2")),
        "KL drops the 1": changed(ELBO, ("(1 + log_var", "(log_var")),
        "no KL": changed(ELBO, ("log_p - kl", "log_p")),
        "no gradient": changed(ELBO, ("log_p - kl", "(log_p - kl).detach()")),
        "the package's own": """
def elbo(x, x_hat, mu, log_var, sigma):
    log_p = torch.distributions.Normal(x_hat, sigma).log_prob(x).sum(dim=(1, 2, 3))
    return log_p - torch.stack([dfcvae.kl_divergence(m[None], v[None]) for m, v in zip(mu, log_var)])
""",
    },
    "decoder": {
        "transposed convolution": changed(
            DECODER,
            ("nn.Conv2d(c_in, c_out, 3)", "nn.ConvTranspose2d(c_in, c_out, 4, 2, 1)"),
            (f"h = {UP}\n        ", ""),
            ('F.pad(h, (1, 1, 1, 1), mode="replicate")', "h"),
        ),
        "bilinear": changed(DECODER, ('mode="nearest"', 'mode="bilinear"')),
        "tiles in place of repeated pixels": changed(DECODER, (UP, "h.repeat(1, 1, 2, 2)")),
        "zeros beyond the border": changed(DECODER, (', mode="replicate"', "")),
        "convolves before it repeats": changed(
            DECODER,
            (f"h = {UP}", 'h = self.conv(F.pad(h, (1, 1, 1, 1), mode="replicate"))'),
            ('return self.conv(F.pad(h, (1, 1, 1, 1), mode="replicate"))', f"return {UP}"),
        ),
        "LeakyReLU in up_block": changed(
            DECODER,
            ("return self.conv(", "return F.leaky_relu(self.conv("),
            ('mode="replicate"))', 'mode="replicate")), 0.2)'),
        ),
        "norm behind the LeakyReLU": changed(DECODER, (NORMS, "h = norm(F.leaky_relu(up(h), 0.2))")),
        "kernel of one pixel": changed(
            DECODER, ("c_out, 3)", "c_out, 1)"), ('F.pad(h, (1, 1, 1, 1), mode="replicate")', "h")
        ),
        "doubles by four": changed(DECODER, ("scale_factor=2", "scale_factor=4")),
        "norm after the last level": changed(
            DECODER,
            ("for c in channels[1:]]", "for c in [*channels[1:], 3]]"),
            (LAST, "torch.sigmoid(self.norms[-1](self.ups[-1](h)))"),
            ("zip(self.ups, self.norms)", "zip(self.ups[:-1], self.norms)"),
        ),
        "ReLU before the sigmoid": changed(
            DECODER, (LAST, "torch.sigmoid(F.leaky_relu(self.ups[-1](h), 0.2))")
        ),
        "no sigmoid": changed(DECODER, (LAST, "self.ups[-1](h)")),
        "clamp for sigmoid": changed(DECODER, (LAST, "self.ups[-1](h).clamp(0, 1)")),
        "tanh": changed(DECODER, (LAST, "torch.tanh(self.ups[-1](h))")),
        "ReLU for LeakyReLU": changed(DECODER, ("F.leaky_relu(norm(up(h)), 0.2)", "F.relu(norm(up(h)))")),
        "slope of 0.01": changed(DECODER, ("norm(up(h)), 0.2", "norm(up(h))")),
        "no batch norm": changed(DECODER, (NORMS, "h = F.leaky_relu(up(h), 0.2)")),
        "channels in reverse": changed(
            DECODER,
            (
                "super().__init__()\n        self.shape",
                "super().__init__()\n        channels = channels[::-1]\n        self.shape",
            ),
        ),
        "a level too few": changed(
            DECODER, ("zip(channels, [*channels[1:], 3])", "zip(channels[1:], [*channels[2:], 3])")
        ),
        "nothing learns": changed(
            DECODER, ("return torch.sigmoid", "return torch.sigmoid(0 * self.ups[-1](h)) + 0 * torch.sigmoid")
        ),
        "the package's own": """
def up_block(c_in, c_out):
    return dfcvae.fast.upsampling.UpsampleConv2d(c_in, c_out)


class Decoder(nn.Module):
    def __init__(self, *sizes):
        super().__init__()
        latent_dim, channels, image_size = sizes
        self.vae = dfcvae.VAE(image_size, latent_dim, tuple(reversed(channels)))

    def forward(self, z):
        return self.vae.decode(z)


def make_decoder(latent_dim, channels, image_size):
    return Decoder(latent_dim, channels, image_size)
""",
    },
    "train_vae": {
        "KL averaged over latents": changed(TRAIN_VAE, ("std.log()).sum(1).mean()", "std.log()).mean()")),
        "mean pixels with summed KL": changed(TRAIN_VAE, (".sum(dim=(1, 2, 3)).mean()", ".mean()")),
        "errors summed over the batch": changed(TRAIN_VAE, (".sum(dim=(1, 2, 3)).mean()", ".sum()")),
        "KL subtracted": changed(TRAIN_VAE, ("alpha * kl +", "-alpha * kl +")),
        "KL reported in bits": changed(TRAIN_VAE, ("values = loss, kl,", "values = loss, kl / math.log(2),")),
        "alpha and beta swapped": changed(TRAIN_VAE, ("alpha * kl + beta *", "beta * kl + alpha *")),
        "no KL": changed(TRAIN_VAE, ("alpha * kl +", "0 * kl +")),
        "weights forgotten": changed(
            TRAIN_VAE, ("alpha * kl + beta * reconstruction", "kl + reconstruction")
        ),
        "std = exp(log_var)": changed(TRAIN_VAE, ("z = mu + std *", "z = mu + std**2 *")),
        "log_var unused": changed(TRAIN_VAE, ("z = mu + std *", "z = mu +")),
        "z from the prior": changed(TRAIN_VAE, ("z = mu + std *", "z =")),
        "exp(log_var) squared in the KL": changed(TRAIN_VAE, ("std**2 - 1", "std**4 - 1")),
        "reconstruction noted with beta": changed(
            TRAIN_VAE, ("values = loss, kl, reconstruction", "values = loss, kl, beta * reconstruction")
        ),
        "x_hat detached": changed(TRAIN_VAE, ("model.decode(z)", "model.decode(z).detach()")),
        "zero_grad behind backward": changed(
            TRAIN_VAE,
            ("        optimizer.zero_grad()\n", ""),
            ("loss.backward()", "loss.backward()\n        optimizer.zero_grad()"),
        ),
        "rand for randn": changed(TRAIN_VAE, ("randn", "rand")),
        "no noise": changed(
            TRAIN_VAE, ("z = mu + std * torch.randn(mu.shape, generator=generator)", "z = mu")
        ),
        "one epsilon a batch": changed(TRAIN_VAE, ("torch.randn(mu.shape,", "torch.randn(1, mu.shape[1],")),
        "noise without the generator": changed(
            TRAIN_VAE, ("torch.randn(mu.shape, generator=generator)", "torch.randn_like(mu)")
        ),
        "broken gradient (.data)": changed(TRAIN_VAE, ("z = mu + std *", "z = mu.data + std.data *")),
        "spread detached": changed(TRAIN_VAE, ("z = mu + std *", "z = mu + std.detach() *")),
        "no zero_grad": changed(TRAIN_VAE, ("optimizer.zero_grad()", "pass")),
        "no step": changed(TRAIN_VAE, ("optimizer.step()", "pass")),
        "SGD for Adam": changed(TRAIN_VAE, ("optim.Adam", "optim.SGD")),
        "its own learning rate": changed(TRAIN_VAE, ("lr=learning_rate", "lr=1e-3")),
        "trains the decoder only": changed(
            TRAIN_VAE,
            ("Adam(model.parameters()", "Adam([*model.decoder.parameters(), *model.from_z.parameters()]"),
        ),
        "a new optimizer each step": changed(
            TRAIN_VAE,
            (
                "optimizer.zero_grad()",
                "optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate); optimizer.zero_grad()",
            ),
        ),
        "eval mode": changed(TRAIN_VAE, ("    history = []", "    history = []\n    model.eval()")),
        "the same batch always": changed(
            TRAIN_VAE,
            ("torch.randint(len(pictures), (batch_size,), generator=generator)", "torch.arange(batch_size)"),
        ),
        "all pictures each step": changed(
            TRAIN_VAE,
            (
                "x = pictures[torch.randint(len(pictures), (batch_size,), generator=generator)]",
                "x = pictures",
            ),
        ),
        "tensors in the history": changed(TRAIN_VAE, ("float(v.detach())", "v")),
        "one step too few": changed(TRAIN_VAE, ("range(steps)", "range(steps - 1)")),
        "the package's own": """
def train_vae(model, pictures, steps, batch_size, alpha, beta, learning_rate, generator):
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    history = []
    for step in range(steps):
        x = pictures[torch.randint(len(pictures), (batch_size,), generator=generator)]
        out = model(x, generator)
        kl = dfcvae.kl_divergence(out.mu, out.log_var)
        reconstruction = (x - out.reconstruction).square().flatten(1).sum(1).mean()
        loss = alpha * kl + beta * reconstruction
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append({"loss": loss.item(), "kl": kl.item(), "reconstruction": reconstruction.item()})
    return history
""",
    },
}
