"""In what a reproduction differs from the paper, in sentences made from its settings."""

from __future__ import annotations

from dfcvae.dfc import PRESETS
from dfcvae.reproduction.recipe import Reproduction
from dfcvae.vgg import WIDTHS, VGGFeatures

PARTS = {"train": 162_770, "test": 19_962}  # pictures of CelebA's official parts
SHIFT = (
    "In each training step both pictures are moved by the same few pixels, wrapping at the edges, before the "
    "loss network sees them, to weaken a fine grid that it otherwise leaves on faces."
)
NAMES = {"pixel": "plain VAE", "vae-123": "VAE-123", "vae-345": "VAE-345"}
NAMES |= {"paper-123": "VAE-123, the paper's β", "paper-345": "VAE-345, the paper's β"}


def deviations(done: Reproduction) -> list[str]:
    """A sentence each; what the paper does not say is said to be a choice of ours."""
    return [*_data(done), *_networks(done), *_weights(done), *_length(done), *_attributes(done)]


def _data(done: Reproduction) -> list[str]:
    images, side = done.train, done.train.pixels.shape[-1]
    found = []
    if images.name != "celeba":
        found.append(f"The pictures are {images.name!r} of this package and not the 202,599 of CelebA.")
    elif (len(images), len(done.test)) == tuple(PARTS.values()):
        found.append(
            "Training has CelebA's official training part (162,770) and the test its test part (19,962); the "
            "paper names all 202,599 and, as far as we know, no split."
        )
    else:
        found.append(
            f"Training has {len(images):,} pictures of CelebA and the test {len(done.test):,}, where the "
            "official parts have 162,770 and 19,962; the paper names all 202,599 and, as far as we know, no "
            "split."
        )
    if images.name == "celeba":
        found.append(
            "The crop is a choice of ours; the paper says no more than cropped and scaled, and its authors' "
            "code cuts 138 pixels off-centre."
        )
    if side != 64:
        found.append(f"The pictures have {side} × {side} pixels, the paper's 64 × 64.")
    return found


def _networks(done: Reproduction) -> list[str]:
    networks = [network for network in done.networks.values() if isinstance(network, VGGFeatures)]
    if not networks:
        return []
    widths = {networks[0].trunk[0].out_channels, WIDTHS[0]}
    names = " and ".join(dict.fromkeys(network.weights_name for network in networks))
    smaller = " Its layers are narrower than VGG-19's." if len(widths) > 1 else ""
    found = f"The loss network is {names}, on normalised pixels; the paper's is VGG-19 trained on ImageNet, "
    return [f"{found}on pixels of 0 to 255 in its authors' code.{smaller}", SHIFT]


def _weights(done: Reproduction) -> list[str]:
    found = []
    for row in done.rows:
        preset = row.training.preset
        if row.training.seed != done.recipe.seeds[0] or row.training.multiple != 1:
            continue
        weights = ", ".join(f"{layer} {weight:.3g}" for layer, weight in row.weights.items())
        if preset == "pixel":
            found.append(
                f"Plain VAE: KL + {row.weights['pixels']:,.0f} · mean squared error; a choice of ours."
            )
        elif PRESETS[preset].calibrated:
            found.append(
                f"{NAMES[preset]}: KL + λ · mean squared feature, λ: {weights}, set by the scale of this "
                "network's features; the paper's is 0.25 a layer, on the scale of its own."
            )
        else:
            found.append(f"{NAMES[preset]}: λ: {weights}, the paper's digits on features of another scale.")
    return found


def _length(done: Reproduction) -> list[str]:
    recipe, found = done.recipe, []
    steps = {row.config["training"]["steps"] for row in done.rows}
    per_epoch = len(done.train) // recipe.batch_size
    full = 5 * (PARTS["train"] // 64)
    if steps != {full} or recipe.batch_size != 64:
        counts = " to ".join(f"{count:,}" for count in sorted({min(steps), max(steps)}))
        epochs = " to ".join(f"{count / per_epoch:.3g}" for count in sorted({min(steps), max(steps)}))
        found.append(
            f"Training takes {counts} steps of {recipe.batch_size} images, {epochs} epochs of these; five "
            f"epochs of CelebA's training part are {full:,} steps of 64."
        )
    if (recipe.learning_rate, recipe.schedule) != (5e-4, "halve"):
        found.append(
            f"Adam's rate is {recipe.learning_rate:g}, schedule {recipe.schedule}; the paper's is 0.0005, "
            "halved every epoch."
        )
    precisions = {row.config["training"]["precision"] for row in done.rows}
    if precisions != {"fp32"}:
        found.append(f"Convolutions are computed in {', '.join(sorted(precisions))}, and summed in fp32.")
    return found


def _attributes(done: Reproduction) -> list[str]:
    if not len(done.majority_right):
        return ["The pictures have no attributes, so none are read."]
    learnt = min(len(done.train), done.recipe.codes)
    return [
        f"Attributes are read by linear SVMs (C = 0.1) from mu, standardised, of the first {learnt:,} "
        f"training images; {len(done.train.attribute_names)} attributes, the paper's are CelebA's 40."
    ]
