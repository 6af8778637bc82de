"""The table and the figure of ``quality.py``: both models at one KL, with intervals and verdicts."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

NAMES = {"pixel": "plain VAE", "vae-123": "DFC-VAE"}
COLOURS = {"pixel": "#0072b2", "vae-123": "#d55e00"}  # Okabe and Ito: told apart by colour-blind readers
Figure = Callable[[dict], float]


@dataclass(frozen=True)
class Comparison:
    """A figure of both models at the same KL: means, and the paired difference with its 95 % interval."""

    plain: float
    dfc: float
    difference: float
    half_width: float
    per_seed: tuple[tuple[float, float], ...]

    @property
    def low(self) -> float:
        return self.difference - self.half_width

    @property
    def high(self) -> float:
        return self.difference + self.half_width

    def verdict(self, sign: int = 1) -> str:
        """For the DFC-VAE; sign is 1 where more is better and -1 where less is."""
        low, high = sorted((sign * self.low, sign * self.high))
        return "better" if low > 0 else "worse" if high < 0 else "undecided"


def write_report(out: Path, results: dict) -> None:
    """``results.json``, ``table.md`` and ``curves.png`` in ``out``; prints the table."""
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    table = make_table(results)
    (out / "table.md").write_text(table)
    print(table)
    draw_curves(results, out / "curves.png")


def common_kl(rows: list[dict]) -> float:
    """The KL in the middle (of the logarithm) of the range that the curves of all models and seeds cover."""
    curves = [
        [row["kl"] for row in rows if (row["preset"], row["seed"]) == key]
        for key in {(row["preset"], row["seed"]) for row in rows}
    ]
    low, high = max(map(min, curves)), min(map(max, curves))
    if low > high:
        raise ValueError(f"the curves share no KL ({low:.1f} > {high:.1f} nats): train at other weights.")
    return math.sqrt(low * high)


def at_kl(rows: list[dict], kl: float, figure: Figure) -> float:
    """A figure of one model and seed at ``kl``, interpolated linearly over log KL between its weights."""
    points = sorted((math.log(row["kl"]), figure(row)) for row in rows)
    x = math.log(kl)
    for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
        if x0 <= x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    raise ValueError(f"{kl:.1f} nats lie outside a curve.")


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half width of Student's 95 % interval."""
    from scipy.stats import t

    if len(values) < 2:
        return values[0], math.nan
    spread = statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values), float(t.ppf(0.975, len(values) - 1)) * spread


def compare(results: dict, figure: Figure) -> Comparison:
    """Both models at the common KL, each seed with itself."""
    rows, pairs = results["rows"], []
    kl = common_kl(rows)
    for seed in sorted({row["seed"] for row in rows}):
        of_seed = {name: [r for r in rows if (r["preset"], r["seed"]) == (name, seed)] for name in NAMES}
        pairs.append(tuple(at_kl(of_seed[name], kl, figure) for name in NAMES))
    plain, dfc = zip(*pairs, strict=True)
    difference, half = interval([b - a for a, b in pairs])
    return Comparison(statistics.fmean(plain), statistics.fmean(dfc), difference, half, tuple(pairs))


def octave(k: int, octaves: int, size: int = 64) -> str:
    """The last octave holds the corners of the plane of frequencies as well."""
    return f"{2**k}-{2 ** (k + 1) if k < octaves - 1 else round(size / math.sqrt(2))} cycles"


def make_table(results: dict) -> str:
    lines = [
        f"At {common_kl(results['rows']):.1f} nats of KL on {results['test_faces']:,} test faces; "
        f"{len({row['seed'] for row in results['rows']})} seeds, {results['steps']:,} steps of "
        f"{results['batch_size']}; loss network: {results['loss_network']}; learning rate "
        f"{results['plain_learning_rate']:g} (plain, the best of {len(results['validation_loss_by_rate'])}) "
        f"and {results['dfc_learning_rate']:g} (DFC, not searched). Intervals: 95 %, over trainings.",
        "",
        "| figure | plain VAE | DFC-VAE | difference | the DFC-VAE is |",
        "| --- | --- | --- | --- | --- |",
    ]
    simple = {
        "sharpness": ("sharpness", 1),
        "share of the fine contrast common to all faces (a lattice)": ("common_share", -1),
        "PSNR, dB": ("psnr", 1),
        "SSIM": ("ssim", 1),
        "attributes read, balanced accuracy": ("attribute_mean", 1),
        "attributes read, AUROC": ("auroc_mean", 1),
        "samples: sharpness": ("sample_sharpness", 1),
        "samples: Fréchet distance": ("sample_frechet", -1),
    }
    for label, (key, sign) in simple.items():
        lines.append(_line(label, compare(results, lambda row, key=key: row[key]), sign))
    octaves = len(results["rows"][0]["power_ratio"])
    for k in range(octaves):
        ratio = compare(results, lambda row, k=k: row["power_ratio"][k])
        off = compare(results, lambda row, k=k: abs(math.log(row["power_ratio"][k])))
        lines.append(_line(f"power ratio, {octave(k, octaves)}", ratio, -1, off))
    for k in range(octaves):
        found = compare(results, lambda row, k=k: row["coherence"][k])
        lines.append(_line(f"coherence, {octave(k, octaves)}", found, 1))
    return "\n".join([*lines, "", _ratio(results), "", *_attribute_table(results)]) + "\n"


def _line(label: str, found: Comparison, sign: int, judged: Comparison | None = None) -> str:
    """A power ratio is judged by how far its logarithm is from 0, whichever way."""
    numbers = f"{found.plain:.4g} | {found.dfc:.4g} | {found.difference:+.4f} ± {found.half_width:.4f}"
    return f"| {label} | {numbers} | {(judged or found).verdict(sign)} |"


def _ratio(results: dict) -> str:
    pairs = compare(results, lambda row: row["sharpness"]).per_seed
    mean, half = interval([math.log(dfc / plain) for plain, dfc in pairs])
    low, middle, high = (math.exp(mean + offset) for offset in (-half, 0, half))
    own = compare(results, lambda row: row["sharpness"] * (1 - row["common_share"]))
    return (
        f"Sharpness, DFC-VAE over plain VAE: {middle:.2f} (95 %: {low:.2f} to {high:.2f}; geometric mean of "
        f"the seeds). Without the part common to all faces: {own.dfc / own.plain:.2f} (ratio of means)."
    )


def _attribute_table(results: dict) -> list[str]:
    """Balanced accuracy by attribute; how many a false alarm would hit is said below."""
    names, verdicts = results["attribute_names"], []
    lines = [
        "Balanced accuracy by attribute, of a classifier trained on originals only, on reconstructions:",
        "",
        "| attribute | originals | plain VAE | DFC-VAE | difference | the DFC-VAE is |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for i, name in enumerate(names):
        found = compare(results, lambda row, i=i: row["attributes"][i])
        verdicts.append(found.verdict())
        shown = f"{results['originals']['attributes'][i]:.3f} | {found.plain:.3f} | {found.dfc:.3f}"
        difference = f"{found.difference:+.3f} ± {found.half_width:.3f}"
        lines.append(f"| {name} | {shown} | {difference} | {verdicts[-1]} |")
    counts = ", ".join(f"{verdicts.count(kind)} {kind}" for kind in ("better", "worse", "undecided"))
    chance = 0.025 * len(names)
    return [
        *lines,
        "",
        f"{counts}. Were the models equal, {chance:.1f} of {len(names)} would come out worse by chance.",
    ]


def draw_curves(results: dict, path: Path) -> None:
    """Each figure over KL, a line a seed: the whole curves, not one point of them."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = {
        "sharpness": "sharpness kept (1 = original)",
        "psnr": "PSNR (dB)",
        "attribute_mean": "attributes read (balanced accuracy)",
        "sample_frechet": "Fréchet distance of samples",
    }
    figure, axes = plt.subplots(2, 2, figsize=(9, 6.5), layout="constrained")
    for axis, (key, label) in zip(axes.flat, panels.items(), strict=True):
        for preset, name in NAMES.items():
            for seed in sorted({row["seed"] for row in results["rows"]}):
                rows = [r for r in results["rows"] if r["preset"] == preset and r["seed"] == seed]
                rows.sort(key=lambda row: row["kl"])
                style = {"marker": "o" if preset == "pixel" else "s", "ms": 4, "lw": 1.2, "alpha": 0.85}
                xs, ys = [row["kl"] for row in rows], [row[key] for row in rows]
                axis.plot(xs, ys, color=COLOURS[preset], label=name if seed == 0 else None, **style)
        axis.set(xscale="log", xlabel="KL (nats per image, test set)", ylabel=label)
        axis.set_xticks(ticks := [50, 70, 100, 140], [str(tick) for tick in ticks])
        axis.minorticks_off()
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].legend(frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)
