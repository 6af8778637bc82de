"""Self-checks of problem set 4: each prints one line, which names the mistake where it knows it.

    from dfcvae.course.checks import ps4 as check
    check.repaired(Repaired, found)

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
from torch.nn.modules.module import register_module_forward_hook

from dfcvae.course.checks import trial
from dfcvae.course.checks.networks import small_vgg
from dfcvae.course.checks.trial import (
    Mistake,
    Task,
    Tried,
    describe,
    first_line,
    given,
    recognise,
    same,
    self_check,
)

DEALT = 5  # faults of a course
SPARED = ("P11", "P12", "P13", "P14")  # promises that no fault of the program breaks
MOST_WORK = 5e9  # multiplications in the convolutions of five tests: they will meet dozens of classes


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
        said = {"promise": promise, "place": place, "found": describe(place)}
        task.refuse(isinstance(place, int), "line", **said)
        task.refuse(not isinstance(place, str), "no text", **said)
        owner, _, method = place.strip().partition(".")
        methods = task["places"].get(owner)
        task.refuse(methods and not method, "whole class", owner=owner, **said)
        task.refuse(not methods, "no place", **said)
        task.refuse(method.endswith("()"), "parentheses", **said)
        task.refuse(method not in methods, "no method", owner=owner, method=method, **said)
    task.refuse(len(named) != DEALT, "number", number=len(named))
    task.refuse(set(SPARED) <= set(named), "spared")


class Case:
    """A class under test: models of it with a small VGG, and what is put into them."""

    def __init__(self, Model: type, task: Task) -> None:
        self.Model, self.task, self.channels = Model, task, [6, 4, 8, 128]  # neither sorted nor even
        self.refuse, self.latents = task.refuse, 7

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

    def seen(self, features: Iterable[Tensor], layers: Iterable[int]) -> bool:
        """Whether these are the layers' outputs, of images that are normalised or not (another promise)."""
        features, layers = [*features], [*layers]
        stored = ([self.task["layers"][way][str(layer)] for layer in layers] for way in ("normalised", "raw"))
        return any(len(features) == len(rights) and all(map(same, features, rights)) for rights in stored)


def _images_in_range(case: Case) -> None:
    x_hat, near = (case.model().decode(scale * case.codes(8)) for scale in (1000, 10))
    low, high = x_hat.min().item(), x_hat.max().item()
    case.refuse(not 0 <= low <= high <= 1, "range", low=low, high=high)
    case.refuse(low > 0.05 or high < 0.95, "narrow range", low=low, high=high)
    stuck = ((near <= 0) | (near >= 1)).float().mean().item()
    case.refuse(stuck >= 0.05, "clipped", stuck=stuck)


def _normalised(case: Case) -> None:
    x, zeros = case.images(), torch.zeros(3, case.latents)
    model = case.model(layers=(2, 9))
    recognise(torch.cat([phi.flatten() for phi in model.features(x)]), case.task["normalised"])
    found = model.loss_function(x, case.images(1), zeros, zeros)["features"]
    case.refuse(not same(found, case.task["normalised loss"]), "normalised loss")


def _judge_in_eval(case: Case) -> None:
    model, x = case.model(), case.images()
    before = [trial.digest(phi) for phi in model.features(x)]  # copies, whatever is written into them
    model.train()
    for seed in 1, 2, 3:
        other = case.images(seed) ** 2
        model.loss_function(other, *model(other))["loss"].backward()
        model.features(other)
    case.refuse(not all(map(same, model.eval().features(x), before)), "moved")
    model = case.model().train()
    alone, together = model.features(x[:1]), model.features(x)
    same_alone = [same(phi[:1], one) for phi, one in zip(together, alone, strict=True)]
    case.refuse(not all(same_alone), "neighbours")
    case.refuse(same(model.encode(x)[0][:1], model.encode(x[:1])[0]), "all in eval")


def _three_layers(case: Case) -> None:
    found = case.model().features(case.images())
    if len(found) < 2 or not all(any(case.seen([phi], [i]) for i in (2, 9, 16)) for phi in found):
        for sentence, layers in case.task["other layers"].items():
            if case.seen(found, layers):
                raise Mistake(sentence)
        case.refuse(True, "other layers")
    case.refuse(len(found) != 3, "number of layers", number=len(found))


def _as_given(case: Case) -> None:
    x = case.images().requires_grad_()
    for layers in (4, 11), (0, 1, 2, 3):
        found = case.model(layers=layers).features(x)
        case.refuse(len(found) != len(layers), "maps", number=len(found), layers=len(layers))
        if not case.seen(found, layers):
            case.refuse(layers == (4, 11) and any(phi.min() >= 0 for phi in found), "overwritten")
            case.refuse(True, "not as given", layers=list(layers))
    (gradient,) = torch.autograd.grad(sum(phi.square().mean() for phi in found), x)
    case.refuse(not gradient.any(), "copies without gradient")


def _judge_not_saved(case: Case) -> None:
    one, other = case.model(), case.model(wider=2)
    shapes = [{key: tensor.shape for key, tensor in m.state_dict().items()} for m in (one, other)]
    case.refuse(shapes[0] != shapes[1], "saved")
    case.refuse([p.shape for p in one.parameters()] != [p.shape for p in other.parameters()], "optimised")
    other.load_state_dict(one.state_dict())
    x = case.images()
    case.refuse(not same(other.encode(x)[0], one.encode(x)[0]), "not loaded")
    case.refuse(one.double().features(x.double())[0].dtype != torch.float64, "left behind")


def _any_size(case: Case) -> None:
    for size, channels in (96, case.channels), (64, [6, 4, 8, 5, 128]), (64, [6, 4, 8, 24]):
        said = {"size": size, "channels": channels}
        try:
            model, x = case.model(image_size=size, channels=[*channels]), case.images(n=2, size=size)
            shape, drawn = model(x)[0].shape, model.sample(2).shape
        except RuntimeError as error:
            case.refuse(True, "stopped", **said, error=first_line(error))
        case.refuse(not shape == drawn == x.shape, "another size", **said, found=tuple(shape[2:]))


def _list_kept(case: Case) -> None:
    channels, x = [*case.channels], case.images()
    model = case.model(channels=channels)
    case.refuse(channels == case.channels[::-1], "reversed")
    case.refuse(channels != case.channels, "list changed", found=channels)
    channels.clear()
    shapes = {model(x)[0].shape, case.model(channels=tuple(case.channels))(x)[0].shape}
    case.refuse(shapes != {x.shape}, "list remembered")


def _log_var_bounded(case: Case) -> None:
    def wild(bias: Tensor) -> Any:
        model = case.model()
        with torch.no_grad():
            model.to_log_var.weight.zero_()
            model.to_log_var.bias.copy_(bias)
        return model

    x, large = case.images(), torch.full((case.latents,), 2000.0)
    for bias in large, -large:
        model = wild(bias)
        mu, log_var = model.encode(x)
        drawn = model.reparameterize(mu, log_var).isfinite().all()
        priced = model.loss_function(x, x, mu, log_var)["kl"].isfinite()
        where = " (the KL alone is protected)" if priced and not drawn else ""
        where = " (the draw alone is protected)" if drawn and not priced else where
        bounded = (log_var.abs() <= 30).all()
        case.refuse(not bounded, "unbounded", log_var=log_var.flatten()[0].item(), where=where)
    model = wild(large)
    x_hat, mu, log_var = model(x)
    case.refuse(not x_hat.isfinite().all(), "NaN image")
    loss = model.loss_function(x, x_hat, mu, log_var)["loss"]
    case.refuse(not loss.isfinite(), "infinite loss")
    loss.backward()
    for name, p in model.named_parameters():
        case.refuse(p.grad is not None and not p.grad.isfinite().all(), "infinite gradient", name=name)
    tame = torch.linspace(-4, 4, case.latents)
    changed = (wild(tame).encode(x)[1][0] - tame).abs() > 0.1 * tame.abs() + 0.05
    case.refuse(changed.any(), "log_var changed")
    _kl_in_nats(case)


def _generate_from_mu(case: Case) -> None:
    model, x = case.model(), case.images()
    first = trial.digest(model.generate(x))
    case.refuse(not same(model.generate(x), first), "two pictures")
    case.refuse(not same(model.decode(model.encode(x)[0]), first), "not mu")
    case.refuse(same(model(x)[0], model(x)[0], 1e-6), "forward without draw")
    state = torch.get_rng_state()
    model.generate(x)
    case.refuse(not torch.equal(state, torch.get_rng_state()), "generate draws")


def _kl_in_nats(case: Case) -> None:
    x, kl = case.images(n=4), case.task["kl"]
    found = case.model().loss_function(x, case.images(1, n=4), case.codes(4), case.codes(4, 1))["kl"]
    case.refuse(not same(found, kl), "kl", found=float(found), right=kl[0])


def _loss_is_the_sum(case: Case) -> None:
    model, x, x_hat = case.model(alpha=0.7, beta=3.0), case.images(), case.images(1)
    terms = model.loss_function(x, x_hat, case.codes(3), case.codes(3, 1))
    right = sum(0.5 * F.mse_loss(a, b) for a, b in zip(model.features(x_hat), model.features(x), strict=True))
    case.refuse(not same(terms["features"], right), "feature term")
    case.refuse(not same(terms["loss"], 0.7 * terms["kl"] + 3.0 * right), "loss")


def _decoder_hears(case: Case) -> None:
    model, x = case.model(alpha=0.0), case.images().requires_grad_()
    x_hat, mu, log_var = model(x.detach())
    model.loss_function(x, x_hat, mu, log_var)["loss"].backward()
    case.refuse(x.grad is not None and x.grad.any(), "target learns")
    deaf = [name for name, p in model.decoder.named_parameters() if p.grad is None or not p.grad.any()]
    case.refuse(len(deaf) > 4, "decoder deaf", name=deaf[-1:])


def _draws_with_std(case: Case) -> None:
    log_var = torch.tensor([-2.0, 0.0, 1.5])
    z = case.model().reparameterize(torch.full((20_000, 3), 2.0), log_var.expand(20_000, 3))
    right = same(z.std(0), (log_var / 2).exp(), 0.05) and same(z.mean(0), [2.0, 2.0, 2.0], 0.05)
    case.refuse(not right, "spread")
    drawn = case.model().sample(2)
    case.refuse(drawn.shape != (2, 3, 64, 64) or same(drawn[0], drawn[1], 1e-6), "samples")


PROMISES: dict[str, Callable[[Case], None]] = {
    "P1": _images_in_range,
    "P2": _normalised,
    "P3": _judge_in_eval,
    "P4": _three_layers,
    "P5": _as_given,
    "P6": _judge_not_saved,
    "P7": _any_size,
    "P8": _list_kept,
    "P9": _log_var_bounded,
    "P10": _generate_from_mu,
    "P11": _kl_in_nats,
    "P12": _loss_is_the_sum,
    "P13": _decoder_hears,
    "P14": _draws_with_std,
}


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
    case = Case(Model, task)
    model = Tried(case.model)()
    for name in task["names"]:
        task.refuse(not hasattr(model, name), "no part", name=name)
    wrong, found = {promise: _wrong(case, promise) for promise in (*SPARED, *promises)}, _as_found(Model)
    as_found = found and all(wrong[promise] == _wrong(Case(found, task), promise) for promise in promises)
    task.refuse(as_found, "nothing changed")
    for promise, sentence in wrong.items():
        spared = " A repair has broken what was right." if promise in SPARED else ""
        if sentence:
            raise Mistake(f"{promise}: {sentence}{spared}")


def _wrong(case: Case, promise: str) -> str:
    """How a class breaks a promise; "" where it keeps it."""
    try:
        PROMISES[promise](case)
    except trial.Poisoned:
        case.refuse(True, "the package's function")
    except Mistake as mistake:
        return str(mistake)
    except Exception as error:
        return f"{type(error).__name__}: {first_line(error)}."
    return ""


def _as_found(Model: type) -> type | None:
    """The program as it was found, which stands where the student's class was written.

    Of a class that repairs nothing no promise is judged: that would tell what is broken.
    """
    around = [value.__globals__ for value in vars(Model).values() if inspect.isfunction(value)]
    named = [{cls.__name__: cls for cls in Model.__mro__}, *around]
    return next((names["WildDFCVAE"] for names in named if "WildDFCVAE" in names), None)


def _unbuilt(*_: Any, **__: Any) -> None:
    raise RuntimeError("a test that uses its Model sees this")


def _why(function: Callable, Model: Any, seed: int = 0) -> str:
    """Why a test says no to a class; "" where it says yes. What pytest.fail raises is no Exception."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        try:
            function(Model)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "TimeUp":
                raise
            return f"{type(error).__name__}: {' '.join(str(error).split())[:90] or 'an assert'}"
    return ""


@self_check
def tests(task: Task, answer: Tried, Repaired: Tried, Found: Tried) -> None:
    """Try ``tests`` on the student's class, on the program as it was found, and on what is no class."""
    functions, Own = answer.answer, Repaired.answer
    listed = isinstance(functions, Sequence) and all(map(callable, functions))
    task.refuse(not listed, "no list", found=describe(functions))
    different = len({id(function) for function in functions})
    task.refuse(len(functions) != DEALT or different != DEALT, "number", number=different)
    for function in functions:
        name = getattr(function, "__name__", "a test")
        try:
            inspect.signature(function).bind(Own)
        except TypeError as error:
            task.refuse(True, "arguments", name=name, error=error)
        with torch.random.fork_rng(devices=[]):
            try:
                returned = function(Own)
            except NotImplementedError:
                task.refuse(True, "not written", name=name)
            except Exception:
                task.refuse(True, "fails on yours", name=name, why=_why(function, Own) or "by chance")
        task.refuse(returned is not None, "returns", name=name, found=describe(returned))
        task.refuse(not _why(function, _unbuilt), "does not look", name=name)
        task.refuse(any(_why(function, Own, seed) for seed in range(3)), "by chance", name=name)
    for function in functions:
        name = getattr(function, "__name__", "a test")
        task.refuse(not _why(function, Found.answer), "passes as found", name=name)
    work: list[int] = []

    def count(layer: nn.Module, _: Any, output: Any) -> None:
        if isinstance(layer, nn.Conv2d):
            work.append(output.numel() * layer.weight[0].numel())

    hook = register_module_forward_hook(count)
    try:
        for function in functions:
            why = _why(function, _in_other_words(Own))
            task.refuse(why, "how it is written", name=getattr(function, "__name__", "a test"), why=why)
    finally:
        hook.remove()
    task.refuse(sum(work) > MOST_WORK, "work", times=sum(work) / MOST_WORK)


def _in_other_words(Model: type) -> type:
    """A class that does the same: its methods have other code, and no source that could be read."""

    def passed_on(name: str) -> Callable:
        return lambda self, *given, **options: getattr(super(Other, self), name)(*given, **options)

    own = [
        name for cls in Model.__mro__[:-2] for name, value in vars(cls).items() if inspect.isfunction(value)
    ]
    Other = type("Other", (Model,), {name: passed_on(name) for name in own})
    return Other
