"""Problem set 2: typical wrong answers, by task and name, and right ones that are written differently.

Most wrong answers are a right one with a few words changed, and are written as just that: ``changed``.
"""


def changed(source: str, *pairs: tuple[str, str]) -> str:
    """A right answer with something else in place of what stood there. ValueError where it does not."""
    for old, new in pairs:
        if old not in source:
            raise ValueError(f"no {old!r} in the answer: the wrong answer would be right.")
        source = source.replace(old, new)
    return source


NORMALISE = """
def normalise(x, card):
    mean = torch.tensor(card["mean"])[None, :, None, None]
    std = torch.tensor(card["std"])[None, :, None, None]
    if card["order"] == "BGR":
        x = x[:, [2, 1, 0]]
    return (x * card["white"] - mean) / std
"""
NAME_LAYERS = """
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
"""
FEATURES = """
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
"""
CAPTURE = """
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
"""
SEES = """
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
"""
DFC_LOSS = """
def dfc_loss(x_hat, x, kl, network, alpha, beta, weights, scales):
    phi_hat = network(x_hat)
    with torch.no_grad():
        phi = network(x)
    total = 0.0
    for layer in weights:
        w = weights[layer] / scales[layer] ** 2
        total = total + w * 0.5 * F.mse_loss(phi_hat[layer], phi[layer])
    return alpha * kl.mean() + beta * total
"""
RESTORE = """
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
"""
# The nearest by features: less contrast, at which it looks from several sides; the nearest by pixels: blur.
DISAGREE = """
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
"""
# And by search: a picture of its own for each ruler.
DISAGREE_SEARCH = """
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
"""

ALTERNATIVES = {
    "normalise": NORMALISE,
    "name_layers": NAME_LAYERS,
    "features": FEATURES,
    "capture": CAPTURE,
    "sees": SEES,
    "dfc_loss": DFC_LOSS,
    "restore": RESTORE,
    "disagree": DISAGREE,
}

RETURN = 'return (x * card["white"] - mean) / std'
MSE = "0.5 * F.mse_loss(phi_hat[layer], phi[layer])"
SQUARES = "(phi_hat[layer] - phi[layer]).square()"

# More right answers: what a student may do otherwise, with hooks, recursion, float64, another optimizer.
MORE_RIGHT = {
    "normalise": """
def normalise(x, card):
    fed = torch.zeros_like(x, dtype=torch.float64)
    for c, colour in enumerate(card["order"]):
        fed[:, c] = card["white"] * x[:, "RGB".index(colour)].double()
        fed[:, c] = (fed[:, c] - card["mean"][c]) / card["std"][c]
    return fed
""",
    "name_layers": """
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
    "features": """
def features(trunk, names, x, wanted):
    missing = set(wanted) - set(names)
    if missing:
        raise ValueError(f"not in this network: {missing}")
    return {name: trunk[: names.index(name) + 1](x) for name in wanted}
""",
    "capture": """
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
    "sees": """
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
    "dfc_loss": """
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
    "restore": """
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
    "disagree": DISAGREE_SEARCH,
}

WRONG = {
    "normalise": {
        "twice": changed(
            NORMALISE, (RETURN, 'x = (x * card["white"] - mean) / std\n    return (x - mean) / std')
        ),
        "first image only": changed(
            NORMALISE,
            (RETURN, 'x = x.clone()\n    x[0] = (x[0] * card["white"] - mean[0]) / std[0]\n    return x'),
        ),
        "not at all": "def normalise(x, card):\n    return x",
        "always BGR": changed(NORMALISE, ('if card["order"] == "BGR":', "if True:")),
        "always RGB": changed(NORMALISE, ('if card["order"] == "BGR":', "if False:")),
        "numbers turned, colours not": changed(
            NORMALISE, ("x = x[:, [2, 1, 0]]", "mean, std = mean.flip(1), std.flip(1)")
        ),
        "[-1, 1]": "def normalise(x, card):\n    return 2 * x - 1",
        "white forgotten": changed(NORMALISE, ('x * card["white"]', "x")),
        "scaled behind the mean": changed(
            NORMALISE, ('(x * card["white"] - mean) / std', '(x - mean) / std * card["white"]')
        ),
        "a scale of 255 always": changed(NORMALISE, ('card["white"]', "255")),
        "rows turned, not colours": changed(NORMALISE, ("x[:, [2, 1, 0]]", "x.flip(2)")),
        "variance for std": changed(NORMALISE, (" / std", " / std**2")),
        "no std": changed(NORMALISE, (" / std", "")),
        "times std": changed(NORMALISE, (" / std", " * std")),
        "plus mean": changed(NORMALISE, (" - mean", " + mean")),
        "by the batch's own mean": """
def normalise(x, card):
    return (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True)
""",
        "in place": changed(NORMALISE, (RETURN, 'return x.mul_(card["white"]).sub_(mean).div_(std)')),
        "detached": changed(NORMALISE, (RETURN, RETURN.replace("x *", "x.detach() *"))),
        "along the width": changed(NORMALISE, ("[None, :, None, None]", "")),
        "the package's": """
def normalise(x, card):
    vgg = dfcvae.VGGFeatures(layers=["relu1_1"], weights="mini")
    vgg.mean = torch.tensor(card["mean"]).view(3, 1, 1) / card["white"]
    vgg.std = torch.tensor(card["std"]).view(3, 1, 1) / card["white"]
    return vgg.normalise(x.flip(1) if card["order"] == "BGR" else x)
""",
    },
    "name_layers": {
        "learnt by heart": """
VGG19 = []
for block, count in enumerate((2, 2, 4, 4, 4), start=1):
    for i in range(count):
        VGG19 += [f"conv{block}_{i + 1}", f"relu{block}_{i + 1}"]
    VGG19.append(f"pool{block}")


def name_layers(trunk):
    return VGG19[: len(trunk)]
""",
        "blocks from 0": changed(NAME_LAYERS, ("block, i, names = 1, 0, []", "block, i, names = 0, 0, []")),
        "places from 0": changed(
            NAME_LAYERS, ("block, i, names = 1, 0, []", "block, i, names = 1, -1, []"), ("+ 1, 0", "+ 1, -1")
        ),
        "counter goes on": changed(NAME_LAYERS, ("block, i = block + 1, 0", "block = block + 1")),
        "ReLUs counted, too": changed(
            NAME_LAYERS, ('if "Conv" in kind:', 'if "Conv" in kind or kind == "ReLU":')
        ),
        "batch norms counted": changed(
            NAME_LAYERS, ('if "Conv" in kind:', 'if "Conv" in kind or kind == "BatchNorm2d":')
        ),
        "batch norms left out": changed(
            NAME_LAYERS,
            ("        names.append", '        if short == "bn":\n            continue\n        names.append'),
        ),
        "ReLU named as the next": changed(
            NAME_LAYERS,
            (
                'names.append(f"{short}{block}_{i}"',
                "names.append(f\"{short}{block}_{i + (short == 'relu')}\"",
            ),
        ),
        "pool in the next block": changed(NAME_LAYERS, ('f"pool{block}"', 'f"pool{block + 1}"')),
        "pool with a place": changed(NAME_LAYERS, ('f"pool{block}"', 'f"pool{block}_{i}"')),
        "block dropped where it is cut": changed(
            NAME_LAYERS,
            (
                "    return names",
                '    return names[: 1 + max(k for k, n in enumerate(names) if "pool" in n)]',
            ),
        ),
        "every pool a max pool": changed(NAME_LAYERS, ("if short is None:", 'if kind == "MaxPool2d":')),
        "the package's": "from dfcvae.vgg import layer_names\n\n\ndef name_layers(trunk):\n"
        '    return layer_names("vgg19")[: len(trunk)]\n',
    },
    "features": {
        "conv for ReLU": changed(
            FEATURES,
            ("        x = trunk[i](x)\n", "        before = x\n        x = trunk[i](x)\n"),
            ("= x.clone()", "= before.clone()"),
        ),
        "relu1_2 for relu1_1": changed(
            FEATURES,
            ("x.clone()", "x.clone() if i + 2 >= len(trunk) else trunk[i + 2](trunk[i + 1](x.clone()))"),
        ),
        "overwritten": changed(FEATURES, ("x.clone()", "x")),
        "in place switched off": changed(
            FEATURES,
            (
                "x = trunk[i](x)",
                'if hasattr(trunk[i], "inplace"):\n            trunk[i].inplace = False\n'
                "        x = trunk[i](x)",
            ),
            ("x.clone()", "x"),
        ),
        "to the very end": changed(FEATURES, ("range(last + 1)", "range(len(trunk))")),
        "all layers": changed(
            FEATURES, ("for name in wanted}", "for name in kept}"), ("if names[i] in wanted", "if True")
        ),
        "every layer fed the picture": changed(
            FEATURES, ("x = trunk[i](x)", "h = trunk[i](x)"), ("x.clone()", "h.clone()")
        ),
        "detached": changed(FEATURES, ("x.clone()", "x.detach().clone()")),
        "no_grad": changed(FEATURES, ("def features", "@torch.no_grad()\ndef features")),
        "network's order": changed(FEATURES, ("return {name: kept[name] for name in wanted}", "return kept")),
        "names in the order of wanted": changed(
            FEATURES,
            ("return {name: kept[name] for name in wanted}", "return dict(zip(wanted, kept.values()))"),
        ),
        "a copy run to its end": changed(
            FEATURES,
            (
                "    last = max(names.index(name) for name in wanted)",
                "    import copy\n    trunk = copy.deepcopy(trunk)",
            ),
            ("range(last + 1)", "range(len(trunk))"),
        ),
        "a KeyError for unknown names": changed(FEATURES, ("raise ValueError", "raise KeyError")),
        "unknown names overlooked": changed(
            FEATURES,
            ('            raise ValueError(f"no layer {name} in this network")', "            continue"),
            ("for name in wanted)", "for name in wanted if name in names)"),
            ("kept[name] for name in wanted}", "kept[name] for name in wanted if name in kept}"),
        ),
        "a list": changed(
            FEATURES, ("{name: kept[name] for name in wanted}", "[kept[name] for name in wanted]")
        ),
        "the package's": """
def features(trunk, names, x, wanted):
    vgg = dfcvae.VGGFeatures(layers=wanted, weights="mini")
    return vgg(x * vgg.std + vgg.mean)
""",
    },
    "capture": {
        "overwritten": changed(CAPTURE, ("output.clone()", "output")),
        "detached": changed(CAPTURE, ("output.clone()", "output.detach().clone()")),
        "no_grad": changed(CAPTURE, ("def capture", "@torch.no_grad()\ndef capture")),
        "hooks stay": changed(CAPTURE, ("handle.remove()", "pass")),
        "hooks stay after an error": changed(
            CAPTURE,
            ("    try:\n", "    if True:\n"),
            ("    finally:\n", "    if True:\n"),
        ),
        "everybody's hooks removed": changed(
            CAPTURE,
            (
                "        for handle in handles:\n            handle.remove()",
                "        for part in network.modules():\n            part._forward_hooks.clear()",
            ),
        ),
        "the input": changed(CAPTURE, ("output.clone()", "given[0].clone()")),
        "changes the flow": changed(
            CAPTURE,
            ("kept[name] = output.clone()", "kept[name] = output.clone()\n            return 0 * output"),
        ),
        "one name for all": changed(
            CAPTURE, ("kept[name] = output.clone()", "kept[names[-1]] = output.clone()")
        ),
        "only the outermost parts": changed(
            CAPTURE, ("network.get_submodule(name)", "dict(network.named_children())[name]")
        ),
        "the last name in every hook": changed(
            CAPTURE, ("register_forward_hook(keep(name))", "register_forward_hook(lambda *a: keep(name)(*a))")
        ),
        "an error swallowed": changed(
            CAPTURE, ("    finally:\n", "    except ArithmeticError:\n        pass\n    finally:\n")
        ),
        "network set to train": changed(
            CAPTURE, ("        network(x)\n", "        network.eval()(x)\n        network.train()\n")
        ),
        "network left in eval": changed(CAPTURE, ("network(x)", "network.eval()(x)")),
    },
    "sees": {
        "without stride": changed(SEES, ("        jump *= one(layer.stride)\n", "")),
        "pools do not step": changed(
            SEES,
            ("jump *= one(layer.stride)", "jump *= one(layer.stride) if isinstance(layer, nn.Conv2d) else 1"),
        ),
        "steps before it widens": changed(
            SEES,
            ("        jump *= one(layer.stride)\n", ""),
            ("        start -=", "        jump *= one(layer.stride)\n        start -="),
        ),
        "without padding": changed(SEES, ("        start -= one(layer.padding) * jump\n", "")),
        "padding as if always the same": changed(
            SEES, ("one(layer.padding) * jump", "one(layer.kernel_size) // 2 * jump")
        ),
        "padding in the layer's own steps": changed(
            SEES, ("one(layer.padding) * jump", "one(layer.padding)")
        ),
        "cut off at the border": changed(
            SEES, ("return start + place * jump,", "return max(0, start + place * jump),")
        ),
        "from the first layer to the last": changed(
            SEES, ("for layer in layers:", "for layer in reversed(layers):")
        ),
        "padding the wrong way": changed(SEES, ("start -= one", "start += one")),
        "without dilation": changed(SEES, ("one(layer.dilation) * ", "")),
        "kernel whole": changed(SEES, ("(one(layer.kernel_size) - 1)", "one(layer.kernel_size)")),
        "last one too far": changed(SEES, (" + side - 1", " + side")),
        "the first place only": changed(SEES, ("start + place * jump", "start")),
        "place in pixels": changed(SEES, ("start + place * jump", "start + place")),
        "side and jump": changed(
            SEES, ("return start + place * jump, start + place * jump + side - 1", "return side, jump")
        ),
        "the package's": """
from dfcvae.course import lesson_02 as seeing


def sees(layers, place):
    side, jump = seeing.receptive_field(layers)
    first = place * jump - (side - jump) // 2
    return first, first + side - 1
""",
    },
    "dfc_loss": {
        "no half": changed(DFC_LOSS, ("0.5 * F", "F")),
        "no C": changed(DFC_LOSS, ("F.mse_loss(", "phi[layer].shape[1] * F.mse_loss(")),
        "sum over the batch": changed(DFC_LOSS, (MSE, f"0.5 * {SQUARES}.mean((1, 2, 3)).sum()")),
        "sum over everything": changed(DFC_LOSS, (MSE, f"0.5 * {SQUARES}.sum()")),
        "a root": changed(DFC_LOSS, (MSE, f"0.5 * ({MSE[6:]} + 1e-12).sqrt()")),
        "absolute values": changed(DFC_LOSS, ("F.mse_loss(", "F.l1_loss(")),
        "no_grad on both": changed(
            DFC_LOSS,
            ("    phi_hat = network(x_hat)\n", ""),
            ("        phi = network(x)", "        phi_hat, phi = network(x_hat), network(x)"),
        ),
        "gradient to the target": changed(DFC_LOSS, ("with torch.no_grad():", "if True:")),
        "gradient to the target only": changed(
            DFC_LOSS,
            (
                "    phi_hat = network(x_hat)\n    with torch.no_grad():\n        phi = network(x)",
                "    with torch.no_grad():\n        phi_hat = network(x_hat)\n    phi = network(x)",
            ),
        ),
        "alpha and beta swapped": changed(
            DFC_LOSS, ("alpha * kl.mean() + beta * total", "beta * kl.mean() + alpha * total")
        ),
        "KL summed over the batch": changed(DFC_LOSS, ("kl.mean()", "kl.sum()")),
        "KL kept by image": changed(DFC_LOSS, ("kl.mean()", "kl")),
        "no KL": changed(DFC_LOSS, ("alpha * kl.mean() + ", "")),
        "weights forgotten": changed(DFC_LOSS, ("weights[layer] / ", "1 / ")),
        "every layer counts": changed(
            DFC_LOSS, ("in weights", "in phi"), ("weights[layer]", "weights.get(layer, 1.0)")
        ),
        "scale not squared": changed(DFC_LOSS, ("scales[layer] ** 2", "scales[layer]")),
        "scale the wrong way": changed(DFC_LOSS, ("/ scales[layer] ** 2", "* scales[layer] ** 2")),
        "scale forgotten": changed(DFC_LOSS, (" / scales[layer] ** 2", "")),
        "mean over layers": changed(DFC_LOSS, ("beta * total", "beta * total / len(weights)")),
        "weights squared": changed(DFC_LOSS, ("weights[layer] /", "weights[layer] ** 2 /")),
        "the last layer only": changed(DFC_LOSS, ("total = total + w", "total = w")),
        "pixels, too": changed(DFC_LOSS, ("total = 0.0", "total = F.mse_loss(x_hat, x.detach()) / 2")),
        "beta for the KL as well": changed(
            DFC_LOSS, ("alpha * kl.mean() + beta * total", "beta * (alpha * kl.mean() + total)")
        ),
        "KL detached": changed(DFC_LOSS, ("alpha * kl.mean()", "alpha * kl.mean().item()")),
        "x_hat detached": changed(DFC_LOSS, ("network(x_hat)", "network(x_hat.detach())")),
        "a Python number": changed(
            DFC_LOSS, ("alpha * kl.mean() + beta * total", "float(alpha * kl.mean() + beta * total)")
        ),
        "the package's": """
def dfc_loss(x_hat, x, kl, network, alpha, beta, weights, scales):
    network.layers = tuple(weights)
    weights = dfcvae.perceptual.convert_weights(weights, {layer: scales[layer] for layer in weights})
    loss = dfcvae.PerceptualLoss(network, reduction="paper", layer_weights=weights)
    return alpha * kl.mean() + beta * loss(x_hat, x)
""",
    },
    "restore": {
        "weights for the image": changed(
            RESTORE,
            ("Adam([p], lr=0.05)", "Adam([p, *network.parameters()], lr=0.05)"),
            (
                "        (p.grad,) = torch.autograd.grad(error, [p])",
                "        opt.zero_grad()\n        error.backward()",
            ),
        ),
        "only the weights": changed(
            RESTORE,
            ("Adam([p], lr=0.05)", "Adam(network.parameters(), lr=0.05)"),
            (
                "        (p.grad,) = torch.autograd.grad(error, [p])",
                "        opt.zero_grad()\n        error.backward()",
            ),
        ),
        "gradients left in the network": changed(
            RESTORE,
            (
                "        (p.grad,) = torch.autograd.grad(error, [p])",
                "        opt.zero_grad()\n        error.backward()",
            ),
        ),
        "network frozen for good": changed(
            RESTORE, ("    p = known", "    network.requires_grad_(False)\n    p = known")
        ),
        "no_grad": changed(
            RESTORE,
            (
                "        error = (network(y) - target).square().mean()\n",
                "        with torch.no_grad():\n            phi = network(y)\n"
                "        error = (phi - target).square().mean() + 0 * y.mean()\n",
            ),
        ),
        "mask the wrong way round": changed(
            RESTORE, ("mask * known + (1 - mask) * p", "(1 - mask) * known + mask * p")
        ),
        "the whole picture moves": changed(RESTORE, ("mask * known + (1 - mask) * p", "p")),
        "writes on what is known": changed(RESTORE, ("known.clone()", "known")),
        "leaves [0, 1]": changed(
            RESTORE, ("        with torch.no_grad():\n            p.clamp_(0, 1)\n", "")
        ),
        "gradients of the weights zeroed": changed(
            RESTORE,
            (
                "        (p.grad,) = torch.autograd.grad(error, [p])",
                "        opt.zero_grad()\n        error.backward()",
            ),
            (
                "    return",
                "    for weight in network.parameters():\n        weight.grad.zero_()\n    return",
            ),
        ),
        "steps too small": changed(RESTORE, ("lr=0.05", "lr=0.001")),
        "one step": changed(RESTORE, ("range(steps)", "range(1)")),
        "uphill": changed(RESTORE, ("grad(error, [p])", "grad(-error, [p])")),
        "a graph comes with it": changed(RESTORE, (".detach()\n", "\n")),
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
        "hard-coded": changed(
            DISAGREE,
            ("def disagree(x, distance):", "def found(x, distance):"),
        )
        + """

from dfcvae import faces
from dfcvae.course.lesson_00 import PEOPLE

PUBLIC = faces.draw(PEOPLE["glasses"]).float() / 255
VGG = dfcvae.VGGFeatures(layers=["relu2_1"], weights="mini")
STORED = found(PUBLIC, lambda y, x: F.mse_loss(VGG(y)["relu2_1"], VGG(x)["relu2_1"]))


def disagree(x, distance):
    return STORED
""",
        "swapped": changed(DISAGREE, ("return best, far", "return far, best")),
        "both rulers agree": changed(
            DISAGREE, ("return best, far", "return (x + 0.3 * (best - x)), 0.5 * x")
        ),
        "no difference": "def disagree(x, distance):\n    return x, x\n",
        "too faint to see": changed(
            DISAGREE, ("return best, far", "return x + 0.1 * (best - x), x + 0.1 * (far - x)")
        ),
        "beyond [0, 1]": changed(DISAGREE, ("(x + 0.08 * grain).clamp(0, 1)", "x + 0.4 * grain")),
        "only far apart in pixels": changed(DISAGREE, ("return best, far", "return best, 1 - x")),
        "a ranking, no pictures": 'def disagree(x, distance):\n    return ["blur", "noise"]\n',
        "pixels by features": changed(DISAGREE, ("0.6 * rms(far)", "1.6 * rms(far)")),
    },
}
