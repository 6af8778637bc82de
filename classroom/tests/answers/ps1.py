"""Answers to problem set 1: right ones, each written in another way, and typical wrong ones.

A wrong answer is the first right one with words replaced, (old, new, old, new ...), or stands as a whole.
"""

RIGHT = {
    "draw_z": [
        """
def draw_z(mu, log_var, draws, generator):
    return mu + torch.exp(0.5 * log_var) * torch.randn((draws, *mu.shape), generator=generator)
""",
        """
class Noise:
    def __init__(self, generator):
        self.generator = generator

    def __call__(self, *shape):
        return torch.empty(shape, dtype=torch.float64).normal_(generator=self.generator)


def draw_z(mu, log_var, draws, generator):
    epsilon = Noise(generator)(*mu.shape, draws)
    return (mu[..., None] + torch.einsum("nj,njk->njk", log_var.exp().sqrt(), epsilon)).permute(2, 0, 1)
""",
    ],
    "kl_normal": [
        """
def kl_normal(mu, log_var, m, s):
    var, prior_var = log_var.exp(), s * s
    return 0.5 * (var / prior_var + (mu - m) ** 2 / prior_var - 1 - (var / prior_var).log()).sum(1).mean(0)
""",
        """
def of_one(mu, log_var, m, s):
    return torch.log(s) - log_var / 2 + (torch.exp(log_var) + (mu - m) ** 2) / (2 * s**2) - 0.5


def kl_normal(mu, log_var, m, s):
    total = 0.0
    for n in range(mu.shape[0]):
        for j in range(mu.shape[1]):
            total = total + of_one(mu[n, j], log_var[n, j], m[j], s[j])
    return total / mu.shape[0]
""",
    ],
    "kl_from_draws": [
        """
def kl_from_draws(mu, log_var, log_p, draws, generator):
    std = (log_var / 2).exp()
    epsilon = torch.randn(draws, *mu.shape, generator=generator)
    z = mu + std * epsilon
    log_q = (-0.5 * epsilon**2 - 0.5 * log_var - 0.5 * math.log(2 * math.pi)).sum(-1)
    d = log_q - log_p(z)
    kl = d.mean(0)
    return kl, ((d - kl) ** 2).sum(0).div(draws - 1).div(draws).sqrt()
""",
        """
def kl_from_draws(mu, log_var, log_p, draws, generator):
    q = torch.distributions.MultivariateNormal(mu, torch.diag_embed(log_var.exp()))
    epsilon = torch.randn(draws, *mu.shape, generator=generator)
    z = mu + torch.einsum("nj,knj->knj", log_var.exp().sqrt(), epsilon)
    d = q.log_prob(z) - log_p(z)
    return [d.mean(0), (d.var(0, unbiased=False) / draws).sqrt()]
""",
    ],
    "elbo": [
        """
def elbo(x, x_hat, mu, log_var, sigma):
    log_p = torch.distributions.Normal(x_hat, sigma).log_prob(x).sum(dim=(1, 2, 3))
    kl = -0.5 * (1 + log_var - mu**2 - torch.exp(log_var)).sum(1)
    return log_p - kl
""",
        """
def elbo(x, x_hat, mu, log_var, sigma):
    of_pictures = []
    for i in range(len(x)):
        error = F.mse_loss(x_hat[i].double(), x[i].double(), reduction="sum")
        constant = x[i].numel() * torch.log(torch.tensor(sigma * (2 * math.pi) ** 0.5))
        kl = sum((m**2 + v.exp() - v - 1) / 2 for m, v in zip(mu[i], log_var[i]))
        of_pictures.append(-error / (2 * sigma**2) - constant - kl)
    return torch.stack(of_pictures)
""",
    ],
    "decoder": [
        """
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
""",
        """
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
    ],
    "train_vae": [
        """
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
""",
        """
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
    ],
}
WRONG = {
    "draw_z": {
        "std = exp(log_var)": ("0.5 * log_var", "log_var"),
        "rand for randn": ("randn", "rand"),
        "uniform with the right spread": (
            "torch.randn((draws, *mu.shape), generator=generator)",
            "(12**0.5 * (torch.rand((draws, *mu.shape), generator=generator) - 0.5))",
        ),
        "one epsilon a batch": ("(draws, *mu.shape)", "(draws, 1, mu.shape[1])"),
        "one epsilon for all latents": ("(draws, *mu.shape)", "(draws, len(mu), 1)"),
        "every other draw repeated": (
            "((draws, *mu.shape), generator=generator)",
            "((draws // 2 + 1, *mu.shape), generator=generator).repeat_interleave(2, 0)[:draws]",
        ),
        "broken gradient (.data)": ("return mu +", "return mu.data +"),
        "a plain draw": ("return mu +", "with torch.no_grad():\n        return mu +"),
        "no mean": ("return mu +", "return"),
        "no noise": """
def draw_z(mu, log_var, draws, generator):
    return mu.expand(draws, *mu.shape)
""",
        "generator unused": (", generator=generator)", ")"),
        "generator seeded anew": ("    return", "    generator.manual_seed(7)\n    return"),
        "the package's own": """
def draw_z(mu, log_var, draws, generator):
    one = dfcvae.VAE(32, mu.shape[1], (8,))
    return torch.stack([one.reparameterize(mu, log_var, generator) for _ in range(draws)])
""",
    },
    "kl_normal": {
        "averages over latents": (".sum(1).mean(0)", ".mean(1).mean(0)"),
        "sums the batch": (".sum(1).mean(0)", ".sum()"),
        "drops 1/2": ("0.5 * ", ""),
        "flips the sign": ("0.5", "-0.5"),
        "sums pictures, averages latents": (".sum(1).mean(0)", ".sum(0).mean()"),
        "std = exp(log_var)": ("log_var.exp()", "(2 * log_var).exp()"),
        "exp(log_var) squared": ("0.5 * (var /", "0.5 * (var**2 /"),
        "log_var for log sigma": ("(var / prior_var).log()", "(var**2 / prior_var).log()"),
        "ignores m": ("(mu - m)", "mu"),
        "ignores s": ("s * s", "torch.ones_like(s)"),
        "without log s": ("(var / prior_var).log()", "log_var"),
        "the other direction": ("var / prior_var", "prior_var / var", "** 2 / prior_var", "** 2 / var"),
        "drops the -1": (" - 1", ""),
        "bits for nats": (".sum(1).mean(0)", ".sum(1).mean(0) / math.log(2)"),
        "broken gradient (.data)": ("var, prior_var = log_var", "mu = mu.data\n    var, prior_var = log_var"),
        "prior cannot learn": ("s * s", "s.item() ** 2 if s.ndim == 0 else (s * s).detach()"),
        "a number, no tensor": (".sum(1).mean(0)", ".sum(1).mean(0).item()"),
        "torch's own": """
def kl_normal(mu, log_var, m, s):
    normal = torch.distributions.Normal
    return torch.distributions.kl_divergence(normal(mu, (0.5 * log_var).exp()), normal(m, s)).sum(1).mean()
""",
        "the package's own": """
def kl_normal(mu, log_var, m, s):
    return dfcvae.kl_divergence((mu - m) / s, log_var - 2 * s.log())
""",
    },
    "kl_from_draws": {
        "without log q": ("log_q - log_p(z)", "-log_p(z)"),
        "without log p": ("log_q - log_p(z)", "log_q"),
        "log q without its constant": (" - 0.5 * math.log(2 * math.pi)", ""),
        "log q without log sigma": (" - 0.5 * log_var", ""),
        "flips the sign": ("log_q - log_p(z)", "log_p(z) - log_q"),
        "averages over latents": (".sum(-1)", ".mean(-1)"),
        "sums the draws": ("kl = d.mean(0)", "kl = d.sum(0)"),
        "std = exp(log_var)": ("(log_var / 2).exp()", "log_var.exp()"),
        "draws from the prior": ("z = mu + std * epsilon", "z = epsilon\n    epsilon = (z - mu) / std"),
        "other draws for p than for q": ("(z)", "(mu + std * torch.randn(z.shape, generator=generator))"),
        "rand for randn": ("randn", "rand"),
        "bits for nats": ("log_q - log_p(z)", "(log_q - log_p(z)) / math.log(2)"),
        "log q with the variance for std": ("2 - 0.5 *", "2 / std**2 -"),
        "generator unused": (", generator=generator)", ")"),
        "spread of a draw as the error": (".div(draws).sqrt()", ".sqrt()"),
        "no gradient": ("    std =", "    mu, log_var = mu.data, log_var.data\n    std ="),
        "closed form for every prior": """
def kl_from_draws(mu, log_var, log_p, draws, generator):
    kl = 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(1)
    return kl, torch.zeros_like(kl)
""",
    },
    "elbo": {
        "mean pixels with summed KL": (".sum(dim=(1, 2, 3))", ".mean(dim=(1, 2, 3))"),
        "KL averaged over latents": (".sum(1)", ".mean(1)"),
        "KL drops 1/2": ("-0.5 * (1", "-(1"),
        "adds the KL": ("log_p - kl", "log_p + kl"),
        "bits for nats": ("log_p - kl", "(log_p - kl) / math.log(2)"),
        "mean over the batch": ("log_p - kl", "(log_p - kl).mean()"),
        "without the constant": (
            "torch.distributions.Normal(x_hat, sigma).log_prob(x)",
            "(-0.5 * ((x - x_hat) / sigma) ** 2)",
        ),
        "sigma^2 for sigma": ("Normal(x_hat, sigma)", "Normal(x_hat, sigma**2)"),
        "constant without 2 pi": ("log_p - kl", "log_p - kl + 0.5 * x[0].numel() * math.log(2 * math.pi)"),
        "pixels of all pictures": (".sum(dim=(1, 2, 3))", ".sum()"),
        "std = exp(log_var)": (" + ", " + 2 * ", ".exp(log_var)", ".exp(2 * log_var)"),
        "exp(log_var) squared": ("torch.exp(log_var)", "torch.exp(log_var) ** 2"),
        "no KL": ("log_p - kl", "log_p"),
        "no gradient": ("log_p - kl", "(log_p - kl).detach()"),
        "the package's own": """
def elbo(x, x_hat, mu, log_var, sigma):
    log_p = torch.distributions.Normal(x_hat, sigma).log_prob(x).sum(dim=(1, 2, 3))
    return log_p - torch.stack([dfcvae.kl_divergence(m[None], v[None]) for m, v in zip(mu, log_var)])
""",
    },
    "decoder": {
        "transposed convolution": (
            ".Conv2d(c_in, c_out, 3)",
            ".ConvTranspose2d(c_in, c_out, 4, 2, 1)",
            'h = F.interpolate(h, scale_factor=2, mode="nearest")\n        ',
            "",
            'F.pad(h, (1, 1, 1, 1), mode="replicate")',
            "h",
        ),
        "bilinear": ('mode="nearest"', 'mode="bilinear"'),
        "tiles in place of repeated pixels": (
            'F.interpolate(h, scale_factor=2, mode="nearest")',
            "h.repeat(1, 1, 2, 2)",
        ),
        "zeros beyond the border": (', mode="replicate"', ""),
        "LeakyReLU in up_block": (
            "self.conv(",
            "F.leaky_relu(self.conv(",
            'replicate")',
            'replicate")), 0.2',
        ),
        "norm behind the LeakyReLU": (
            " = F.leaky_relu(norm(up(h)), 0.2)",
            " = norm(F.leaky_relu(up(h), 0.2))",
        ),
        "norm after the last level": (
            " channels[1:",
            " [*channels[1:], 3",
            ".sigmoid(self.ups[-1](h))",
            ".sigmoid(self.norms[-1](self.ups[-1](h)))",
            "ups,",
            "ups[:-1],",
        ),
        "ReLU before the sigmoid": (
            ".sigmoid(self.ups[-1](h))",
            ".sigmoid(F.leaky_relu(self.ups[-1](h), 0.2))",
        ),
        "no sigmoid": ("torch.sigmoid(self.ups[-1](h))", "self.ups[-1](h)"),
        "ReLU for LeakyReLU": ("F.leaky_relu(norm(up(h)), 0.2)", "F.relu(norm(up(h)))"),
        "slope of 0.01": ("norm(up(h)), 0.2", "norm(up(h))"),
        "no batch norm": ("h = F.leaky_relu(norm(up(h)), 0.2)", "h = F.leaky_relu(up(h), 0.2)"),
        "channels in reverse": (
            "\n        self.shape",
            "\n        channels = channels[::-1]\n        self.shape",
        ),
        "a level too few": ("zip(channels, [*channels[1:], 3])", "zip(channels[1:], [*channels[2:], 3])"),
        "nothing learns": ("torch", "torch.sigmoid(0 * self.ups[-1](h)) + 0 * torch"),
        "the package's own": """
def up_block(c_in, c_out):
    return dfcvae.vae.UpsampleConv2d(c_in, c_out)


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
        "KL averaged over latents": ("std.log()).sum(1).mean()", "std.log()).mean()"),
        "mean pixels with summed KL": (".sum(dim=(1, 2, 3)).mean()", ".mean()"),
        "KL subtracted": ("alpha * kl +", "-alpha * kl +"),
        "alpha and beta swapped": ("alpha * kl + beta *", "beta * kl + alpha *"),
        "std = exp(log_var)": ("z = mu + std *", "z = mu + std**2 *"),
        "log_var unused": ("z = mu + std *", "z = mu +"),
        "z from the prior": ("z = mu + std *", "z ="),
        "exp(log_var) squared in the KL": ("std**2 - 1", "std**4 - 1"),
        "reconstruction noted with beta": ("kl,", "kl, beta *"),
        "x_hat detached": ("model.decode(z)", "model.decode(z).detach()"),
        "zero_grad behind backward": (
            "        optimizer.zero_grad()\n",
            "",
            "backward",
            "backward()\n        optimizer.zero_grad",
        ),
        "rand for randn": ("randn", "rand"),
        "no noise": ("z = mu + std * torch.randn(mu.shape, generator=generator)", "z = mu"),
        "one epsilon a batch": ("torch.randn(mu.shape,", "torch.randn(1, mu.shape[1],"),
        "noise without the generator": ("torch.randn(mu.shape, generator=generator)", "torch.randn_like(mu)"),
        "broken gradient (.data)": ("z = mu + std *", "z = mu.data + std.data *"),
        "spread detached": ("z = mu + std *", "z = mu + std.detach() *"),
        "no zero_grad": ("optimizer.zero_grad()", "pass"),
        "no step": ("optimizer.step()", "pass"),
        "SGD for Adam": ("optim.Adam", "optim.SGD"),
        "its own learning rate": ("lr=learning_rate", "lr=1e-3"),
        "trains the decoder only": (
            "model.parameters()",
            "[*model.decoder.parameters(), *model.from_z.parameters()]",
        ),
        "a new optimizer each step": (
            ".zero_grad",
            " = torch.optim.Adam(model.parameters(), lr=learning_rate); optimizer.zero_grad",
        ),
        "eval mode": ("    history = []", "    history = []\n    model.eval()"),
        "the same batch always": (
            ".randint(len(pictures), (batch_size,), generator=generator)",
            ".arange(batch_size)",
        ),
        "tensors in the history": ("float(v.detach())", "v"),
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

# What the self-check says of some of them.
NAMED = {
    "draw_z": {
        "std = exp(log_var)": "that is a variance",
        "rand for randn": "looks uniform",
        "one epsilon a batch": "one epsilon serves the whole batch",
        "broken gradient (.data)": "no gradient arrives at mu",
        "generator seeded anew": "seeded anew",
    },
    "kl_normal": {
        "averages over latents": "averaged over latents: sum them",
        "sums the batch": "summed over pictures",
        "drops 1/2": "a factor of 1/2 is dropped",
        "flips the sign": "wrong sign",
        "bits for nats": "in bits",
        "std = exp(log_var)": "used as standard deviation",
        "exp(log_var) squared": "exp(log_var) looks squared",
        "log_var for log sigma": "log_var looks used as log sigma",
        "sums pictures, averages latents": "the other way round",
    },
    "kl_from_draws": {
        "without log q": "log q looks left out",
        "log q with the variance for std": "log q is taken with exp(log_var)",
        "log q without log sigma": "log q lacks log sigma",
        "generator unused": "must come from `generator`",
        "closed form for every prior": "log_p is never called",
    },
    "elbo": {
        "mean pixels with summed KL": "pixels look averaged and the KL summed",
        "constant without 2 pi": "without 2 pi",
        "exp(log_var) squared": "exp(log_var) looks squared in the KL",
        "pixels of all pictures": "pixels of all pictures are summed",
    },
    "decoder": {
        "tiles in place of repeated pixels": "repeat each pixel",
        "LeakyReLU in up_block": "a LeakyReLU stands in up_block",
    },
    "train_vae": {
        "std = exp(log_var)": "exp(log_var) looks used as standard deviation",
        "log_var unused": "log_var looks unused",
        "z from the prior": "z looks drawn from N(0, I)",
        "trains the decoder only": "the encoder's weights have not moved",
        "x_hat detached": "the decoder's weights have not moved",
        "broken gradient (.data)": "does the gradient pass through z",
    },
}
