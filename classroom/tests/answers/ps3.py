"""Answers to problem set 3: right ones written differently, and typical wrong ones, each a single step away.

WRONG: task -> name -> source. ALTERNATIVES: task -> source. Both define the task's name, with torch at hand.
"""


def _but(task: str, *changes: str) -> str:
    """The task's alternative with pieces replaced: old, new, old, new, ..."""
    source = ALTERNATIVES[task]
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        assert old in source, f"{task}: {old!r} is not in the alternative"
        source = source.replace(old, new)
    return source


ALTERNATIVES = {
    "matched_vector": """
def matched_vector(mu, has, company):
    groups = {}
    for i, row in enumerate(company.tolist()):
        groups.setdefault(tuple(row), ([], []))[0 if has[i] else 1].append(mu[i])
    moves, sizes = [], []
    for on, off in groups.values():
        if on and off:
            moves.append(torch.stack(on).mean(0) - torch.stack(off).mean(0))
            sizes.append(float(len(on)))
    if not moves:
        raise ValueError("nothing to compare")
    sizes = torch.tensor(sizes)
    return (torch.stack(moves) * sizes[:, None]).sum(0) / sizes.sum()
""",
    "counterfactual_gains": """
def counterfactual_gains(model, codes, has, before, after, amounts):
    mode = model.training
    with torch.no_grad():
        model.eval()
        z = model.encode(before)[0]
        v = codes[has].sum(0) / has.sum() - codes[~has].sum(0) / (~has).sum()
        mse = lambda z: ((model.decode(z) - after) ** 2).flatten(1).mean(1)
        rows = [10 * torch.log10(mse(z) / mse(z + a * v)) for a in amounts]
        model.train(mode)
    return torch.stack(rows)
""",
    "choose_then_measure": """
def choose_then_measure(validation, test, amounts):
    k = max(range(len(amounts)), key=lambda i: float(validation[i].mean()))
    g = test[k].tolist()
    mean = sum(g) / len(g)
    error = (sum((x - mean) ** 2 for x in g) / (len(g) - 1) / len(g)) ** 0.5
    return float(amounts[k]), mean, mean - 1.96 * error, mean + 1.96 * error
""",
    "evidence": """
def evidence(learn_has, read, has, draws=2000, seed=0):
    import numpy
    often = bool(learn_has.sum() * 2 > len(learn_has))
    right = (read == has).numpy().astype(float)
    base = (has == often).numpy().astype(float)
    rows = numpy.random.default_rng(seed).integers(0, len(right), (draws, len(right)))
    gains = right[rows].mean(axis=1) - base[rows].mean(axis=1)
    low, high = numpy.percentile(gains, [2.5, 97.5])
    gain = right.mean() - base.mean()
    return dict(accuracy=right.mean(), majority=base.mean(), gain=gain, low=low, high=high)
""",
    "split_by_person": """
def split_by_person(person, share, seed):
    import random
    names = sorted(set(person.tolist()))
    tested = set(random.Random(seed).sample(names, int(share * len(names) + 0.5)))
    learn = [i for i, name in enumerate(person.tolist()) if name not in tested]
    test = [i for i, name in enumerate(person.tolist()) if name in tested]
    return torch.tensor(learn), torch.tensor(test)
""",
    "compare_seeds": """
def compare_seeds(ours, theirs):
    d = (ours.double() - theirs.double()).tolist()
    count = 0
    for pattern in range(2 ** len(d)):
        total = sum(x if pattern >> i & 1 else -x for i, x in enumerate(d))
        count += abs(total) >= abs(sum(d)) - 1e-9
    return sum(d) / len(d), count / 2 ** len(d)
""",
}
WRONG = {
    "matched_vector": {
        "confounded groups: the plain difference": """
def matched_vector(mu, has, company):
    return mu[has].mean(0) - mu[~has].mean(0)
""",
        "every group counts alike": _but("matched_vector", "float(len(on))", "1.0"),
        "groups count by all their faces": _but(
            "matched_vector", "float(len(on))", "float(len(on) + len(off))"
        ),
        "groups count by the faces without": _but("matched_vector", "float(len(on))", "float(len(off))"),
        "summed, not averaged": _but("matched_vector", " / sizes.sum()", ""),
        "sign turned round": _but(
            "matched_vector", "on).mean(0) - torch.stack(off)", "off).mean(0) - torch.stack(on)"
        ),
        "only the first column": _but("matched_vector", "tuple(row)", "row[0]"),
        "columns one at a time": """
def matched_vector(mu, has, company):
    vectors = []
    for column in company.T:
        parts, sizes = [], []
        for value in (True, False):
            on, off = has & (column == value), ~has & (column == value)
            if on.any() and off.any():
                parts.append(on.sum() * (mu[on].mean(0) - mu[off].mean(0)))
                sizes.append(on.sum())
        if not parts:
            raise ValueError("nothing to compare")
        vectors.append(sum(parts) / sum(sizes))
    return torch.stack(vectors).mean(0)
""",
        "only faces without company": """
def matched_vector(mu, has, company):
    alone = ~company.any(dim=1)
    if not (alone & has).any() or not (alone & ~has).any():
        raise ValueError("nothing to compare")
    return mu[alone & has].mean(0) - mu[alone & ~has].mean(0)
""",
        "one-sided groups give NaN": """
def matched_vector(mu, has, company):
    total = 0
    for group in company.unique(dim=0):
        alike = (company == group).all(1)
        total = total + (alike & has).sum() * (mu[alike & has].mean(0) - mu[alike & ~has].mean(0))
    return total / has.sum()
""",
        "one-sided groups left in the denominator": _but("matched_vector", "/ sizes.sum()", "/ has.sum()"),
        "no error where nothing is comparable": _but(
            "matched_vector", 'raise ValueError("nothing to compare")', "return torch.zeros(mu.shape[1])"
        ),
        "company subtracted as another vector": """
def matched_vector(mu, has, company):
    v = mu[has].mean(0) - mu[~has].mean(0)
    for c in company.T:
        w = mu[c].mean(0) - mu[~c].mean(0)
        v = v - (v @ w) / (w @ w) * w
    return v
""",
        "zeros": "def matched_vector(mu, has, company):\n    return torch.zeros(mu.shape[1])\n",
        "calls the package": """
def matched_vector(mu, has, company):
    from dfcvae.latent import attribute_vectors
    return attribute_vectors(mu, has[:, None])[0]
""",
        "calls the hidden tests": """
from dfcvae_classroom.grading.ps3_cases import matched as matched_vector
""",
    },
    "counterfactual_gains": {
        "test images define the vector": _but(
            "counterfactual_gains",
            "codes[has].sum(0) / has.sum() - codes[~has].sum(0) / (~has).sum()",
            "(model.encode(after)[0] - z).mean(0)",
        ),
        "a vector for each face from its answer": _but(
            "counterfactual_gains",
            "codes[has].sum(0) / has.sum() - codes[~has].sum(0) / (~has).sum()",
            "model.encode(after)[0] - z",
        ),
        "no baseline": _but("counterfactual_gains", "mse(z) / mse", "1 / mse"),
        "sampled z for mu": _but(
            "counterfactual_gains", "model.encode(before)[0]", "model.reparameterize(*model.encode(before))"
        ),
        "the notebook's helper for the model": _but(
            "counterfactual_gains", "model.encode(before)[0]", "code_of(before)"
        ),
        "baseline is the original picture": _but(
            "counterfactual_gains", "mse(z) / mse", "((before - after) ** 2).flatten(1).mean(1) / mse"
        ),
        "distance to before": _but(
            "counterfactual_gains", "(model.decode(z) - after)", "(model.decode(z) - before)"
        ),
        "baseline is the first amount": _but(
            "counterfactual_gains", "torch.stack(rows)", "torch.stack(rows) - rows[0]"
        ),
        "one error for all faces": _but(
            "counterfactual_gains",
            "((model.decode(z) - after) ** 2).flatten(1).mean(1)",
            "((model.decode(z) - after) ** 2).mean().expand(len(before))",
        ),
        "minus the mean of all": _but(
            "counterfactual_gains", "codes[~has].sum(0) / (~has).sum()", "codes.mean(0)"
        ),
        "gain turned round": _but("counterfactual_gains", "10 * torch", "-10 * torch"),
        "vector turned round": _but("counterfactual_gains", "z + a * v", "z - a * v"),
        "difference of errors": _but(
            "counterfactual_gains", "10 * torch.log10(mse(z) / mse(z + a * v))", "mse(z) - mse(z + a * v)"
        ),
        "natural logarithm": _but("counterfactual_gains", "torch.log10", "torch.log"),
        "20 log10": _but("counterfactual_gains", "10 * torch", "20 * torch"),
        "one number an amount": _but(
            "counterfactual_gains", "torch.stack(rows)", "torch.stack(rows).mean(1)"
        ),
        "transposed": _but("counterfactual_gains", "torch.stack(rows)", "torch.stack(rows, dim=1)"),
        "vector of length 1": _but("counterfactual_gains", "z + a * v", "z + a * v / v.norm()"),
        "no eval": _but("counterfactual_gains", "        model.eval()\n", ""),
        "left in eval": _but("counterfactual_gains", "        model.train(mode)\n", ""),
        "a graph hangs on it": _but("counterfactual_gains", "torch.no_grad()", "torch.enable_grad()"),
        "zeros": """
def counterfactual_gains(model, codes, has, before, after, amounts):
    return torch.zeros(len(amounts), len(before))
""",
        "calls the package": _but(
            "counterfactual_gains",
            "((model.decode(z) - after) ** 2).flatten(1).mean(1)",
            "10 ** (-__import__('dfcvae').evaluation.psnr(model.decode(z), after) / 10)",
        ),
        "calls the hidden tests": """
from dfcvae_classroom.grading.ps3_cases import gains as counterfactual_gains
""",
    },
    "choose_then_measure": {
        "chosen on the test faces": _but("choose_then_measure", "float(validation[i]", "float(test[i]"),
        "chosen on both": _but(
            "choose_then_measure",
            "float(validation[i].mean())",
            "float(torch.cat([validation[i], test[i]]).mean())",
        ),
        "chosen by one face": _but("choose_then_measure", "validation[i].mean()", "validation[i].max()"),
        "chosen by the median": _but("choose_then_measure", "validation[i].mean()", "validation[i].median()"),
        "interval of the faces that chose": _but(
            "choose_then_measure",
            "    error =",
            "    g = validation[k].tolist()\n    v = sum(g) / len(g)\n    error =",
            "(x - mean) ** 2",
            "(x - v) ** 2",
        ),
        "measured where it was chosen": _but(
            "choose_then_measure", "test[k].tolist()", "validation[k].tolist()"
        ),
        "measured on both": _but(
            "choose_then_measure", "test[k].tolist()", "validation[k].tolist() + test[k].tolist()"
        ),
        "the best amount for each face": _but(
            "choose_then_measure", "test[k].tolist()", "test.amax(0).tolist()"
        ),
        "spread of faces": _but("choose_then_measure", " / (len(g) - 1) / len(g)", " / (len(g) - 1)"),
        "one standard error": _but("choose_then_measure", "1.96 * error", "error"),
        "90 %": _but("choose_then_measure", "1.96", "1.645"),
        "row for amount": _but("choose_then_measure", "float(amounts[k])", "k"),
        "worst": _but("choose_then_measure", "max(range", "min(range"),
        "zeros": "def choose_then_measure(validation, test, amounts):\n    return 0.0, 0.0, 0.0, 0.0\n",
        "calls the package": _but(
            "choose_then_measure",
            "mean = sum(g) / len(g)",
            "mean, half = __import__('dfcvae.course.lesson_06').course.lesson_06.interval(test[k])",
        ),
    },
    "evidence": {
        "no baseline: half": _but("evidence", "(has == often).numpy().astype(float)", "0.5 + 0 * right"),
        "no baseline: interval of the accuracy": _but("evidence", " - base[rows].mean(axis=1)", ""),
        "majority of the test labels": _but(
            "evidence", "learn_has.sum() * 2 > len(learn_has)", "has.sum() * 2 > len(has)"
        ),
        "always no": _but("evidence", "bool(learn_has.sum() * 2 > len(learn_has))", "False"),
        "gain as a ratio": _but(
            "evidence", "gain = right.mean() - base.mean()", "gain = right.mean() / base.mean() - 1"
        ),
        "majority is its frequency in training": _but(
            "evidence",
            "majority=base.mean()",
            "majority=learn_has.float().mean()",
        ),
        "not paired": _but("evidence", "base[rows]", "base[rows[::-1]]"),
        "without replacement": _but(
            "evidence", "    gains =", "    rows = rows.argsort(axis=1)\n    gains ="
        ),
        "90 %": _but("evidence", "[2.5, 97.5]", "[5, 95]"),
        "spread of the faces": _but("evidence", "numpy.percentile(gains,", "numpy.percentile(right - base,"),
        "smallest and largest": _but("evidence", "[2.5, 97.5]", "[0, 100]"),
        "half as many faces": _but("evidence", "(draws, len(right))", "(draws, len(right) // 2)"),
        "percent": _but("evidence", "accuracy=right.mean()", "accuracy=100 * right.mean()"),
        "errors for accuracy": _but("evidence", "(read == has)", "(read != has)"),
        "balanced accuracy": _but(
            "evidence",
            "accuracy=right.mean()",
            "accuracy=(right[has.numpy()].mean() + right[~has.numpy()].mean()) / 2",
        ),
        "no seed": _but("evidence", "default_rng(seed)", "default_rng()"),
        "zeros": """
def evidence(learn_has, read, has, draws=2000, seed=0):
    return dict.fromkeys(("accuracy", "majority", "gain", "low", "high"), 0.0)
""",
        "calls the package": """
def evidence(learn_has, read, has, draws=2000, seed=0):
    from dfcvae.latent import judge
    p = judge("", read, has, bool(learn_has.float().mean() > 0.5))
    low, high = (end - p.majority for end in p.interval)
    found = {"accuracy": p.accuracy, "majority": p.majority, "gain": p.accuracy - p.majority}
    return found | {"low": low, "high": high}
""",
    },
    "split_by_person": {
        "pictures at random": """
def split_by_person(person, share, seed):
    order = torch.randperm(len(person), generator=torch.Generator().manual_seed(seed))
    k = round(share * len(person))
    return order[k:], order[:k]
""",
        "a cut through the list": """
def split_by_person(person, share, seed):
    k = round(share * len(person))
    return torch.arange(k, len(person)), torch.arange(k)
""",
        "the first people, always": _but(
            "split_by_person",
            "random.Random(seed).sample(names, int(share * len(names) + 0.5))",
            "names[: int(share * len(names) + 0.5)]",
        ),
        "share of learning": _but(
            "split_by_person", "int(share * len(names) + 0.5)", "int((1 - share) * len(names) + 0.5)"
        ),
        "share of pictures": """
def split_by_person(person, share, seed):
    everybody = person.unique()
    everybody = everybody[torch.randperm(len(everybody), generator=torch.Generator().manual_seed(seed))]
    test = torch.zeros(len(person), dtype=torch.bool)
    for one in everybody:
        if test.sum() < share * len(person):
            test |= person == one
    return (~test).nonzero().flatten(), test.nonzero().flatten()
""",
        "test before learning": _but(
            "split_by_person",
            "torch.tensor(learn), torch.tensor(test)",
            "torch.tensor(test), torch.tensor(learn)",
        ),
        "masks for row numbers": _but(
            "split_by_person",
            "torch.tensor(learn), torch.tensor(test)",
            "*(torch.isin(torch.arange(len(person)), torch.tensor(part)) for part in (learn, test)),",
        ),
        "one picture a person": _but(
            "split_by_person",
            "    return ",
            "    test = [person.tolist().index(n) for n in tested]\n    return ",
        ),
        "people, not rows": _but("split_by_person", "[i for i, name in", "[name for i, name in"),
        "no seed": _but("split_by_person", "random.Random(seed)", "random.Random()"),
        "people counted from 0": """
def split_by_person(person, share, seed):
    n = len(person.unique())
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    tested = torch.isin(person, order[: round(share * n)])
    return (~tested).nonzero().flatten(), tested.nonzero().flatten()
""",
        "all to both": """
def split_by_person(person, share, seed):
    return torch.arange(len(person)), torch.arange(len(person))
""",
        "nothing tested": """
def split_by_person(person, share, seed):
    return torch.arange(len(person)), torch.arange(0)
""",
    },
    "compare_seeds": {
        "best of several seeds": _but(
            "compare_seeds", "return sum(d) / len(d)", "return float(ours.max() - theirs.max())"
        ),
        "our best against their mean": _but(
            "compare_seeds", "return sum(d) / len(d)", "return float(ours.max() - theirs.mean())"
        ),
        "the best pair": _but("compare_seeds", "return sum(d) / len(d)", "return max(d)"),
        "turned round": _but(
            "compare_seeds", "ours.double() - theirs.double()", "theirs.double() - ours.double()"
        ),
        "one side": _but(
            "compare_seeds", "count += abs(total) >= abs(sum(d)) - 1e-9", "count += total >= sum(d) - 1e-9"
        ),
        "ties do not count": _but("compare_seeds", ">= abs(sum(d)) - 1e-9", "> abs(sum(d)) + 1e-9"),
        "without the observed": _but(
            "compare_seeds", "count / 2 ** len(d)", "(count - 1) / (2 ** len(d) - 1)"
        ),
        "signs only": _but(
            "compare_seeds",
            "    count = 0\n",
            "    mean, d = sum(d) / len(d), [1.0 if x > 0 else -1.0 for x in d]\n    count = 0\n",
            "return sum(d) / len(d)",
            "return mean",
        ),
        "not in pairs": """
def compare_seeds(ours, theirs):
    from itertools import combinations
    every, n = torch.cat([ours, theirs]).double(), len(ours)
    observed = abs(float(ours.double().mean() - theirs.double().mean()))
    hits = total = 0
    for rows in combinations(range(2 * n), n):
        a = every[list(rows)].mean()
        b = (every.sum() - every[list(rows)].sum()) / n
        hits, total = hits + (abs(float(a - b)) >= observed - 1e-9), total + 1
    return float((ours - theirs).mean()), hits / total
""",
        "some random signs": _but(
            "compare_seeds",
            "range(2 ** len(d))",
            "torch.randint(2 ** len(d), (2 ** len(d),), generator=torch.Generator().manual_seed(0)).tolist()",
        ),
        "mean of the sizes": _but(
            "compare_seeds", "return sum(d) / len(d)", "return sum(map(abs, d)) / len(d)"
        ),
        "sorted first": _but(
            "compare_seeds",
            "ours.double() - theirs.double()",
            "ours.double().sort()[0] - theirs.double().sort()[0]",
        ),
        "normal distribution": """
def compare_seeds(ours, theirs):
    d = (ours - theirs).double()
    z = d.mean() / (d.std() / len(d) ** 0.5)
    return float(d.mean()), float(2 - 2 * torch.distributions.Normal(0.0, 1.0).cdf(z.abs()))
""",
        "summed": _but("compare_seeds", "return sum(d) / len(d)", "return sum(d)"),
        "calls the hidden tests": """
def compare_seeds(ours, theirs):
    from dfcvae_classroom.grading.ps3_cases import sign_flips
    return float((ours - theirs).mean()), sign_flips(ours - theirs)
""",
    },
}
