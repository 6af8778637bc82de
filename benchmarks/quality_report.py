"""The table and the figure of ``quality.py``: both models at equal KL, seed by seed, with intervals."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path

STUDENT_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
NAMES = {"pixel": "plain VAE", "vae-123": "DFC-VAE"}
COLOURS = {"pixel": "#0072b2", "vae-123": "#d55e00"}  # Okabe and Ito: told apart by colour-blind readers


def write_report(out: Path, results: dict) -> None:
    """``results.json``, ``table.md`` and ``curves.png`` in ``out``; prints the table."""
    (out / "results.json").write_text(json.dumps(results, indent=1))
    table = make_table(results)
    (out / "table.md").write_text(table)
    print(table)
    draw_curves(results, out / "curves.png")


def common_kl(rows: list[dict]) -> float:
    """The KL in the middle (of the logarithm) of the range that both models' curves cover."""
    ranges = [[row["kl"] for row in rows if row["preset"] == preset] for preset in NAMES]
    low, high = max(min(kls) for kls in ranges), min(max(kls) for kls in ranges)
    if low > high:
        raise ValueError(f"the curves share no KL ({low:.1f} > {high:.1f} nats): train at other weights.")
    return math.sqrt(low * high)


def at_kl(rows: list[dict], preset: str, kl: float, figure: Callable[[dict], float]) -> float:
    """A figure of one model at ``kl``, interpolated linearly over log KL between its three weights."""
    points = sorted((math.log(row["kl"]), figure(row)) for row in rows if row["preset"] == preset)
    x = math.log(kl)
    for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
        if x0 <= x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    raise ValueError(f"{kl:.1f} nats lie outside the curve of {preset}.")


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half width of Student's 95 % interval."""
    if len(values) < 2:
        return values[0], math.nan
    half = STUDENT_95[len(values) - 1] * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values), half


def paired(results: dict, figure: Callable[[dict], float]) -> tuple[list[float], list[float], list[float]]:
    """(KL, plain, DFC) of each seed, both models at that seed's common KL."""
    kls, plain, dfc = [], [], []
    for seed in sorted({row["seed"] for row in results["rows"]}):
        rows = [row for row in results["rows"] if row["seed"] == seed]
        kls.append(common_kl(rows))
        plain.append(at_kl(rows, "pixel", kls[-1], figure))
        dfc.append(at_kl(rows, "vae-123", kls[-1], figure))
    return kls, plain, dfc


def make_table(results: dict) -> str:
    octaves = len(results["rows"][0]["power_ratio"])
    figures = {
        "sharpness": lambda row: row["sharpness"],
        "PSNR, dB": lambda row: row["psnr"],
        "SSIM": lambda row: row["ssim"],
        "attributes read in reconstructions": lambda row: row["attribute_mean"],
        "samples: sharpness": lambda row: row["sample_sharpness"],
        "samples: Frechet distance": lambda row: row["sample_frechet"],
    }
    for k in range(octaves):
        label = f"{2**k}-{2 ** (k + 1)} cycles"
        figures[f"power ratio, {label}"] = lambda row, k=k: row["power_ratio"][k]
        figures[f"coherence, {label}"] = lambda row, k=k: row["coherence"][k]
    kls = paired(results, figures["sharpness"])[0]
    lines = [
        f"At equal test KL ({min(kls):.1f} to {max(kls):.1f} nats, by seed), {len(kls)} seeds, "
        f"{results['steps']:,} steps of {results['batch_size']}; loss network: {results['loss_network']}; "
        f"plain VAE at learning rate {results['plain_learning_rate']:g}.",
        "",
        "| figure | plain VAE | DFC-VAE | difference (95 %) | ratio (95 %) |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [_line(name, results, figure) for name, figure in figures.items()]
    return "\n".join(lines + ["", *_attribute_table(results)]) + "\n"


def _line(name: str, results: dict, figure: Callable[[dict], float]) -> str:
    _, plain, dfc = paired(results, figure)
    difference, half = interval([b - a for a, b in zip(plain, dfc, strict=True)])
    ratio = "-"
    if min(plain + dfc) > 0:
        mean, spread = interval([math.log(b / a) for a, b in zip(plain, dfc, strict=True)])
        ratio = f"{math.exp(mean):.2f} ({math.exp(mean - spread):.2f} to {math.exp(mean + spread):.2f})"
    shown = f"{statistics.fmean(plain):.4g} | {statistics.fmean(dfc):.4g}"
    return f"| {name} | {shown} | {difference:+.4f} ± {half:.4f} | {ratio} |"


def _attribute_table(results: dict) -> list[str]:
    lines = [
        "Balanced accuracy of a classifier trained on originals, on reconstructions of the test set:",
        "",
        "| attribute | originals | plain VAE | DFC-VAE | difference (95 %) |",
        "| --- | --- | --- | --- | --- |",
    ]
    for i, name in enumerate(results["attribute_names"]):
        _, plain, dfc = paired(results, lambda row, i=i: row["attributes"][i])
        difference, half = interval([b - a for a, b in zip(plain, dfc, strict=True)])
        shown = [results["classifier_on_originals"][i], statistics.fmean(plain), statistics.fmean(dfc)]
        numbers = " | ".join(f"{value:.3f}" for value in shown)
        lines.append(f"| {name} | {numbers} | {difference:+.3f} ± {half:.3f} |")
    return lines


def draw_curves(results: dict, path: Path) -> None:
    """Each figure over KL, a line a seed: the whole curves, not one point of them."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = {
        "sharpness": ("sharpness", "sharpness kept (1 = original)"),
        "psnr": ("psnr", "PSNR (dB)"),
        "attribute_mean": ("attribute_mean", "attributes read (balanced accuracy)"),
        "sample_frechet": ("sample_frechet", "Fréchet distance of samples"),
    }
    figure, axes = plt.subplots(2, 2, figsize=(9, 6.5), layout="constrained")
    for axis, (key, label) in zip(axes.flat, panels.values(), strict=True):
        for preset, name in NAMES.items():
            for seed in sorted({row["seed"] for row in results["rows"]}):
                rows = [r for r in results["rows"] if r["preset"] == preset and r["seed"] == seed]
                rows.sort(key=lambda row: row["kl"])
                style = {"marker": "o" if preset == "pixel" else "s", "ms": 4, "lw": 1.2, "alpha": 0.85}
                xs, ys = [row["kl"] for row in rows], [row[key] for row in rows]
                axis.plot(xs, ys, color=COLOURS[preset], label=name if seed == 0 else None, **style)
        axis.set(xscale="log", xlabel="KL (nats per image, test set)", ylabel=label)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].legend(frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)
