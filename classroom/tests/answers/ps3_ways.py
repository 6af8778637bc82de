"""More right answers to problem set 3: task -> how they are written -> source. All of them get all points."""

WAYS = {
    "matched_vector": {
        "einsum in float64": """
def matched_vector(mu, has, company):
    key = (company.long() * 2 ** torch.arange(company.shape[1])).sum(1)
    moves, sizes = [], []
    for k in key.unique():
        one, other = mu[(key == k) & has].double(), mu[(key == k) & ~has].double()
        if len(one) and len(other):
            moves.append(one.mean(0) - other.mean(0))
            sizes.append(len(one))
    if not sizes:
        raise ValueError("no group has both")
    return torch.einsum("g,gd->d", torch.tensor(sizes).double(), torch.stack(moves)) / sum(sizes)
""",
        "numpy": """
import numpy as np


def matched_vector(mu, has, company):
    mu, has, company = mu.numpy(), has.numpy(), company.numpy()
    total, count = 0, 0
    for group in np.unique(company, axis=0):
        alike = (company == group).all(1)
        if (alike & has).any() and (alike & ~has).any():
            total = total + (alike & has).sum() * (mu[alike & has].mean(0) - mu[alike & ~has].mean(0))
            count += (alike & has).sum()
    if not count:
        raise ValueError("no group has both")
    return torch.from_numpy(total / count)
""",
        "a class": """
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
    },
    "counterfactual_gains": {
        "mse_loss with a sum, a helper beside": """
import torch.nn.functional as F


def psnr(pictures, truth):
    errors = [F.mse_loss(p, t, reduction="sum") / p.numel() for p, t in zip(pictures, truth)]
    return -10 * torch.log10(torch.stack(errors))


def counterfactual_gains(model, codes, has, before, after, amounts):
    v = (codes * has[:, None]).sum(0) / has.sum() - (codes * ~has[:, None]).sum(0) / (~has).sum()
    mode = model.training
    model.eval()
    with torch.inference_mode():
        mu, log_var = model.encode(before)
        nothing, gains = psnr(model.decode(mu).clamp(0, 1), after), torch.zeros(len(amounts), len(before))
        for k in range(len(amounts)):
            gains[k] = psnr(model.decode(mu + float(amounts[k]) * v).clamp(0, 1), after) - nothing
    model.train(mode)
    return gains
""",
        "a face at a time, of a copy in float64": """
import copy


def counterfactual_gains(model, codes, has, before, after, amounts):
    net, v, gains = copy.deepcopy(model).eval().double(), codes[has].mean(0) - codes[~has].mean(0), []
    with torch.no_grad():
        for a in amounts.double():
            for x, y in zip(before.double(), after.double()):
                mu = net.encode(x[None])[0]
                errors = [((net.decode(z)[0] - y) ** 2).mean() for z in (mu, mu + a * v.double())]
                gains.append(10 * (errors[0].log10() - errors[1].log10()))
    return torch.stack(gains).view(len(amounts), len(before))
""",
        "one large batch, generate as the baseline": """
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
    },
    "choose_then_measure": {
        "numpy": """
import numpy as np


def choose_then_measure(validation, test, amounts):
    k = np.argmax(validation.numpy().mean(1))
    gains = test[k].numpy()
    half = 1.96 * gains.std(ddof=1) / np.sqrt(gains.size)
    return amounts[k], gains.mean(), gains.mean() - half, gains.mean() + half
""",
        "one tensor": """
def choose_then_measure(validation, test, amounts):
    k = validation.mean(1).argmax()
    mean, half = test[k].mean(), 1.959964 * (test[k].var() / test.shape[1]).sqrt()
    return torch.stack([amounts[k], mean, mean - half, mean + half])
""",
    },
    "evidence": {
        "a loop over draws": """
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
        "sorted multinomial draws": """
def evidence(learn_has, read, has, draws=2_000, seed=0):
    g = torch.Generator().manual_seed(seed)
    often = learn_has.float().mean().round().bool()
    ahead = (read == has).float() - (often == has).float()
    i = torch.multinomial(torch.ones(draws, len(ahead)), len(ahead), replacement=True, generator=g)
    gains = ahead[i].mean(1).sort().values
    low, high = gains[int(0.025 * draws)].item(), gains[int(0.975 * draws)].item()
    a, m = (read == has).float().mean().item(), (often == has).float().mean().item()
    return dict(accuracy=a, majority=m, gain=a - m, low=low, high=high)
""",
    },
    "split_by_person": {
        "scikit-learn": """
def split_by_person(person, share, seed):
    from sklearn.model_selection import GroupShuffleSplit

    splits = GroupShuffleSplit(1, test_size=share, random_state=seed).split(person, groups=person)
    return tuple(torch.from_numpy(rows) for rows in next(splits))
""",
        "a loop, lists": """
def split_by_person(person, share, seed):
    names = torch.unique(person)
    names = names[torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))]
    learn, test = [], []
    for i, name in enumerate(person):
        (test if (names[: round(share * len(names))] == name).any() else learn).append(i)
    return learn, test
""",
        "ranks, int32": """
def split_by_person(person, share, seed):
    names, who = person.unique(return_inverse=True)
    rank = torch.rand(len(names), generator=torch.Generator().manual_seed(seed)).argsort().argsort()
    tested = rank[who] < round(share * len(names))
    return torch.where(~tested)[0].int(), torch.where(tested)[0].int()
""",
    },
    "compare_seeds": {
        "numpy": """
import numpy as np


def compare_seeds(ours, theirs):
    d = ours.double().numpy() - theirs.double().numpy()
    signs = np.array(list(itertools.product([1, -1], repeat=len(d))))
    return d.mean(), np.mean(np.abs(signs @ d) >= abs(d.sum()) - 1e-9)
""",
        "recursion, one tensor": """
def sums(d):
    return [rest + sign * d[0] for rest in sums(d[1:]) for sign in (1, -1)] if d else [0.0]


def compare_seeds(ours, theirs):
    d = [float(a) - float(b) for a, b in zip(ours, theirs)]
    hits = [abs(one) + 1e-9 >= abs(sum(d)) for one in sums(d)]
    return torch.tensor([sum(d) / len(d), sum(hits) / len(hits)])
""",
        "scipy": """
def compare_seeds(ours, theirs):
    from scipy.stats import permutation_test

    d = (ours - theirs).double().numpy()
    add = lambda x, axis: x.sum(axis=axis)
    found = permutation_test((d,), add, permutation_type="samples", n_resamples=100_000, vectorized=True)
    return d.mean(), found.pvalue
""",
    },
}
