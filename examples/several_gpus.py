"""Train a DFC-VAE on several GPUs with plain PyTorch, one process a GPU:

    torchrun --nproc-per-node 2 examples/several_gpus.py --data celeba --root data/celeba --out two.pt

Every process takes its share of each batch, and DistributedDataParallel replaces their gradients by the mean.
On GPUs batch norm is that of the whole batch (``nn.SyncBatchNorm``), so that two processes train as one does.
Without GPUs the same line runs on the CPU (gloo), where PyTorch has no such layer: batch norm is then that of
each process's share, and the first process's running statistics are saved. What this file does not do, and
``dfcvae.train`` does: checkpoints, going on, pictures, a look at NaN.

    vae = dfcvae.VAE()
    vae.load_state_dict(torch.load("two.pt"))
"""

import argparse
import os

import torch
import torch.distributed as dist
from torch import Tensor, nn

import dfcvae
from dfcvae.fast import accelerate
from dfcvae.training import Settings, Trainer, rate_at


class Loss(nn.Module):
    """Model and loss in one forward pass: DistributedDataParallel joins the gradients of what it calls."""

    def __init__(self, trainer: Trainer) -> None:
        super().__init__()
        self.trainer, self.model = trainer, trainer.model

    def forward(self, x: Tensor, epsilon: Tensor, shift: list[int]) -> dict[str, Tensor]:
        return self.trainer.terms(x, epsilon, shift)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train on several GPUs: start it with torchrun.")
    parser.add_argument("--data", default="faces", choices=("faces", "celeba", "lfw", "folder"))
    parser.add_argument("--root", help="where the photographs are")
    parser.add_argument("--size", type=int, default=64, help="side of the images in pixels")
    parser.add_argument("--preset", default="vae-123")
    parser.add_argument("--features", default="auto", help="the loss network")
    parser.add_argument("--batch-size", type=int, default=64, help="images of all processes together")
    parser.add_argument("--precision", default="auto", choices=("auto", "bf16", "fp16", "fp32"))
    parser.add_argument("--epochs", type=float, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True, help="file for the trained weights")
    args = parser.parse_args()
    if "RANK" not in os.environ:
        parser.error("start it with torchrun, as this file's first lines show")

    rank, ranks, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    on_gpus = torch.cuda.is_available()
    device = torch.device("cuda", local) if on_gpus else torch.device("cpu")
    if on_gpus:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if on_gpus else "gloo")
    if args.batch_size % ranks or args.batch_size < 2 * ranks:
        raise SystemExit(f"--batch-size: expected a multiple of {ranks}, with 2 images a process at least.")

    where = {"root": args.root} if args.root else {}
    images = dfcvae.load(args.data, split="train", size=args.size, **where)
    torch.manual_seed(args.seed)  # the same start in every process
    model = accelerate(dfcvae.DFCVAE(args.preset, args.features, image_size=args.size))
    if on_gpus:  # not the loss network, which stays in eval
        model.encoder = nn.SyncBatchNorm.convert_sync_batchnorm(model.encoder)
        model.decoder = nn.SyncBatchNorm.convert_sync_batchnorm(model.decoder)
    settings = Settings(batch_size=args.batch_size, seed=args.seed, precision=args.precision)
    trainer = Trainer(model.train(), images, settings, device)  # it gives each step's images, noise and shift
    steps = max(1, round(args.epochs * trainer.per_epoch))
    # Buffers are not sent around: the loss network's never change, SyncBatchNorm's are alike by themselves.
    together = nn.parallel.DistributedDataParallel(Loss(trainer), broadcast_buffers=False)
    mine = slice(rank, None, ranks)  # of the images of each step
    for step in range(steps):
        for group in trainer.optimizer.param_groups:
            group["lr"] = rate_at(step, steps, trainer.per_epoch, settings.learning_rate)
        terms = together(trainer.batch(step)[mine], trainer.noise(step)[mine], trainer.shift(step))
        trainer.optimizer.zero_grad()
        trainer.scaler.scale(terms["loss"]).backward()
        trainer.scaler.step(trainer.optimizer)
        trainer.scaler.update()
        if rank == 0 and (step % 10 == 0 or step == steps - 1):
            told = ", ".join(f"{name} {terms[name].item():.4g}" for name in ("loss", "kl", "reconstruction"))
            print(f"step {step + 1} of {steps}: {told} (of this process's images)", flush=True)
    if rank == 0:
        torch.save(model.state_dict(), args.out)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
