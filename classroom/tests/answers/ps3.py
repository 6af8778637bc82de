"""Answers to problem set 3: right ones, each written in another way, and typical wrong ones.

A wrong answer is the first right one with words replaced, (old, new, old, new ...), or stands as a whole.
"""

RIGHT = {
    "matched_vector": [
        """
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
        """
class Matched:
    def __call__(self, mu, has, company):
        _, group = torch.unique(company, dim=0, return_inverse=True)
        place, n = (has.long(), group), int(group.max()) + 1
        count = torch.zeros(2, n).index_put(place, torch.ones(len(group)), accumulate=True)
        total = torch.zeros(2, n, mu.shape[1]).index_put(place, mu, accumulate=True)
        both = (count > 0).all(0)
        if not both.any():
            raise ValueError("no group has both")
        without, with_it = (total[:, both] / count[:, both, None]).unbind()
        return (count[1, both, None] * (with_it - without)).sum(0) / count[1, both].sum()


matched_vector = Matched()
""",
    ],
    "counterfactual_gains": [
        """
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
        """
@torch.no_grad()
def counterfactual_gains(model, codes, has, before, after, amounts):
    was_training = model.training
    model.eval()
    v = codes[has].mean(0) - codes[~has].mean(0)
    z = model.encode(before)[0][None] + amounts[:, None, None] * v
    pictures = model.decode(z.flatten(0, 1)).unflatten(0, (len(amounts), len(before)))
    psnr = lambda x: -10 * ((x - after) ** 2).mean((-1, -2, -3)).log10()
    gains = psnr(pictures) - psnr(model.generate(before))
    if was_training:
        model.train()
    return gains
""",
    ],
    "choose_then_measure": [
        """
def choose_then_measure(validation, test, amounts):
    k = max(range(len(amounts)), key=lambda i: float(validation[i].mean()))
    g = test[k].tolist()
    mean = sum(g) / len(g)
    error = (sum((x - mean) ** 2 for x in g) / (len(g) - 1) / len(g)) ** 0.5
    return float(amounts[k]), mean, mean - 1.96 * error, mean + 1.96 * error
""",
        """
def choose_then_measure(validation, test, amounts):
    k = validation.mean(1).argmax()
    mean, half = test[k].mean(), 1.959964 * (test[k].var() / test.shape[1]).sqrt()
    return torch.stack([amounts[k], mean, mean - half, mean + half])
""",
    ],
    "evidence": [
        """
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
        """
def evidence(learn_has, read, has, draws=2_000, seed=0):
    g = torch.Generator().manual_seed(seed)
    says = torch.full_like(has, learn_has.sum().item() > (~learn_has).sum().item())
    gains = []
    for _ in range(draws):
        i = torch.randint(0, len(has), (len(has),), generator=g)
        gains.append((read[i] == has[i]).float().mean() - (says[i] == has[i]).float().mean())
    low, high = torch.stack(gains).quantile(0.025), torch.stack(gains).quantile(0.975)
    a, m = (read == has).float().mean(), (says == has).float().mean()
    return {"accuracy": a, "majority": m, "gain": a - m, "low": low, "high": high}
""",
    ],
    "split_by_person": [
        """
def split_by_person(person, share, seed):
    import random
    names = sorted(set(person.tolist()))
    tested = set(random.Random(seed).sample(names, int(share * len(names) + 0.5)))
    learn = [i for i, name in enumerate(person.tolist()) if name not in tested]
    test = [i for i, name in enumerate(person.tolist()) if name in tested]
    return torch.tensor(learn), torch.tensor(test)
""",
        """
def split_by_person(person, share, seed):
    from sklearn.model_selection import GroupShuffleSplit

    splits = GroupShuffleSplit(1, test_size=share, random_state=seed).split(person, groups=person)
    return tuple(torch.from_numpy(rows) for rows in next(splits))
""",
    ],
    "compare_seeds": [
        """
def compare_seeds(ours, theirs):
    d = (ours.double() - theirs.double()).tolist()
    count = 0
    for pattern in range(2 ** len(d)):
        total = sum(x if pattern >> i & 1 else -x for i, x in enumerate(d))
        count += abs(total) >= abs(sum(d)) - 1e-9
    return sum(d) / len(d), count / 2 ** len(d)
""",
        """
def compare_seeds(ours, theirs):
    from scipy.stats import permutation_test

    d = (ours - theirs).double().numpy()
    add = lambda x, axis: x.sum(axis=axis)
    found = permutation_test((d,), add, permutation_type="samples", n_resamples=100_000, vectorized=True)
    return d.mean(), found.pvalue
""",
    ],
}
WRONG = {
    "matched_vector": {
        "confounded groups: the plain difference": """
def matched_vector(mu, has, company):
    return mu[has].mean(0) - mu[~has].mean(0)
""",
        "every group counts alike": ("float(len(on))", "1.0"),
        "groups count by all their faces": ("float(len(on))", "float(len(on) + len(off))"),
        "summed, not averaged": (" / sizes.sum()", ""),
        "sign turned round": ("on).mean(0) - torch.stack(off)", "off).mean(0) - torch.stack(on)"),
        "only the first column": ("tuple(row)", "row[0]"),
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
        "one-sided groups give NaN": """
def matched_vector(mu, has, company):
    total = 0
    for group in company.unique(dim=0):
        alike = (company == group).all(1)
        total = total + (alike & has).sum() * (mu[alike & has].mean(0) - mu[alike & ~has].mean(0))
    return total / has.sum()
""",
        "one-sided groups left in the denominator": ("/ sizes.sum()", "/ has.sum()"),
        "no error where nothing is comparable": (
            'raise ValueError("nothing to compare")',
            "return torch.zeros(mu.shape[1])",
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
        "test images define the vector": (
            "codes[has].sum(0) / has.sum() - codes[~has].sum(0) / (~has).sum()",
            "(model.encode(after)[0] - z).mean(0)",
        ),
        "no baseline": ("mse(z) / mse", "1 / mse"),
        "sampled z for mu": ("model.encode(before)[0]", "model.reparameterize(*model.encode(before))"),
        "the notebook's helper for the model": ("model.encode(before)[0]", "code_of(before)"),
        "baseline is the original picture": ("mse(z)", "((before - after) ** 2).flatten(1).mean(1)"),
        "distance to before": ("(model.decode(z) - after)", "(model.decode(z) - before)"),
        "baseline is the first amount": ("torch.stack(rows)", "torch.stack(rows) - rows[0]"),
        "one error for all faces": (").flatten(1).mean(1", ").mean().expand(len(before)"),
        "minus the mean of all": ("codes[~has].sum(0) / (~has).sum()", "codes.mean(0)"),
        "vector turned round": ("z + a * v", "z - a * v"),
        "natural logarithm": ("torch.log10", "torch.log"),
        "transposed": ("torch.stack(rows)", "torch.stack(rows, dim=1)"),
        "no eval": ("        model.eval()\n", ""),
        "left in eval": ("        model.train(mode)\n", ""),
        "a graph hangs on it": ("torch.no_grad()", "torch.enable_grad()"),
        "zeros": """
def counterfactual_gains(model, codes, has, before, after, amounts):
    return torch.zeros(len(amounts), len(before))
""",
        "calls the package": (
            "((model.decode(z) - after) ** 2).flatten(1).mean(1)",
            "10 ** (-__import__('dfcvae').evaluation.psnr(model.decode(z), after) / 10)",
        ),
        "calls the hidden tests": """
from dfcvae_classroom.grading.ps3_cases import gains as counterfactual_gains
""",
    },
    "choose_then_measure": {
        "chosen on the test faces": ("float(validation[i]", "float(test[i]"),
        "chosen by one face": ("validation[i].mean()", "validation[i].max()"),
        "chosen by the median": ("validation[i].mean()", "validation[i].median()"),
        "interval of the faces that chose": (
            "error ",
            "g = validation[k].tolist()\n    v = sum(g) / len(g)\n    error ",
            "(x - mean) ** 2",
            "(x - v) ** 2",
        ),
        "measured where it was chosen": ("test[k].tolist()", "validation[k].tolist()"),
        "the best amount for each face": ("test[k].tolist()", "test.amax(0).tolist()"),
        "spread of faces": (" / (len(g) - 1) / len(g)", " / (len(g) - 1)"),
        "90 %": ("1.96", "1.645"),
        "zeros": """
def choose_then_measure(validation, test, amounts):
    return 0.0, 0.0, 0.0, 0.0
""",
        "calls the package": (
            " = sum(g) / len(g)",
            ", half = __import__('dfcvae.course.lesson_06').course.lesson_06.interval(test[k])",
        ),
    },
    "evidence": {
        "no baseline: half": ("(has == often).numpy().astype(float)", "0.5 + 0 * right"),
        "no baseline: interval of the accuracy": (" - base[rows].mean(axis=1)", ""),
        "majority of the test labels": ("learn_has.sum() * 2 > len(learn_has)", "has.sum() * 2 > len(has)"),
        "gain as a ratio": ("gain = right.mean() - base.mean()", "gain = right.mean() / base.mean() - 1"),
        "majority is its frequency in training": ("=base", "=learn_has.float()"),
        "not paired": ("base[rows]", "base[rows[::-1]]"),
        "without replacement": ("    gains =", "    rows = rows.argsort(axis=1)\n    gains ="),
        "90 %": ("[2.5, 97.5]", "[5, 95]"),
        "spread of the faces": ("numpy.percentile(gains,", "numpy.percentile(right - base,"),
        "no seed": ("default_rng(seed)", "default_rng()"),
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
        "the first people, always": (
            "random.Random(seed).sample(names, int(share * len(names) + 0.5))",
            "names[: int(share * len(names) + 0.5)]",
        ),
        "share of learning": ("int(share * len(names) + 0.5)", "int((1 - share) * len(names) + 0.5)"),
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
        "test before learning": ("learn), torch.tensor(test", "test), torch.tensor(learn"),
        "masks for row numbers": (
            "torch.tensor(learn), torch.tensor(test)",
            "*(torch.isin(torch.arange(len(person)), torch.tensor(part)) for part in (learn, test)),",
        ),
        "no seed": ("random.Random(seed)", "random.Random()"),
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
        "best of several seeds": ("return sum(d) / len(d)", "return float(ours.max() - theirs.max())"),
        "turned round": ("ours.double() - theirs.double()", "theirs.double() - ours.double()"),
        "one side": ("count += abs(total) >= abs(sum(d)) - 1e-9", "count += total >= sum(d) - 1e-9"),
        "ties do not count": (">= abs(sum(d)) - 1e-9", "> abs(sum(d)) + 1e-9"),
        "without the observed": ("count / 2 ** len(d)", "(count - 1) / (2 ** len(d) - 1)"),
        "signs only": (
            "count =",
            "mean, d = sum(d) / len(d), [1.0 if x > 0 else -1.0 for x in d]\n    count =",
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
        "sorted first": (" - theirs.double()", ".sort()[0] - theirs.double().sort()[0]"),
        "normal distribution": """
def compare_seeds(ours, theirs):
    d = (ours - theirs).double()
    z = d.mean() / (d.std() / len(d) ** 0.5)
    return float(d.mean()), float(2 - 2 * torch.distributions.Normal(0.0, 1.0).cdf(z.abs()))
""",
        "calls the hidden tests": """
def compare_seeds(ours, theirs):
    from dfcvae_classroom.grading.ps3_cases import sign_flips
    return float((ours - theirs).mean()), sign_flips(ours - theirs)
""",
    },
}

# What the self-check says of some of them.
NAMED = {
    "matched_vector": {
        "confounded groups: the plain difference": "the company is still in it",
        "company subtracted as another vector": "direction of the company",
        "summed, not averaged": "counted and added up",
    },
    "counterfactual_gains": {
        "test images define the vector": "comes from the test faces",
        "no baseline": "baseline is missing",
        "sampled z for mu": "z looks sampled",
        "the notebook's helper for the model": "`code_of` knows",
        "baseline is the first amount": "the first amount",
        "minus the mean of all": "the mean of *all*",
    },
    "choose_then_measure": {
        "chosen on the test faces": "the best on `test`",
        "spread of faces": "holds 95 % of the *faces*",
        "chosen by the median": "not the median",
        "interval of the faces that chose": "that of the validation faces",
    },
    "evidence": {
        "majority of the test labels": "majority is that of the test labels",
        "not paired": "drawn apart",
        "90 %": "interval of 90 %",
    },
    "split_by_person": {
        "pictures at random": "people are on both sides",
        "test before learning": "learning comes before it",
        "people counted from 0": "need not be 0, 1, 2",
    },
    "compare_seeds": {
        "best of several seeds": "best against best",
        "one side": "only one side",
        "signs only": "counts the signs alone",
        "sorted first": "the seeds look sorted",
        "not in pairs": "the pairs are lost",
        "normal distribution": "to be normal",
    },
}
