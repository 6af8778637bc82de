"""Answers to problem set 2: right ones, each written in another way, and typical wrong ones.

A wrong answer is the first right one with words replaced, (old, new, old, new ...), or stands as a whole.
"""

RIGHT = {
    "normalise": [
        """
def normalise(x, card):
    mean = torch.tensor(card["mean"])[None, :, None, None]
    std = torch.tensor(card["std"])[None, :, None, None]
    if card["order"] == "BGR":
        x = x[:, [2, 1, 0]]
    return (x * card["white"] - mean) / std
""",
        """
def normalise(x, card):
    fed = torch.zeros_like(x, dtype=torch.float64)
    for c, colour in enumerate(card["order"]):
        fed[:, c] = card["white"] * x[:, "RGB".index(colour)].double()
        fed[:, c] = (fed[:, c] - card["mean"][c]) / card["std"][c]
    return fed
""",
    ],
    "name_layers": [
        """
def name_layers(trunk):
    block, i, names = 1, 0, []
    for layer in trunk:
        kind = type(layer).__name__
        if "Conv" in kind:
            i += 1
        short = {"Conv2d": "conv", "BatchNorm2d": "bn", "ReLU": "relu"}.get(kind)
        names.append(f"{short}{block}_{i}" if short else f"pool{block}")
        if short is None:
            block, i = block + 1, 0
    return names
""",
        """
def name_layers(trunk):
    names, block, place = [], 1, 0
    for i in range(len(trunk)):
        if isinstance(trunk[i], (nn.MaxPool2d, nn.AvgPool2d)):
            names.append("pool%d" % block)
            block, place = block + 1, 0
            continue
        place = place + 1 if isinstance(trunk[i], nn.Conv2d) else place
        kind = "conv" if isinstance(trunk[i], nn.Conv2d) else "relu"
        names.append("{}{}_{}".format("bn" if isinstance(trunk[i], nn.BatchNorm2d) else kind, block, place))
    return tuple(names)
""",
    ],
    "features": [
        """
def features(trunk, names, x, wanted):
    for name in wanted:
        if name not in names:
            raise ValueError(f"no layer {name} in this network")
    last = max(names.index(name) for name in wanted)
    kept = {}
    for i in range(last + 1):
        x = trunk[i](x)
        if names[i] in wanted:
            kept[names[i]] = x.clone()
    return {name: kept[name] for name in wanted}
""",
        """
def features(trunk, names, x, wanted):
    missing = set(wanted) - set(names)
    if missing:
        raise ValueError(f"not in this network: {missing}")
    return {name: trunk[: names.index(name) + 1](x) for name in wanted}
""",
    ],
    "capture": [
        """
def capture(network, x, names):
    kept = {}

    def keep(name):
        def hook(module, given, output):
            kept[name] = output.clone()
        return hook

    handles = []
    try:
        for name in names:
            handles.append(network.get_submodule(name).register_forward_hook(keep(name)))
        network(x)
    finally:
        for handle in handles:
            handle.remove()
    return kept
""",
        """
import contextlib


class Keeper:
    def __init__(self):
        self.kept = {}

    def at(self, name):
        return lambda module, inputs, output: self.kept.update({name: output + 0})


def capture(network, x, names):
    parts, keeper = dict(network.named_modules()), Keeper()
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.callback(parts[name].register_forward_hook(keeper.at(name)).remove)
        network(x)
    return keeper.kept
""",
    ],
    "sees": [
        """
def one(size):
    return size[0] if isinstance(size, tuple) else size


def sees(layers, place):
    jump, start, side = 1, 0, 1
    for layer in layers:
        if not isinstance(layer, (nn.Conv2d, nn.MaxPool2d)):
            continue
        start -= one(layer.padding) * jump
        side += one(layer.dilation) * (one(layer.kernel_size) - 1) * jump
        jump *= one(layer.stride)
    return start + place * jump, start + place * jump + side - 1
""",
        """
import numpy as np


def sees(layers, place):
    seen = np.array([place])
    for layer in list(layers)[::-1]:
        if hasattr(layer, "kernel_size"):
            sizes = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
            k, s, p, d = (size if isinstance(size, int) else size[0] for size in sizes)
            seen = np.unique((seen[:, None] * s - p + d * np.arange(k)).ravel())
    return [seen.min(), seen.max()]
""",
    ],
    "dfc_loss": [
        """
def dfc_loss(x_hat, x, kl, network, alpha, beta, weights, scales):
    phi_hat = network(x_hat)
    with torch.no_grad():
        phi = network(x)
    total = 0.0
    for layer in weights:
        w = weights[layer] / scales[layer] ** 2
        total = total + w * 0.5 * F.mse_loss(phi_hat[layer], phi[layer])
    return alpha * kl.mean() + beta * total
""",
        """
class Term:
    def __init__(self, one, other):
        self.differences = (one - other).double()

    def __call__(self):
        sums = [torch.einsum("chw,chw->", d, d) / (2 * d.numel()) for d in self.differences]
        return torch.stack(sums).mean()


def dfc_loss(x_hat, x, kl, network, alpha, beta, weights, scales):
    both = network(torch.cat([x_hat, x.detach()]))  # one pass
    total = kl.double().sum() * alpha / len(kl)
    for name, weight in weights.items():
        term = Term(*both[name].chunk(2))
        total = total + beta * (weight / scales[name] / scales[name]) * term()
    return total
""",
    ],
    "restore": [
        """
def restore(network, target, known, mask, steps):
    p = known.clone().requires_grad_(True)
    opt = torch.optim.Adam([p], lr=0.05)
    for _ in range(steps):
        y = mask * known + (1 - mask) * p
        error = (network(y) - target).square().mean()
        (p.grad,) = torch.autograd.grad(error, [p])
        opt.step()
        with torch.no_grad():
            p.clamp_(0, 1)
    return (mask * known + (1 - mask) * p).detach()
""",
        """
import copy


def restore(network, target, known, mask, steps):
    own = copy.deepcopy(network).requires_grad_(False)
    code = torch.zeros_like(known, requires_grad=True)
    optimizer = torch.optim.LBFGS([code], max_iter=steps)

    def picture():
        return mask * known + (1 - mask) * torch.sigmoid(code)

    def closure():
        optimizer.zero_grad()
        error = F.mse_loss(own(picture()), target, reduction="sum")
        error.backward()
        return error

    optimizer.step(closure)
    return picture().detach()
""",
    ],
    "disagree": [
        """
def disagree(x, distance):
    def rms(y):
        return (y - x).square().mean().sqrt()

    grain = torch.ones_like(x)
    grain[..., ::2, ::2] = grain[..., 1::2, 1::2] = -1
    far = (x + 0.08 * grain).clamp(0, 1)
    best = None
    for y in (0.5 * x, (x * torch.tensor([1.3, 0.8, 0.7]).view(3, 1, 1)).clamp(0, 1), 0.5 + 0 * x):
        near = (x + 0.6 * rms(far) / rms(y) * (y - x)).clamp(0, 1)
        if best is None or distance(near, x) > distance(best, x):
            best = near
    return best, far
""",
        """
def disagree(x, distance):
    torch.manual_seed(0)
    near, far = (x + 0.02 * torch.randn_like(x)).clamp(0, 1), (x + 0.1 * torch.randn_like(x)).clamp(0, 1)
    for _ in range(60):
        far = far.detach().requires_grad_(True)
        (g,) = torch.autograd.grad(distance(far, x), far)
        far = (far - 0.01 * g.sign()).clamp(0, 1).detach()
        if (far - x).square().mean() < 0.0036:
            far = (x + (far - x) * 0.06 / (far - x).square().mean().sqrt()).clamp(0, 1)
        near = near.detach().requires_grad_(True)
        (g,) = torch.autograd.grad(distance(near, x), near)
        near = (near + 0.01 * g.sign()).clamp(0, 1).detach()
        near = (x + (near - x) * 0.03 / (near - x).square().mean().sqrt()).clamp(0, 1)
    return near, far
""",
    ],
}
WRONG = {
    "normalise": {
        "twice": (
            'return (x * card["white"] - mean)',
            'x = (x * card["white"] - mean) / std\n    return (x - mean)',
        ),
        "first image only": (
            'return (x * card["white"] - mean) / std',
            'x = x.clone()\n    x[0] = (x[0] * card["white"] - mean[0]) / std[0]\n    return x',
        ),
        "not at all": "def normalise(x, card):\n    return x\n",
        "always RGB": ('if card["order"] == "BGR":', "if False:"),
        "numbers turned, colours not": ("x = x[:, [2, 1, 0]]", "mean, std = mean.flip(1), std.flip(1)"),
        "[-1, 1]": "def normalise(x, card):\n    return 2 * x - 1\n",
        "white forgotten": ('x * card["white"]', "x"),
        "scaled behind the mean": ('(x * card["white"] - mean) / std', '(x - mean) / std * card["white"]'),
        "rows turned, not colours": ("x[:, [2, 1, 0]]", "x.flip(2)"),
        "by the batch's own mean": """
def normalise(x, card):
    return (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True)
""",
        "in place": ('(x * card["white"] - mean) / std', 'x.mul_(card["white"]).sub_(mean).div_(std)'),
        "detached": (" * ", ".detach() * "),
        "along the width": ("[None, :, None, None]", ""),
        "the package's": """
def normalise(x, card):
    vgg = dfcvae.VGGFeatures(layers=["relu1_1"], weights="mini")
    vgg.mean = torch.tensor(card["mean"]).view(3, 1, 1) / card["white"]
    vgg.std = torch.tensor(card["std"]).view(3, 1, 1) / card["white"]
    return vgg.normalise(x.flip(1) if card["order"] == "BGR" else x)
""",
    },
    "name_layers": {
        "blocks from 0": ("block, i, names = 1, 0, []", "block, i, names = 0, 0, []"),
        "places from 0": ("block, i, names = 1, 0, []", "block, i, names = 1, -1, []", "+ 1, 0", "+ 1, -1"),
        "counter goes on": ("block, i = block + 1, 0", "block = block + 1"),
        "ReLUs counted, too": ('if "Conv" in kind:', 'if "Conv" in kind or kind == "ReLU":'),
        "batch norms left out": ("names.", 'if short == "bn":\n            continue\n        names.'),
        "ReLU named as the next": ("_{i", "_{i + (short == 'relu')"),
        "pool in the next block": ('f"pool{block}"', 'f"pool{block + 1}"'),
        "block dropped where it is cut": (
            "return names",
            'return names[: 1 + max(k for k, n in enumerate(names) if "pool" in n)]',
        ),
        "every pool a max pool": ("if short is None:", 'if kind == "MaxPool2d":'),
        "the package's": """
from dfcvae.vgg import layer_names


def name_layers(trunk):
    return layer_names("vgg19")[: len(trunk)]
""",
    },
    "features": {
        "conv for ReLU": ("x =", "before = x\n        x =", "x.clone", "before.clone"),
        "relu1_2 for relu1_1": (
            ".clone()",
            ".clone() if i + 2 >= len(trunk) else trunk[i + 2](trunk[i + 1](x.clone()))",
        ),
        "overwritten": ("x.clone()", "x"),
        "in place switched off": (
            "x =",
            'if hasattr(trunk[i], "inplace"):\n            trunk[i].inplace = False\n        x =',
            ".clone()",
            "",
        ),
        "to the very end": ("range(last + 1)", "range(len(trunk))"),
        "no_grad": ("def features", "@torch.no_grad()\ndef features"),
        "network's order": ("return {name: kept[name] for name in wanted}", "return kept"),
        "names in the order of wanted": (
            "{name: kept[name] for name in wanted}",
            "dict(zip(wanted, kept.values()))",
        ),
        "a copy run to its end": (
            "last = max(names.index(name) for name in wanted)",
            "import copy\n    trunk = copy.deepcopy(trunk)",
            "last + 1",
            "len(trunk)",
        ),
        "a KeyError for unknown names": ("raise ValueError", "raise KeyError"),
        "a list": ("{name: kept[name] for name in wanted}", "[kept[name] for name in wanted]"),
        "the package's": """
def features(trunk, names, x, wanted):
    vgg = dfcvae.VGGFeatures(layers=wanted, weights="mini")
    return vgg(x * vgg.std + vgg.mean)
""",
    },
    "capture": {
        "overwritten": ("output.clone()", "output"),
        "detached": ("output.clone()", "output.detach().clone()"),
        "hooks stay": ("handle.remove()", "pass"),
        "hooks stay after an error": ("    try:\n", "    if True:\n", "    finally:\n", "    if True:\n"),
        "everybody's hooks removed": (
            "handle in handles:\n            handle.remove",
            "part in network.modules():\n            part._forward_hooks.clear",
        ),
        "the input": ("output.clone()", "given[0].clone()"),
        "changes the flow": ("clone()", "clone()\n            return 0 * output"),
        "only the outermost parts": ("network.get_submodule(name)", "dict(network.named_children())[name]"),
        "the last name in every hook": ("(keep(name))", "(lambda *a: keep(name)(*a))"),
        "an error swallowed": ("    finally:\n", "    except ArithmeticError:\n        pass\n    finally:\n"),
        "network set to train": ("(x)", ".eval()(x)\n        network.train()"),
        "network left in eval": ("network(x)", "network.eval()(x)"),
    },
    "sees": {
        "without stride": ("        jump *= one(layer.stride)\n", ""),
        "pools do not step": ("(layer.stride)", "(layer.stride) if isinstance(layer, nn.Conv2d) else 1"),
        "without padding": ("        start -= one(layer.padding) * jump\n", ""),
        "padding as if always the same": ("one(layer.padding) * jump", "one(layer.kernel_size) // 2 * jump"),
        "padding in the layer's own steps": ("one(layer.padding) * jump", "one(layer.padding)"),
        "cut off at the border": ("return start + place * jump,", "return max(0, start + place * jump),"),
        "from the first layer to the last": ("for layer in layers:", "for layer in reversed(layers):"),
        "without dilation": ("one(layer.dilation) * ", ""),
        "last one too far": (" + side - 1", " + side"),
        "the first place only": ("start + place * jump", "start"),
        "place in pixels": ("start + place * jump", "start + place"),
        "the package's": """
from dfcvae.course import lesson_02 as seeing


def sees(layers, place):
    side, jump = seeing.receptive_field(layers)
    first = place * jump - (side - jump) // 2
    return first, first + side - 1
""",
    },
    "dfc_loss": {
        "no half": ("0.5 * F", "F"),
        "no C": ("F.mse_loss(", "phi[layer].shape[1] * F.mse_loss("),
        "sum over the batch": (
            ".5 * F.mse_loss(phi_hat[layer], phi[layer])",
            ".5 * (phi_hat[layer] - phi[layer]).square().mean((1, 2, 3)).sum()",
        ),
        "a root": (
            ".5 * F.mse_loss(phi_hat[layer], phi[layer])",
            ".5 * (F.mse_loss(phi_hat[layer], phi[layer]) + 1e-12).sqrt()",
        ),
        "no_grad on both": ("    phi_hat = network(x_hat)\n", "", "phi =", "phi_hat, phi = network(x_hat),"),
        "gradient to the target": ("with torch.no_grad():", "if True:"),
        "alpha and beta swapped": ("alpha * kl.mean() + beta * total", "beta * kl.mean() + alpha * total"),
        "KL summed over the batch": ("kl.mean()", "kl.sum()"),
        "no KL": ("alpha * kl.mean() + ", ""),
        "weights forgotten": ("weights[layer] / ", "1 / "),
        "every layer counts": ("in weights", "in phi", "weights[layer]", "weights.get(layer, 1.0)"),
        "scale not squared": ("scales[layer] ** 2", "scales[layer]"),
        "scale forgotten": (" / scales[layer] ** 2", ""),
        "mean over layers": ("beta * total", "beta * total / len(weights)"),
        "the last layer only": ("total = total + w", "total = w"),
        "pixels, too": ("total = 0.0", "total = F.mse_loss(x_hat, x.detach()) / 2"),
        "KL detached": ("alpha * kl.mean()", "alpha * kl.mean().item()"),
        "a Python number": ("alpha * kl.mean() + beta * total", "float(alpha * kl.mean() + beta * total)"),
        "the package's": """
def dfc_loss(x_hat, x, kl, network, alpha, beta, weights, scales):
    network.layers = tuple(weights)
    weights = dfcvae.perceptual.convert_weights(weights, {layer: scales[layer] for layer in weights})
    loss = dfcvae.PerceptualLoss(network, reduction="paper", layer_weights=weights)
    return alpha * kl.mean() + beta * loss(x_hat, x)
""",
    },
    "restore": {
        "weights for the image": (
            "[p], lr=0.",
            "[p, *network.parameters()], lr=0.",
            "(p.grad,) = torch.autograd.grad(error, [p])",
            "opt.zero_grad()\n        error.backward()",
        ),
        "gradients left in the network": (
            "(p.grad,) = torch.autograd.grad(error, [p])",
            "opt.zero_grad()\n        error.backward()",
        ),
        "network frozen for good": ("    p = known", "    network.requires_grad_(False)\n    p = known"),
        "no_grad": (
            "error = (network(y) - target).square()",
            "with torch.no_grad():\n            phi = network(y)\n        error = 0 * y + phi - target",
        ),
        "mask the wrong way round": ("mask * known + (1 - mask) * p", "(1 - mask) * known + mask * p"),
        "the whole picture moves": ("mask * known + (1 - mask) * p", "p"),
        "writes on what is known": ("known.clone()", "known"),
        "leaves [0, 1]": ("        with torch.no_grad():\n            p.clamp_(0, 1)\n", ""),
        "steps too small": ("lr=0.05", "lr=0.001"),
        "uphill": ("grad(error, [p])", "grad(-error, [p])"),
        "a graph comes with it": (".detach()\n", "\n"),
        "fills with grey": "def restore(network, target, known, mask, steps):\n    return known.clone()\n",
        "the package's": """
from dfcvae.course import lesson_02 as seeing


def restore(network, target, known, mask, steps):
    vgg = dfcvae.VGGFeatures(layers=["relu1_1"], weights="mini")
    found = seeing.invert(vgg, known, steps)
    return mask * known + (1 - mask) * found
""",
    },
    "disagree": {
        "hard-coded": (
            "def disagree",
            "def found",
            "    return best, far\n",
            """
    return best, far


from dfcvae import faces
from dfcvae.course.lesson_00 import PEOPLE

PUBLIC = faces.draw(PEOPLE["glasses"]).float() / 255
VGG = dfcvae.VGGFeatures(layers=["relu2_1"], weights="mini")
STORED = found(PUBLIC, lambda y, x: F.mse_loss(VGG(y)["relu2_1"], VGG(x)["relu2_1"]))


def disagree(x, distance):
    return STORED
""",
        ),
        "both rulers agree": ("return best, far", "return (x + 0.3 * (best - x)), 0.5 * x"),
        "no difference": "def disagree(x, distance):\n    return x, x\n",
        "too faint to see": ("return best, far", "return x + 0.1 * (best - x), x + 0.1 * (far - x)"),
        "beyond [0, 1]": ("(x + 0.08 * grain).clamp(0, 1)", "x + 0.4 * grain"),
        "only far apart in pixels": ("return best, far", "return best, 1 - x"),
    },
}

# What the self-check says of some of them.
NAMED = {
    "normalise": {
        "twice": "normalised twice",
        "first image only": "only the first image",
        "not at all": "x comes back as it was",
        "always RGB": "the colours are in the wrong order",
        "[-1, 1]": "this is x on [-1, 1]",
        "rows turned, not colours": "the rows are turned round",
    },
    "name_layers": {
        "blocks from 0": "layer 0, Conv2d behind picture, is called 'conv0_1'",
        "block dropped where it is cut": "a network that ends within a block",
    },
    "features": {
        "conv for ReLU": "what is called relu2_1 is conv2_1",
        "relu1_2 for relu1_1": "one layer too early or too late",
        "overwritten": "in-place ReLU behind it has overwritten it",
        "names in the order of wanted": "the features of two layers are exchanged",
        "a copy run to its end": "layers behind the deepest one wanted are computed",
    },
    "capture": {
        "detached": "has no gradient: is it detached",
        "hooks stay": "your hooks are still in the network",
        "network set to train": "left in training mode: it was in eval",
    },
    "sees": {
        "without stride": "a stride: neighbouring features look several pixels apart",
    },
    "dfc_loss": {
        "no half": "twice too large",
        "no C": "the number of channels",
        "sum over the batch": "summed over the batch",
        "a root": "looks like half a root",
        "no_grad on both": "no gradient arrives at x_hat",
        "alpha and beta swapped": "alpha and beta look swapped",
        "pixels, too": "pixels (0.",
        "KL detached": "no gradient arrives at kl",
    },
    "restore": {
        "weights for the image": "the network's weights have changed",
    },
    "disagree": {
        "hard-coded": "another face gives the same two pictures",
    },
}
