"""Plain VAE against DFC-VAE on photographs in CelebA's layout, so many minutes each.

    python benchmarks/photographs.py --root FOLDER --features FILE --minutes 10 --out runs/photographs

Figures are of the test split: people that neither model trained on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

import dfcvae
from dfcvae.device import available_threads
from dfcvae.evaluation import evaluate
from dfcvae.figures import png as pictures

SHOWN = ("psnr", "sharpness", "ssim", "kl")


def main() -> None:
    options = _options()
    torch.set_num_threads(available_threads())
    data = {name: dfcvae.load("celeba", name, root=options.root) for name in ("train", "validation", "test")}
    results, rows = {}, [("photographs, people not trained on", data["test"].float(slice(0, None, 33))[:10])]
    print(
        "| model | minutes | images seen | " + " | ".join(SHOWN) + " |\n" + "| --- " * (3 + len(SHOWN)) + "|"
    )
    for preset in ("pixel", "vae-123"):
        torch.manual_seed(options.seed)
        model = dfcvae.DFCVAE(
            preset, features=options.features, beta=options.beta if preset != "pixel" else None
        )
        run = dfcvae.train(
            model,
            data["train"],
            options.out / preset,
            validation=data["validation"],
            minutes=options.minutes,
            flip=True,
            seed=options.seed,
            progress=False,
            batch_size=options.batch_size,
        )
        line = [entry for entry in run.metrics if "seconds" in entry][-1]
        results[preset] = evaluate(run.model, data["test"]) | {
            "minutes": line["seconds"] / 60,
            "images_seen": line["images"],
            "loss_network": model.features_name,
        }
        figures = " | ".join(f"{results[preset][name]:.3f}" for name in SHOWN)
        print(f"| {preset} | {line['seconds'] / 60:.1f} | {line['images']:,} | {figures} |", flush=True)
        rows.append((preset, run.model.generate(rows[0][1])))
    pictures.save_png(options.out / "photographs.png", pictures.labelled_rows(rows))
    (options.out / "results.json").write_text(json.dumps(results, indent=1))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--features", default="auto", help="loss network, as in dfcvae train")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--beta", type=float, help="in place of the preset's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/photographs"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
