"""Batch norm over the whole batch where each rank holds a part of it.

PyTorch's own SyncBatchNorm refuses to run on a CPU; this one runs wherever the ranks can talk.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn


class SyncBatchNorm2d(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` with the statistics of all ranks' images; parameters and names are the same.

    Every rank gives equally many images of the same size. In eval mode nothing is exchanged. The gradients
    of weight and bias are those of the rank's own images: DistributedDataParallel adds them up.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        y, mean, var = _Normalise.apply(x, self.weight, self.bias, self.eps)
        count = dist.get_world_size() * x.numel() / x.shape[1]
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (count / (count - 1)), self.momentum)  # unbiased, as PyTorch's is
        return y


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(var + eps) * weight + bias over all ranks, in float32. Returns y, mean, var (C,).

    Variances are taken about each rank's own mean and then joined (Chan, Golub and LeVeque, 1983): a sum of
    squares less the square of a sum would lose its digits where the mean is large.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        own = torch.stack(torch.var_mean(x.float(), (0, 2, 3), correction=0))
        everybodys = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(everybodys, own)
        variances, means = torch.stack(everybodys).unbind(1)  # each (ranks, C)
        mean = means.mean(0)
        var = (variances + (means - mean).square()).mean(0)
        inverse = torch.rsqrt(var + eps)
        ctx.save_for_backward(x, weight, mean, inverse)
        ctx.mark_non_differentiable(mean, var)
        y = (x.float() - _channels(mean)) * _channels(inverse * weight) + _channels(bias)
        return y.to(x.dtype), mean, var

    @staticmethod
    def backward(ctx, gradient: Tensor, *_) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, inverse = ctx.saved_tensors
        g, x_hat = gradient.float(), (x.float() - _channels(mean)) * _channels(inverse)
        own = torch.stack([g.sum((0, 2, 3)), (g * x_hat).sum((0, 2, 3))])
        count = dist.get_world_size() * x.numel() / x.shape[1]
        through_mean, through_std = _summed(own) / count
        dx = (g - _channels(through_mean) - x_hat * _channels(through_std)) * _channels(inverse * weight)
        return dx.to(x.dtype), own[1], own[0], None


def _summed(own: Tensor) -> Tensor:
    total = own.clone()
    dist.all_reduce(total)
    return total


def _channels(values: Tensor) -> Tensor:
    """(C,) -> (1, C, 1, 1), to meet (N, C, H, W)."""
    return values.view(1, -1, 1, 1)


def synchronise(model: nn.Module) -> None:
    """Put a SyncBatchNorm2d in the place of each batch norm that trains, around the same tensors.

    A frozen loss network has no parameters, and keeps its own.
    """
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.BatchNorm2d and any(True for _ in child.parameters()):
                synced = SyncBatchNorm2d(child.num_features, child.eps, child.momentum)
                synced._parameters, synced._buffers = child._parameters, child._buffers
                setattr(parent, name, synced.train(child.training))
