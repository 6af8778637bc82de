"""Problem set 4: typical wrong answers, by task and name, and right ones that are written differently.

A wrong repair is the program with everything right but one thing, so that it shows what this one thing costs.
They are to be run where the notebook's program (``WildDFCVAE``, ``small_vgg``) and imports are defined.
"""

from dfcvae_classroom.grading.wild.editing import text
from dfcvae_classroom.grading.wild.faults import ENCODE, FAULTS, KL, TARGET, Edit

HALF, DEVIATION = "0.5 * F.mse_loss(phi_hat, phi)", "torch.exp(0.5 * log_var) * torch.randn_like(mu)"
LOSS, DRAWN = "self.alpha * kl + self.beta * features", "torch.randn(n, self.latent_dim)"


def program(*edits: Edit) -> str:
    """The program with these edits, as a student hands it in: under another name, without the VGG."""
    whole = text(*edits)
    return whole[whole.index("class Judge") :].replace("Judge", "OwnJudge").replace("WildDFCVAE", "Repaired")


# How a repair for which nothing was tested breaks what was right.
DAMAGE: dict[str, Edit] = {
    "KL averaged over latents": {KL: KL.replace("sum(dim=1)", "mean(dim=1)")},
    "KL with the wrong sign": {KL: KL.replace("-0.5 *", "0.5 *")},
    "KL left out": {LOSS: "self.beta * features"},
    "alpha and beta swapped": {LOSS: "self.beta * kl + self.alpha * features"},
    "no 1/2": {HALF: "F.mse_loss(phi_hat, phi)"},
    "both branches without gradient": {
        "zip(self.features(x_hat), target": "zip([phi.detach() for phi in self.features(x_hat)], target"
    },
    "a target with gradient": {"        with torch.no_grad():\n            " + TARGET: "        " + TARGET},
    "std = exp(log_var)": {DEVIATION: DEVIATION.replace("0.5 * ", "")},
    "samples without a draw": {DRAWN: "0.0 * " + DRAWN},
    "the whole model in eval": {
        ENCODE: "    def train(self, mode=True):\n        return super().train(False)\n\n" + ENCODE
    },
}
FOUND = """
found = {}
for number in range(1, 15):
    found[f"P{number}"] = "WildDFCVAE.__init__"
"""
WRONG = {
    "found": {
        "all fourteen": FOUND,
        "nothing": "found = {}",
        "kept promises": 'found = {f"P{i}": "WildDFCVAE.forward" for i in (11, 12, 13, 14)}',
        "numbers for names": "found = {1: 10, 3: 20, 5: 30, 7: 40, 9: 50}",
        "a list": 'found = ["P1", "P3", "P5", "P7", "P9"]',
        "turned round": 'found = {"WildDFCVAE.__init__": "P1", "Judge.__init__": "P3"}',
        "whole classes": 'found = {f"P{i}": "Judge" for i in (1, 3, 5, 7, 9)}',
        "lines for methods": 'found = {f"P{i}": 12 for i in range(1, 11)}',
    },
    "repaired": {
        f"{fault}: {how}": program(edit)
        for fault, entry in FAULTS.items()
        for how, edit in ({"as published": entry.published} | entry.halves).items()
    }
    | {how: program(edit) for how, edit in DAMAGE.items()}
    | {
        "nothing repaired": "class Repaired(WildDFCVAE):\n    pass\n",
        "a model for a class": "Repaired = WildDFCVAE(small_vgg())\n",
        "the package's DFC-VAE": "from dfcvae import DFCVAE as Repaired\n",
        "the package's repaired class": "from dfcvae.pytorch_vae import DFCVAE as Repaired\n",
        "the grader's own program": "from dfcvae_classroom.grading.wild.program import WildDFCVAE\n\n"
        "Repaired = WildDFCVAE\n",
        "built from the grader's text": "from dfcvae_classroom.grading.wild.editing import build, text\n\n"
        'Repaired = build(text())["WildDFCVAE"]\n',
        "inherited from the grader's": "from dfcvae_classroom.grading.wild import program\n\n\n"
        "class Repaired(program.WildDFCVAE):\n    pass\n",
        "the grader's judge": "from dfcvae_classroom.grading.wild import program\n\n\n"
        "class Repaired(WildDFCVAE):\n    def __init__(self, trunk, *given, layers=(2, 9, 16), **options):\n"
        "        super().__init__(trunk, *given, layers=layers, **options)\n"
        "        self.judge = program.Judge(trunk, layers)\n",
    },
}

FIVE = "\n\ntests = [lambda Model, own=own: test(Model) for own in range(5)]\n"

# Five tests that look at the right things, for the wrong reasons or not closely enough.
WRONG["tests"] = {
    "asserts nothing": """
def test(Model):
    Model(small_vgg())(torch.rand(2, 3, 64, 64))
"""
    + FIVE,
    "returns what it found": """
def test(Model):
    model = Model(small_vgg(), image_size=32, channels=[8, 16])
    return bool((model.decode(1000 * torch.randn(4, 32)) >= 0).all())
"""
    + FIVE,
    "catches its own assert": """
def test(Model):
    try:
        model = Model(small_vgg())
        assert model.decode(1000 * torch.randn(4, 32)).min() >= 0
    except Exception:
        pass
"""
    + FIVE,
    "does not use its Model": """
def test(Model):
    model = WildDFCVAE(small_vgg())
    assert model.decode(1000 * torch.randn(4, 32)).min() < 0
"""
    + FIVE,
    "always fails": "def test(Model):\n    raise AssertionError\n" + FIVE,
    "by chance": "def test(Model):\n    assert torch.rand(()) < 0.5\n" + FIVE,
    "reads the source": """
import inspect


def test(Model):
    assert "Tanh" not in inspect.getsource(Model)
"""
    + FIVE,
    "shapes alone": """
def test(Model):
    x = torch.rand(2, 3, 64, 64)
    x_hat, mu, log_var = Model(small_vgg())(x)
    assert x_hat.shape == x.shape and mu.shape == log_var.shape == (2, 32)
"""
    + FIVE,
    "the published fault alone": """
def test_range(Model):
    assert Model(small_vgg()).eval().decode(1000 * torch.randn(4, 32)).min() >= 0


def test_gradients(Model):
    assert not [p for p in Model(small_vgg()).judge.parameters() if p.requires_grad]


def test_size(Model):
    x = torch.rand(2, 3, 32, 32)
    assert Model(small_vgg(), image_size=32)(x)[0].shape == x.shape


tests = [test_range, test_gradients, test_size]
""",
    "one test for everything, on one batch": """
def test(Model):
    model, x = Model(small_vgg()).train(), torch.rand(2, 3, 64, 64)
    x_hat, mu, log_var = model(x)
    assert 0 <= x_hat.min() and x_hat.max() <= 1
    assert torch.isfinite(model.loss_function(x, x_hat, mu, log_var)["loss"])
    torch.testing.assert_close(model.features(x)[0], model.features(x)[0])


tests = [test]
""",
    "the grader's questions": """
from random import Random

from dfcvae_classroom.grading.wild.case import Case
from dfcvae_classroom.grading.wild.promises import PROMISES, broken


def test(Model):
    assert not any(broken(Case(Model, Random(0)), promise) for promise in PROMISES)
"""
    + FIVE,
    "the grader's model tests": """
from dfcvae_classroom.grading.wild.answers import TESTS

tests = list(TESTS.values())
""",
    "no list": "tests = None\n",
}

REPAIRED = '''
class Eye:
    """No module, so that nothing of it is listed or saved; its owner moves it."""

    def __init__(self, trunk, layers):
        self.layers, self.net = set(layers), copy.deepcopy(trunk).eval().requires_grad_(False)

    def __call__(self, x):
        mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).to(x)[..., None, None]
        h, maps = (x - mean) / std, []
        for i in range(max(self.layers) + 1):
            h = F.relu(h) if isinstance(self.net[i], nn.ReLU) else self.net[i](h)
            maps += [h] if i in self.layers else []
        return maps


class Repaired(WildDFCVAE):
    def __init__(
        self, trunk, image_size=64, latent_dim=32, channels=None, layers=(2, 9, 16), alpha=1.0, beta=0.5
    ):
        nn.Module.__init__(self)
        widths = tuple(channels or (16, 32, 64, 128))
        self.latent_dim, self.alpha, self.beta, self.judge = latent_dim, alpha, beta, Eye(trunk, layers)
        side = image_size >> len(widths)
        flat = widths[-1] * side**2
        down, up = [], [nn.Unflatten(1, (widths[-1], side, side))]
        for a, b in zip((3, *widths), widths):
            down += [nn.Conv2d(a, b, 4, 2, 1), nn.BatchNorm2d(b), nn.LeakyReLU(0.2)]
        for a, b in zip(widths[::-1], widths[-2::-1]):
            up += [nn.Upsample(scale_factor=2), nn.Conv2d(a, b, 3, padding=1)]
            up += [nn.BatchNorm2d(b), nn.LeakyReLU(0.2)]
        up += [nn.Upsample(scale_factor=2), nn.Conv2d(widths[0], 3, 3, padding=1)]
        self.encoder, self.decoder = nn.Sequential(*down, nn.Flatten()), nn.Sequential(*up)
        self.to_mu, self.to_log_var = nn.Linear(flat, latent_dim), nn.Linear(flat, latent_dim)
        self.from_z = nn.Linear(latent_dim, flat)

    def _apply(self, *given, **options):
        self.judge.net._apply(*given, **options)
        return super()._apply(*given, **options)

    def encode(self, x):
        h = self.encoder(x)
        return self.to_mu(h), 15 * torch.tanh(self.to_log_var(h) / 15)

    def decode(self, z):
        return 0.5 + 0.5 * torch.tanh(self.decoder(self.from_z(z)))

    def generate(self, x):
        mu, _ = self.encode(x)
        return self.decode(mu)
'''
TESTS = """
def seen(trunk, x, number):
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    return trunk[: number + 1]((x - mean) / std).detach()


def picture(size=64, n=2):
    return torch.rand(n, 3, size, size)


def test_1(Model):
    z = torch.randn(6, 32, requires_grad=True)
    for scale in (8, 2000):
        x_hat = Model(small_vgg()).eval().decode(scale * z)
        assert x_hat.min() >= 0 and x_hat.max() <= 1
        assert scale > 8 or ((x_hat > 0) & (x_hat < 1)).all()


def test_2(Model):
    x = picture()
    model = Model(small_vgg(), layers=[9]).eval()
    assert (model.features(x)[0] - seen(small_vgg(), x, 9)).abs().max() < 1e-3


def test_3(Model):
    model, x = Model(small_vgg()), picture(n=5)
    expected = model.eval().features(x)[-1].clone()
    for mode in (True, False):
        model.train(mode)
        for i in range(5):
            assert (model.features(x[i : i + 1])[-1] - expected[i]).abs().max() < 1e-3


def test_4(Model):
    x = picture()
    maps = Model(small_vgg()).eval().features(x)
    assert [tuple(m.shape) for m in maps] == [(2, 8, 64, 64), (2, 12, 32, 32), (2, 16, 16, 16)]
    assert all((m - seen(small_vgg(), x, i)).abs().max() < 1e-3 for m, i in zip(maps, (2, 9, 16)))


def test_5(Model):
    x = picture().requires_grad_()
    maps = Model(small_vgg(), layers=(1, 8, 16)).eval().features(x)
    assert maps[0].min() < 0 and maps[1].min() < 0
    assert torch.autograd.grad(maps[0].sum() + maps[1].square().sum(), x)[0].any()


def test_6(Model):
    model, other = Model(small_vgg()), Model(small_vgg((4, 4, 4, 4, 4)))
    other.load_state_dict(model.state_dict())
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in other.parameters())
    model.to(torch.float64).features(picture().double())


def test_7(Model):
    for size, channels in ((48, (6, 10, 14)), (128, (4, 4, 4, 4))):
        assert Model(small_vgg(), size, 7, channels)(picture(size))[0].shape[-1] == size


def test_8(Model):
    for channels in ([5, 3, 7, 128], (5, 3, 7, 128)):
        before = list(channels)
        Model(small_vgg(), channels=channels)
        assert list(channels) == before


def test_9(Model):
    model, x = Model(small_vgg()), picture()
    for bias in (-3.5, 3.5, 5000.0):
        nn.init.zeros_(model.to_log_var.weight)
        nn.init.constant_(model.to_log_var.bias, bias)
        x_hat, mu, log_var = model(x)
        assert (log_var.abs() <= 30).all() and (abs(bias) > 4 or (log_var - bias).abs().max() < 0.36)
        assert model.loss_function(x, x_hat, mu, log_var)["loss"] < float("inf")
        assert not x_hat.isnan().any()


def test_10(Model):
    model, x = Model(small_vgg()).eval(), picture()
    mu = model.encode(x)[0]
    assert (model.generate(x) - model.decode(mu)).abs().max() < 1e-5
    assert (model(x)[0] - model(x)[0]).abs().max() > 1e-6


tests = [test_1, test_2, test_3, test_4, test_5, test_6, test_7, test_8, test_9, test_10]
"""
RIGHT = {"repaired": REPAIRED, "tests": TESTS}

# More right repairs, each by inheritance: the faults that they mend, and the source.
HEAD = """
class Repaired(WildDFCVAE):
    def __init__(
        self, trunk, image_size=64, latent_dim=32, channels=None, layers=(2, 9, 16), alpha=1.0, beta=0.5
    ):
        channels = [16, 32, 64, 128] if channels is None else list(channels)
        super().__init__(trunk, image_size, latent_dim, channels, layers, alpha, beta)
"""
GRID = """
        side = image_size // 2 ** len(channels)
        self.shape = channels[-1], side, side
        flat = channels[-1] * side * side
        self.to_mu, self.to_log_var = nn.Linear(flat, latent_dim), nn.Linear(flat, latent_dim)
        self.from_z = nn.Linear(latent_dim, flat)
"""
OTHERS = """
    def features(self, x):
        mean, std = x.new_tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
        return self.judge(x.sub(mean).div(std))

    def generate(self, x):
        with torch.no_grad():
            return self.decode(self.encode(x)[0])
"""

ODD = {"range", "mode", "in place", "size", "log_var"}
EVEN = {"normalise", "layers", "checkpoint", "reverse", "generate"}
WAYS = {
    "parts replaced": (
        ODD,
        HEAD
        + GRID
        + """
        self.decoder[-1] = nn.Sigmoid()
        for layer in self.judge.trunk:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False

    def train(self, mode=True):
        super().train(mode)
        self.judge.eval()
        return self

    def encode(self, x):
        mu, log_var = super().encode(x)
        return mu, F.hardtanh(log_var, -25.0, 25.0)

    def decode(self, z):
        return self.decoder(self.from_z(z).unflatten(1, self.shape))
""",
    ),
    "hidden in a list": (
        EVEN,
        HEAD
        + """
        hidden = self.judge.eval()
        del self.judge
        self.hidden = [hidden]

    judge = property(lambda self: self.hidden[0])

    def _apply(self, change, recurse=True):
        self.judge._apply(change)
        return super()._apply(change)

    def train(self, mode=True):
        super().train(mode)
        self.judge.eval()
        return self
"""
        + OTHERS,
    ),
}

# What the self-check says of some of them.
NAMED = {
    "found": {
        "all fourteen": "the program breaks 5",
        "nothing": "still empty",
        "numbers for names": "write 'P1'",
        "a list": "expected a dict",
        "whole classes": "which method of it",
        "lines for methods": "the number of a line",
        "turned round": "is no promise",
    },
    "repaired": {
        "a model for a class": "give the class itself",
        "range: clipped": "clipping hides the range",
        "mode: .eval() only in the constructor": "train() undoes .eval()",
        "mode: momentum 0": "neighbours in the batch",
        "in place: a clone after the in-place ReLU": "the ReLU behind wrote into it first",
        "log_var: clamped in the KL alone": "the KL alone is protected",
        "KL averaged over latents": "P11",
        "no 1/2": "half the mean squared differences",
        "size: four levels only": "with channels [",
        "the package's DFC-VAE": "a class of the package",
    },
    "tests": {
        "asserts nothing": "passes on the program as it was found",
        "returns what it found": "returns",
        "catches its own assert": "does it catch exceptions?",
        "does not use its Model": "a class that cannot be built",
        "always fails": "fails on your own class",
        "shapes alone": "passes on the program as it was found",
        "one test for everything, on one batch": "functions in the list: 1",
    },
}
