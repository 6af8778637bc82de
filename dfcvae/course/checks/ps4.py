"""Self-checks of problem set 4.

None says which faults the program was dealt: ``found`` looks at the form alone, ``repaired`` at the promises
that the student named, and ``tests`` at what holds for any good test.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from dfcvae.course.checks import trial
from dfcvae.course.checks.trial import Mistake, Task, Tried, describe, first_line, given, same, self_check
from dfcvae.vgg import build_layers

DEALT = 5  # faults of a course
SPARED = ("P11", "P12", "P13", "P14")  # promises that no fault of the program breaks
MOST_WORK = 2e10  # operations of five tests: they will meet dozens of classes


def small_vgg(wider: int = 1) -> nn.Sequential:
    """The layers of torchvision's vgg19_bn().features with few channels."""
    layers = build_layers("vgg19_bn", widths=[wider * width for width in (4, 6, 5, 7, 5)])
    for layer in layers:
        if isinstance(layer, nn.ReLU):
            layer.inplace = True
    return trial.filled(nn.Sequential(*layers), 41).eval()


@self_check
def found(task: Task, answer: Tried) -> None:
    """Try the form of ``found``: whether the right promises are in it is not told."""
    named = answer.answer
    task.refuse(not isinstance(named, Mapping), "no dict", found=describe(named))
    task.refuse(not named, "empty")
    for promise in named:
        hint = f"write 'P{promise}'" if str(promise).isdigit() else "they are called 'P1' to 'P14'"
        task.refuse(promise not in task["promises"], "no promise", promise=promise, hint=hint)
    for promise, place in named.items():
        owner, _, method = str(place).strip().partition(".")
        methods, said = task["places"].get(owner), {"promise": promise, "place": place, "owner": owner}
        task.refuse(isinstance(place, int), "line", **said)
        task.refuse(not isinstance(place, str), "no text", found=describe(place), **said)
        task.refuse(methods and not method, "whole class", **said)
        task.refuse(not methods, "no place", **said)
        task.refuse(method.endswith("()"), "parentheses", **said)
        task.refuse(method not in methods, "no method", method=method, **said)
    task.refuse(len(named) != DEALT, "number", number=len(named))
    task.refuse(set(SPARED) <= set(named), "spared")


class Promises:
    """A class under test: models of it with a small VGG. P1 to P14 raise a Mistake where it breaks them."""

    latents, channels = 7, (6, 4, 8, 128)  # neither sorted nor even

    def __init__(self, Model: type, task: Task) -> None:
        self.Model, self.task, self.refuse = Model, task, task.refuse

    def wrong(self, promise: str) -> str:
        """How the class breaks a promise; "" where it keeps it."""
        try:
            getattr(self, promise)()
        except trial.Poisoned:
            return self.task["say"]["the package's function"]
        except Mistake as mistake:
            return str(mistake)
        except Exception as error:
            return f"{type(error).__name__}: {first_line(error)}."
        return ""

    def model(self, wider: int = 1, **options: Any) -> Any:
        """In eval, with the same weights each time. wider: times the channels of the VGG."""
        trunk = small_vgg(wider)
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(0)
            sizes = {"latent_dim": self.latents, "channels": [*self.channels]}
            return self.Model(trunk, **sizes | options).eval()

    def images(self, seed: int = 0, n: int = 3, size: int = 64) -> Tensor:
        return given({"seed": f"images {seed}", "shape": [n, 3, size, size]})

    def codes(self, n: int, seed: int = 0) -> Tensor:
        return given({"seed": f"codes {seed}", "shape": [n, self.latents], "low": -2.0, "high": 2.0})

    def seen(self, features: Sequence[Tensor], layers: Iterable[int]) -> bool:
        """Whether these are the layers' outputs, of images that are normalised or not (another promise)."""
        stored = ([outputs[str(layer)] for layer in layers] for outputs in self.task["layers"].values())
        return any(len(features) == len(rights) and all(map(same, features, rights)) for rights in stored)

    def P1(self) -> None:  # images lie in [0, 1]
        x_hat, near = (self.model().decode(scale * self.codes(8)) for scale in (1000, 10))
        low, high = x_hat.min().item(), x_hat.max().item()
        self.refuse(not 0 <= low <= high <= 1, "range", low=low, high=high)
        self.refuse(low > 0.05 or high < 0.95, "narrow range", low=low, high=high)
        stuck = ((near <= 0) | (near >= 1)).float().mean().item()
        self.refuse(stuck >= 0.05, "clipped", stuck=stuck)

    def P2(self) -> None:  # the loss network sees normalised images
        x, zeros, model = self.images(), torch.zeros(3, self.latents), self.model(layers=(2, 9))
        trial.recognise(torch.cat([phi.flatten() for phi in model.features(x)]), self.task["normalised"])
        found = model.loss_function(x, self.images(1), zeros, zeros)["features"]
        self.refuse(not same(found, self.task["normalised loss"]), "normalised loss")

    def P3(self) -> None:  # the loss network stays in eval
        model, x = self.model(), self.images()
        before = [trial.digest(phi) for phi in model.features(x)]  # copies, whatever is written into them
        model.train()
        for seed in 1, 2, 3:
            other = self.images(seed) ** 2
            model.loss_function(other, *model(other))["loss"].backward()
            model.features(other)
        self.refuse(not all(map(same, model.eval().features(x), before)), "moved")
        model = self.model().train()
        pairs = zip(model.features(x[:1]), model.features(x), strict=True)
        self.refuse(not all(same(together[:1], alone) for alone, together in pairs), "neighbours")
        self.refuse(same(model.encode(x)[0][:1], model.encode(x[:1])[0]), "all in eval")

    def P4(self) -> None:  # relu1_1, relu2_1, relu3_1 are compared
        found = self.model().features(self.images())
        if len(found) < 2 or not all(any(self.seen([phi], [i]) for i in (2, 9, 16)) for phi in found):
            other = (what for what, layers in self.task["other layers"].items() if self.seen(found, layers))
            raise Mistake(next(other, self.task["say"]["other layers"]))
        self.refuse(len(found) != 3, "number of layers", number=len(found))

    def P5(self) -> None:  # features are what the layers gave
        x = self.images().requires_grad_()
        for layers in (4, 11), (0, 1, 2, 3):
            found = self.model(layers=layers).features(x)
            self.refuse(len(found) != len(layers), "maps", number=len(found), layers=len(layers))
            if not self.seen(found, layers):
                self.refuse(layers == (4, 11) and any(phi.min() >= 0 for phi in found), "overwritten")
                self.refuse(True, "not as given", layers=list(layers))
        (gradient,) = torch.autograd.grad(sum(phi.square().mean() for phi in found), x)
        self.refuse(not gradient.any(), "copies without gradient")

    def P6(self) -> None:  # the loss network is neither saved nor trained
        one, other = self.model(), self.model(wider=2)
        shapes = [{key: tensor.shape for key, tensor in m.state_dict().items()} for m in (one, other)]
        self.refuse(shapes[0] != shapes[1], "saved")
        self.refuse([p.shape for p in one.parameters()] != [p.shape for p in other.parameters()], "optimised")
        other.load_state_dict(one.state_dict())
        x = self.images()
        self.refuse(not same(other.encode(x)[0], one.encode(x)[0]), "not loaded")
        self.refuse(one.double().features(x.double())[0].dtype != torch.float64, "left behind")

    def P7(self) -> None:  # sizes and channels are free
        for size, channels in (96, [*self.channels]), (64, [6, 4, 8, 5, 128]), (64, [6, 4, 8, 24]):
            said = {"size": size, "channels": channels}
            try:
                model, x = self.model(image_size=size, channels=[*channels]), self.images(n=2, size=size)
                shape, drawn = model(x)[0].shape, model.sample(2).shape
            except RuntimeError as error:
                self.refuse(True, "stopped", **said, error=first_line(error))
            self.refuse(not shape == drawn == x.shape, "another size", **said, found=tuple(shape[2:]))

    def P8(self) -> None:  # the caller's list stays
        channels, x = [*self.channels], self.images()
        model = self.model(channels=channels)
        self.refuse(channels == [*self.channels][::-1], "reversed")
        self.refuse(channels != [*self.channels], "list changed", found=channels)
        channels.clear()
        shapes = {model(x)[0].shape, self.model(channels=self.channels)(x)[0].shape}
        self.refuse(shapes != {x.shape}, "list remembered")

    def P9(self) -> None:  # log_var is bounded
        def wild(bias: Tensor) -> Any:
            model = self.model()
            with torch.no_grad():
                model.to_log_var.weight.zero_()
                model.to_log_var.bias.copy_(bias)
            return model

        x, large = self.images(), torch.full((self.latents,), 2000.0)
        for bias in large, -large:
            model = wild(bias)
            mu, log_var = model.encode(x)
            drawn, kl = model.reparameterize(mu, log_var), model.loss_function(x, x, mu, log_var)["kl"]
            tame = [name for name, y in (("draw", drawn), ("KL", kl)) if y.isfinite().all()]
            where = f" (the {tame[0]} alone is protected)" if len(tame) == 1 else ""
            bounded = (log_var.abs() <= 30).all()
            self.refuse(not bounded, "unbounded", log_var=log_var.flatten()[0].item(), where=where)
        model = wild(large)
        x_hat, mu, log_var = model(x)
        self.refuse(not x_hat.isfinite().all(), "NaN image")
        loss = model.loss_function(x, x_hat, mu, log_var)["loss"]
        self.refuse(not loss.isfinite(), "infinite loss")
        loss.backward()
        for name, p in model.named_parameters():
            self.refuse(p.grad is not None and not p.grad.isfinite().all(), "infinite gradient", name=name)
        usual = torch.linspace(-4, 4, self.latents)
        changed = (wild(usual).encode(x)[1][0] - usual).abs() > 0.1 * usual.abs() + 0.05
        self.refuse(changed.any(), "log_var changed")
        self.P11()

    def P10(self) -> None:  # generate decodes mu
        model, x = self.model(), self.images()
        first = trial.digest(model.generate(x))
        self.refuse(not same(model.generate(x), first), "two pictures")
        self.refuse(not same(model.decode(model.encode(x)[0]), first), "not mu")
        self.refuse(same(model(x)[0], model(x)[0], 1e-6), "forward without draw")
        state = torch.get_rng_state()
        model.generate(x)
        self.refuse(not torch.equal(state, torch.get_rng_state()), "generate draws")

    def P11(self) -> None:  # the KL is in nats
        x, kl = self.images(n=4), self.task["kl"]
        found = self.model().loss_function(x, self.images(1, n=4), self.codes(4), self.codes(4, 1))["kl"]
        self.refuse(not same(found, kl), "kl", found=float(found), right=kl[0])

    def P12(self) -> None:  # the loss is alpha * KL + beta * features
        model, x, x_hat = self.model(alpha=0.7, beta=3.0), self.images(), self.images(1)
        terms = model.loss_function(x, x_hat, self.codes(3), self.codes(3, 1))
        pairs = zip(model.features(x_hat), model.features(x), strict=True)
        right = sum(0.5 * F.mse_loss(a, b) for a, b in pairs)
        self.refuse(not same(terms["features"], right), "feature term")
        self.refuse(not same(terms["loss"], 0.7 * terms["kl"] + 3.0 * right), "loss")

    def P13(self) -> None:  # the decoder gets gradients, the original none
        model, x = self.model(alpha=0.0), self.images().requires_grad_()
        x_hat, mu, log_var = model(x.detach())
        model.loss_function(x, x_hat, mu, log_var)["loss"].backward()
        self.refuse(x.grad is not None and x.grad.any(), "target learns")
        deaf = [name for name, p in model.decoder.named_parameters() if p.grad is None or not p.grad.any()]
        self.refuse(len(deaf) > 4, "decoder deaf", name=deaf[-1:])

    def P14(self) -> None:  # z has the standard deviation exp(log_var / 2)
        log_var = torch.tensor([-2.0, 0.0, 1.5])
        z = self.model().reparameterize(torch.full((20_000, 3), 2.0), log_var.expand(20_000, 3))
        right = same(z.std(0), (log_var / 2).exp(), 0.05) and same(z.mean(0), [2.0, 2.0, 2.0], 0.05)
        self.refuse(not right, "spread")
        drawn = self.model().sample(2)
        self.refuse(drawn.shape != (2, 3, 64, 64) or same(drawn[0], drawn[1], 1e-6), "samples")


@self_check
def repaired(task: Task, answer: Tried, named: Tried) -> None:
    """Try ``Repaired`` on the promises that ``found`` names, and on P11 to P14, which a repair may break."""
    Model, promises = answer.answer, named.answer
    task.refuse(isinstance(Model, nn.Module), "a model")
    is_class = isinstance(Model, type) and issubclass(Model, nn.Module)
    task.refuse(not is_class, "no class", found=describe(Model))
    task.refuse(Model.__name__ == "WildDFCVAE", "as found")
    task.refuse(not isinstance(promises, Mapping) or not 0 < len(promises) <= DEALT, "nothing named")
    task.refuse(any(cls.__module__.startswith("dfcvae") for cls in Model.__mro__), "the package's")
    case = Promises(Model, task)
    model = Tried(case.model)()
    for name in task["names"]:
        task.refuse(not hasattr(model, name), "no part", name=name)
    wrong = {promise: case.wrong(promise) for promise in (*SPARED, *promises)}
    # Of a class that repairs nothing no promise is judged: that would tell what is broken.
    if Found := _as_found(Model):
        before = Promises(Found, task)
        task.refuse(all(wrong[name] == before.wrong(name) for name in promises), "nothing changed")
    for promise, sentence in wrong.items():
        spared = " A repair has broken what was right." if promise in SPARED else ""
        if sentence:
            raise Mistake(f"{promise}: {sentence}{spared}")


def _as_found(Model: type) -> type | None:
    """The program as it was found, which stands where the student's class was written."""
    around = [value.__globals__ for value in vars(Model).values() if inspect.isfunction(value)]
    named = [{cls.__name__: cls for cls in Model.__mro__}, *around]
    return next((names["WildDFCVAE"] for names in named if "WildDFCVAE" in names), None)


def _outcome(function: Callable, Model: Any, seed: int = 0) -> tuple[Any, str]:
    """What a test returns, and why it says no to a class; "" where it says yes."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        try:
            return function(Model), ""
        except BaseException as error:  # what pytest.fail raises is no Exception
            if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "TimeUp":
                raise
            return None, f"{type(error).__name__}: {' '.join(str(error).split())[:90] or 'an assert'}"


@self_check
def tests(task: Task, answer: Tried, Repaired: Tried, Found: Tried) -> None:
    """Try ``tests`` on the student's class, on the program as it was found, and on what is no class."""
    functions, Own = answer.answer, Repaired.answer
    listed = isinstance(functions, Sequence) and all(map(callable, functions))
    task.refuse(not listed, "no list", found=describe(functions))
    different = len({id(function) for function in functions})
    task.refuse(len(functions) != DEALT or different != DEALT, "number", number=different)
    named = [(getattr(function, "__name__", "a test"), function) for function in functions]
    for name, function in named:
        try:
            inspect.signature(function).bind(Own)
        except TypeError as error:
            task.refuse(True, "arguments", name=name, error=error)
        returned, why = _outcome(function, Own)
        task.refuse(why.startswith("NotImplementedError"), "not written", name=name)
        task.refuse(why, "fails on yours", name=name, why=why)
        task.refuse(returned is not None, "returns", name=name, found=describe(returned))
        task.refuse(not _outcome(function, _unbuilt)[1], "does not look", name=name)
        task.refuse(any(_outcome(function, Own, seed)[1] for seed in (1, 2)), "by chance", name=name)
    for name, function in named:
        task.refuse(not _outcome(function, Found.answer)[1], "passes as found", name=name)
    with FlopCounterMode(display=False) as work:
        for name, function in named:
            why = _outcome(function, _in_other_words(Own))[1]
            task.refuse(why, "how it is written", name=name, why=why)
    times = work.get_total_flops() / MOST_WORK
    task.refuse(times > 1, "work", times=times)


def _unbuilt(*_: Any, **__: Any) -> None:
    raise RuntimeError("a test that uses its Model sees this")


def _in_other_words(Model: type) -> type:
    """A class that does the same: its methods have other code, and no source that could be read."""

    def passed_on(name: str) -> Callable:
        return lambda self, *given, **options: getattr(super(Other, self), name)(*given, **options)

    methods = {
        name: f for cls in Model.__mro__[:-2] for name, f in vars(cls).items() if inspect.isfunction(f)
    }
    Other = type("Other", (Model,), {name: passed_on(name) for name in methods})
    return Other
