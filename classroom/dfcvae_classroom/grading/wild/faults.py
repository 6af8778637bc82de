"""Ten published faults as edits of the program's text, and what people write in their place.

Each was seen in AntixK/PyTorch-VAE, models/dfcvae.py, in reports on it, or in another port of the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

Edit = dict[str, str]  # a piece of the program's text -> what comes in its place


@dataclass(frozen=True)
class Fault:
    """A fault and the promise of the notebook's table that it breaks.

    places: where a reader may say that it sits. published: as it stands in some port. halves: repairs that do
    not hold, or not for everybody. right: other ways to write it that keep the promise.
    """

    promise: str
    places: tuple[str, ...]
    published: Edit
    halves: dict[str, Edit]
    right: tuple[Edit, ...]


NORMAL = """        mean = x.new_tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
        std = x.new_tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        h, seen = (x - mean) / std, []
"""
RAW_IMAGES = {NORMAL: "        h, seen = x, []\n"}
TRAIN = """    def train(self, mode=True):
        return super().train(False)

"""
FREEZE = """        for part in self.trunk:
            for name, tensor in [*part.named_parameters(), *part.named_buffers()]:
                delattr(part, name)
                part.register_buffer(name, tensor.detach(), persistent=False)
"""
FROZEN = "        self.trunk.requires_grad_(False)  # frozen\n"
IF_NORM = "            if isinstance(part, nn.BatchNorm2d):\n                "
LAYERS = "layers=(2, 9, 16)"
KEEP, END = "seen.append(h.clone())", "        return seen\n"
GRID = """        grid = image_size // 2 ** len(channels)
        self.start = (channels[-1], grid, grid)
        flat = channels[-1] * grid * grid
"""
VIEW, DECODED = ".view(-1, *self.start)", "self.decoder(self.from_z(z).view(-1, *self.start))"
BACK = "        channels, levels = channels[::-1], []\n"
LAST = "nn.Sigmoid()"
LOG_VAR = "self.to_log_var(h).clamp(-20, 20)"
RAW = {LOG_VAR: "self.to_log_var(h)"}
KL = "        kl = -0.5 * (1 + log_var - mu**2 - log_var.exp()).sum(dim=1).mean()\n"
DRAW = "torch.exp(0.5 * log_var) * torch.randn_like(mu)"
TARGET, ENCODE = "target = self.features(x)", "    def encode(self, x):\n"
GENERATE = "        return self.decode(self.encode(x)[0])\n"
SAMPLED = {GENERATE: "        return self(x)[0]\n"}
FILTER = """    def state_dict(self, *args, **options):
        state = super().state_dict(*args, **options)
        return {key: tensor for key, tensor in state.items() if not key.startswith("judge.")}

"""


def _normal(h: str) -> Edit:
    return {NORMAL: NORMAL.replace("(x - mean) / std", h)}


def _grid(old: str, new: str) -> Edit:
    return {GRID: GRID.replace(old, new)}


FAULTS = {
    "range": Fault(
        "P1",
        ("WildDFCVAE.__init__", "WildDFCVAE.decode"),
        {LAST: "nn.Tanh()"},
        {
            "clipped": {LAST: "nn.Hardtanh(0, 1)"},
            "Tanh, then clipped": {LAST: "nn.Tanh()", DECODED: DECODED + ".clamp(0, 1)"},
            "no end at all": {LAST: "nn.Identity()"},
            "ReLU": {LAST: "nn.ReLU()"},
        },
        ({LAST: "nn.Tanh()", DECODED: DECODED + " / 2 + 0.5"},),
    ),
    "normalise": Fault(
        "P2",
        ("Judge.forward", "WildDFCVAE.features"),
        RAW_IMAGES,
        {
            "mean only": _normal("x - mean"),
            "twice": _normal("((x - mean) / std - mean) / std"),
            "BGR": _normal("(x.flip(1) - mean) / std"),
            "to [-1, 1]": _normal("2 * x - 1"),
            "the target alone": RAW_IMAGES | {TARGET: "target = self.features((x - 0.45) / 0.226)"},
        },
        (_normal("x / std - mean / std"),),
    ),
    "mode": Fault(
        "P3",
        ("Judge.__init__", "Judge.train", "Judge.forward", "WildDFCVAE.train"),
        {TRAIN: ""},
        {
            ".eval() only in the constructor": {TRAIN: "", FREEZE: FREEZE + "        self.eval()\n"},
            "requires_grad=False called frozen": {TRAIN: "", FREEZE: FREEZE + FROZEN},
            "momentum 0": {TRAIN: "", FREEZE: FREEZE + IF_NORM + "part.momentum = 0.0\n"},
            "without statistics": {
                TRAIN: "",
                FREEZE: FREEZE + IF_NORM + "part.running_mean = part.running_var = None\n",
            },
        },
        ({TRAIN: "", NORMAL: NORMAL + "        self.trunk.eval()\n"},),
    ),
    "layers": Fault(
        "P4",
        ("WildDFCVAE.__init__", "Judge.__init__"),
        {LAYERS: "layers=(14, 24, 34, 43)"},
        {
            "the numbers of vgg19": {LAYERS: "layers=(1, 6, 11)"},
            "relu1_2, relu2_2, relu3_2": {LAYERS: "layers=(5, 12, 19)"},
            "convolutions for ReLUs": {LAYERS: "layers=(0, 7, 14)"},
            "one left out": {LAYERS: "layers=(2, 9)"},
        },
        ({LAYERS: "layers=(16, 9, 2)"},),
    ),
    "in place": Fault(
        "P5",
        ("Judge.forward", "Judge.__init__"),
        {KEEP: "seen.append(h)"},
        {
            "an alias called a copy": {KEEP: "seen.append(h.view_as(h))"},
            "a clone after the in-place ReLU": {
                KEEP: "seen.append(h)",
                END: "        return [h.clone() for h in seen]\n",
            },
            "a clone of ReLUs alone": {KEEP: "seen.append(h.clone() if isinstance(layer, nn.ReLU) else h)"},
            "a copy without gradient": {KEEP: "seen.append(h.detach().clone())"},
        },
        (
            {KEEP: "seen.append(h + 0)"},
            {KEEP: "seen.append(h)", FREEZE: FREEZE + "            part.inplace = False\n"},
        ),
    ),
    "checkpoint": Fault(
        "P6",
        ("Judge.__init__", "WildDFCVAE.__init__"),
        {FREEZE: FROZEN},
        {
            "saved all the same": {FREEZE: FREEZE.replace(", persistent=False", "")},
            "filtered from the state dict": {FREEZE: FROZEN, ENCODE: FILTER + ENCODE},
            "left behind by .to()": {"self.judge = ": 'self.__dict__["judge"] = '},
        },
        ({FREEZE: FREEZE.replace("self.trunk:", "self.trunk.children():")},),
    ),
    "size": Fault(
        "P7",
        ("WildDFCVAE.__init__", "WildDFCVAE.decode"),
        {GRID: "        flat = 128 * 4 * 4\n", VIEW: ".view(-1, 128, 4, 4)"},
        {
            "64 pixels only": _grid("image_size //", "64 //"),
            "four levels only": _grid("2 ** len(channels)", "16"),
            "128 channels only": _grid("channels[-1]", "128"),
            "4 x 4 only": _grid("image_size // 2 ** len(channels)", "4"),
        },
        (_grid("image_size // 2 ** len(channels)", "image_size >> len(channels)"),),
    ),
    "reverse": Fault(
        "P8",
        ("WildDFCVAE.__init__",),
        {BACK: "        channels.reverse()\n        levels = []\n"},
        {
            "an alias called a copy": {
                BACK: "        backwards, levels = channels, []\n"
                "        backwards.reverse()\n        channels = backwards\n"
            },
            "a copy too late": {
                BACK: "        channels.reverse()\n        channels, levels = list(channels), []\n"
            },
            "sorted in place": {BACK: "        channels.sort(reverse=True)\n        levels = []\n"},
        },
        ({BACK: "        channels, levels = list(reversed(channels)), []\n"},),
    ),
    "log_var": Fault(
        "P9",
        ("WildDFCVAE.encode",),
        RAW,
        {
            "clamped in the KL alone": RAW | {KL: "        log_var = log_var.clamp(-20, 20)\n" + KL},
            "clamped in the draw alone": RAW | {DRAW: DRAW.replace("log_var)", "log_var.clamp(-20, 20))")},
            "clamped too wide": {LOG_VAR: LOG_VAR.replace("20", "1000")},
            "clamped too tight": {LOG_VAR: LOG_VAR.replace("20", "1")},
            "the failing term deleted": RAW | {KL: KL.replace(" - log_var.exp()", "")},
            "NaN called a number": RAW | {KL: KL + "        kl = torch.nan_to_num(kl)\n"},
        },
        (
            {LOG_VAR: "10 * torch.tanh(self.to_log_var(h) / 10)"},
            {LOG_VAR: "self.to_log_var(h).clamp(-12, 12)"},
        ),
    ),
    "generate": Fault(
        "P10",
        ("WildDFCVAE.generate",),
        SAMPLED,
        {
            "a seed": {GENERATE: "        torch.manual_seed(0)\n        return self(x)[0]\n"},
            "no noise in eval": SAMPLED | {DRAW: DRAW + " * self.training"},
            "a mean of draws": {
                GENERATE: "        return torch.stack([self(x)[0] for _ in range(8)]).mean(0)\n"
            },
        },
        ({GENERATE: "        mu, _ = self.encode(x)\n        return self.decode(mu)\n"},),
    ),
}
