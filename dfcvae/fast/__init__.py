"""The same numbers in less time: put around a model, visibly.

    model = accelerate(DFCVAE("vae-123"))

Nothing else in the package knows of it: without this line the code that runs is that of ``vae.py`` and
``perceptual.py``. Parameters, their names and the results stay the same up to rounding.
"""

from __future__ import annotations

from dfcvae.dfc import DFCVAE
from dfcvae.fast.onepass import OnePassLoss, watched
from dfcvae.fast.upsampling import FoldedUpsampleConv2d
from dfcvae.perceptual import PerceptualLoss
from dfcvae.vae import UpsampleConv2d

__all__ = ["FoldedUpsampleConv2d", "OnePassLoss", "accelerate"]


def accelerate(model: DFCVAE, compile: bool = False) -> DFCVAE:
    """The model itself, with faster layers in place of its own: they share its parameters.

    The decoder convolves before it upsamples (``upsampling``), and on a CPU the perceptual loss and its
    gradient are computed in one pass (``onepass``), unless somebody hooks or changes the loss network: then
    it is called as it is. A layer of the decoder that is a subclass or has hooks stays what it is.
    compile: let torch.compile fuse the network, after a minute's wait; it needs a C++ compiler.
    """
    for level in model.decoder:
        for name, layer in level.named_children():
            if type(layer) is UpsampleConv2d and not watched(layer):
                setattr(level, name, FoldedUpsampleConv2d.around(layer))
    if type(model.perceptual) is PerceptualLoss:
        model.perceptual = OnePassLoss(model.perceptual)
    if compile:
        model.compile(dynamic=False)
    return model
