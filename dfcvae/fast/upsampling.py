"""Upsampling followed by a convolution, computed before the upsampling: the same numbers, less work.

After nearest-neighbour x2, the three taps of a 3x3 convolution fall on only two different pixels of the
small image along each axis, so taps that meet on one pixel can be added first. An output pixel then costs
2 x 2 products in place of 3 x 3.

    taps a b c    output row 2i:     a * h[i-1] + (b + c) * h[i]
                  output row 2i + 1: (a + b) * h[i] + c * h[i+1]
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dfcvae.vae import UpsampleConv2d

# Which of the three taps (last index) fall on which of two neighbouring pixels (second index) for the odd
# row between them that belongs to the first pixel, and the even row that belongs to the second.
_FOLD = torch.tensor([[[1.0, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 1]]])


class FoldedUpsampleConv2d(UpsampleConv2d):
    """``UpsampleConv2d`` with the same parameters; differences are of rounding only."""

    fold: Tensor

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(c_in, c_out)
        fold = torch.einsum("yik,xjl->yxijkl", _FOLD, _FOLD).reshape(16, 9)  # both axes
        self.register_buffer("fold", fold, persistent=False)

    @classmethod
    def around(cls, layer: UpsampleConv2d) -> FoldedUpsampleConv2d:
        """One that shares the layer's parameters."""
        with torch.random.fork_rng(devices=[]):  # the new layer's own start is thrown away
            folded = cls(layer.in_channels, layer.out_channels)
        folded.weight, folded.bias = layer.weight, layer.bias
        folded.fold = folded.fold.to(layer.weight)
        return folded.train(layer.training)

    def forward(self, h: Tensor) -> Tensor:
        c_out, c_in = self.weight.shape[:2]
        taps = self.weight.permute(0, 2, 3, 1).reshape(c_out, 9, c_in)
        kernels = (self.fold @ taps).view(4 * c_out, 2, 2, c_in).permute(0, 3, 1, 2)
        h = _with_border(h)  # -> (N, c_in, H + 2, W + 2)
        bias = None if self.bias is None else self.bias.repeat_interleave(4)
        # each pair of neighbours gives the 2 x 2 outputs that lie between their centres
        h = F.conv2d(h, kernels, bias)  # -> (N, 4 c_out, H + 1, W + 1)
        h = F.pixel_shuffle(h, 2)[..., 1:-1, 1:-1]  # -> (N, c_out, 2 H, 2 W)
        plain = self.weight.is_contiguous()  # the layout of the weights, as for any convolution
        return h.contiguous(memory_format=torch.contiguous_format if plain else torch.channels_last)


def _with_border(h: Tensor) -> Tensor:
    """The border replicated once around."""
    if torch.compiler.is_compiling():
        # The compiler does not expect the layout of F.pad's gradient (seen with torch 2.15). A concatenation
        # takes five times as long by itself, and is fused with what follows.
        h = torch.cat([h[..., :1, :], h, h[..., -1:, :]], dim=2)
        return torch.cat([h[..., :1], h, h[..., -1:]], dim=3)
    with torch.autocast("cpu", enabled=False):  # which would pad in float32
        return F.pad(h, (1, 1, 1, 1), mode="replicate")
