"""One way to train, serving turns: `train_peer.py WAY JOB PLAN`.

WAY is `plain` (a loop written by hand), `ours`, `fabric`, `accelerate`, `lightning` or
`lightning_full` (with its CSV logger and checkpoints). JOB is `costless`, a linear layer of 8 on a
batch that is there, or `driving`, the nano network on a store. PLAN is a JSON file with the store
and the batch. All take the same network, loader, optimizer and clipping; `ours` also logs every
step and writes checkpoints.
"""

from __future__ import annotations

import contextlib
import functools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from protocol import serve
from torch import nn

WARM_STEPS = 8
CLIP_NORM = 1.0
LR = 1e-3


class Costless(nn.Module):
    """A network whose step costs next to nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, batch: Any) -> dict[str, torch.Tensor]:
        return {"loss": self.layer(batch["x"]).square().mean()}


class Same:
    """One batch, again and again."""

    fingerprint = "same"

    def __init__(self) -> None:
        self.batch = {"x": torch.randn(32, 8)}

    def __len__(self) -> int:
        return 1_000_000

    def batches(self, epoch: int, start_batch: int = 0) -> Iterator[Any]:
        while True:
            yield self.batch


def job(name: str, plan: dict[str, Any]) -> tuple[nn.Module, Any]:
    """Network and source."""
    torch.manual_seed(0)
    if name == "costless":
        torch.set_num_threads(1)
        return Costless(), Same()
    from opendojo.loader import Loader, LoaderConfig
    from opendojo.model import DrivingTrainee, NetConfig
    from opendojo.store import Store

    torch.set_num_threads(plan["threads"])
    config = LoaderConfig(
        batch=plan["batch"], cameras=("front",), split="all", keep_bytes=0, workers=plan["workers"]
    )
    loader = Loader([Store.open(plan["store"])], config)
    return DrivingTrainee(NetConfig(cameras=("front",))), loader


def endless(source: Any) -> Iterator[Any]:
    """Epoch after epoch."""
    epoch = 0
    while True:
        yield from source.batches(epoch)
        epoch += 1


def frames(batch: Any) -> int:
    return getattr(batch, "frame_count", 1)


def optimizer_of(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(network.parameters(), lr=LR, weight_decay=0.0, fused=True)


class Clock:
    """Counts frames and seconds between the end of the warm-up and the last step."""

    def __init__(self, steps: int) -> None:
        self.last, self.number, self.frames, self.seconds = WARM_STEPS + steps, 0, 0, 0.0

    def tick(self, count: int) -> bool:
        """After each step; True after the last one."""
        self.number += 1
        if self.number == WARM_STEPS:
            self.began_s = time.perf_counter()
        elif self.number > WARM_STEPS:
            self.frames += count
        if self.number == self.last:
            self.seconds = time.perf_counter() - self.began_s
        return self.number == self.last

    def told(self) -> dict[str, Any]:
        return {"frames": self.frames, "seconds": self.seconds}


def plain(network: nn.Module, source: Any, steps: int) -> dict[str, Any]:
    """A loop as one writes it by hand."""
    optimizer, clock = optimizer_of(network), Clock(steps)
    draw = torch.Generator().manual_seed(0)
    with contextlib.closing(endless(source)) as batches:
        for batch in batches:
            if hasattr(network, "prepare"):
                batch = network.prepare(batch, draw)
            optimizer.zero_grad(set_to_none=True)
            sum(network(batch).values()).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
            optimizer.step()
            if clock.tick(frames(batch)):
                break
    return clock.told()


def bare(network: nn.Module, source: Any, steps: int) -> dict[str, Any]:
    """The plain loop of facts in print: no clipping either."""
    optimizer, clock = optimizer_of(network), Clock(steps)
    for batch in endless(source):
        optimizer.zero_grad(set_to_none=True)
        sum(network(batch).values()).backward()
        optimizer.step()
        if clock.tick(frames(batch)):
            break
    return clock.told()


def ours(network: nn.Module, source: Any, steps: int) -> dict[str, Any]:
    """OpenDojo's trainer, every step logged, a checkpoint every 1,000 steps and at the end."""
    from opendojo.train import OptimConfig, TrainConfig, train

    clock, waited = Clock(steps), [0.0, 0.0]
    optim = OptimConfig(
        lr=LR,
        warmup_steps=0,
        schedule="constant",
        weight_decay=0.0,
        clip_norm=CLIP_NORM,
        betas=(0.9, 0.999),
    )
    config = TrainConfig(
        steps=WARM_STEPS + steps,
        checkpoint_every=1000,
        optim=optim,
        threads=torch.get_num_threads(),
        device="cpu",
    )

    def on_step(row: dict[str, Any]) -> None:
        if clock.number >= WARM_STEPS:
            took_s = row["frames"] / row["frames_per_s"]
            waited[0] += row["data_wait_share"] * took_s
            waited[1] += took_s
        clock.tick(row["frames"] if isinstance(source, Same) is False else 1)

    with tempfile.TemporaryDirectory() as folder:
        train(Path(folder) / "run", network, source, config, on_step=on_step)
    return {**clock.told(), "wait_share": waited[0] / waited[1]}


def fabric(network: nn.Module, source: Any, steps: int) -> dict[str, Any]:
    """Lightning's Fabric."""
    from lightning.fabric import Fabric

    fabric = Fabric(accelerator="cpu", devices=1)
    network, optimizer = fabric.setup(network, optimizer_of(network))
    clock = Clock(steps)
    draw = torch.Generator().manual_seed(0)
    with contextlib.closing(endless(source)) as batches:
        for batch in batches:
            if hasattr(network, "prepare"):
                batch = network.module.prepare(batch, draw)
            optimizer.zero_grad(set_to_none=True)
            fabric.backward(sum(network(batch).values()))
            fabric.clip_gradients(network, optimizer, max_norm=CLIP_NORM)
            optimizer.step()
            if clock.tick(frames(batch)):
                break
    return clock.told()


def accelerated(network: nn.Module, source: Any, steps: int) -> dict[str, Any]:
    """Hugging Face Accelerate."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    inner = network
    network, optimizer = accelerator.prepare(network, optimizer_of(network))
    clock = Clock(steps)
    draw = torch.Generator().manual_seed(0)
    with contextlib.closing(endless(source)) as batches:
        for batch in batches:
            if hasattr(inner, "prepare"):
                batch = inner.prepare(batch, draw)
            with accelerator.accumulate(network):
                accelerator.backward(sum(network(batch).values()))
                accelerator.clip_grad_norm_(network.parameters(), CLIP_NORM)
                optimizer.step()
                optimizer.zero_grad()
            if clock.tick(frames(batch)):
                break
    return clock.told()


def lightning(network: nn.Module, source: Any, steps: int, full: bool = False) -> dict[str, Any]:
    """Lightning's Trainer, bare or with its CSV logger, `self.log` and checkpoints."""
    import lightning
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.loggers import CSVLogger

    clock = Clock(steps)
    draw = torch.Generator().manual_seed(0)

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def training_step(self, batch: Any, number: int) -> torch.Tensor:
            if hasattr(self.inner, "prepare"):
                batch = self.inner.prepare(batch, draw)
            loss = sum(self.inner(batch).values())
            if full:
                self.log("loss", loss, batch_size=1)
            self.count = frames(batch)
            return loss

        def on_train_batch_end(self, *_: Any) -> None:
            clock.tick(self.count)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return optimizer_of(self)

    class Endless(torch.utils.data.IterableDataset):
        def __iter__(self) -> Iterator[Any]:
            return endless(source)

    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            accelerator="cpu",
            devices=1,
            max_steps=WARM_STEPS + steps,
            gradient_clip_val=CLIP_NORM,
            logger=CSVLogger(folder) if full else False,
            log_every_n_steps=1 if full else 50,
            callbacks=[ModelCheckpoint(folder, every_n_train_steps=1000)] if full else [],
            enable_checkpointing=full,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        data = torch.utils.data.DataLoader(Endless(), batch_size=None, num_workers=0)
        trainer.fit(Module(), data)
    return clock.told()


WAYS: dict[str, Callable[[nn.Module, Any, int], dict[str, Any]]] = {
    "plain": plain,
    "bare": bare,
    "ours": ours,
    "fabric": fabric,
    "accelerate": accelerated,
    "lightning": lightning,
    "lightning_full": functools.partial(lightning, full=True),
}


def main() -> None:
    way, name, plan_path = sys.argv[1:]
    import warnings

    warnings.simplefilter("ignore")
    plan = json.loads(Path(plan_path).read_text())
    with contextlib.suppress(ImportError):
        from no_torchvision import stand_in

        stand_in()

    def go(seconds: float) -> dict[str, Any]:
        network, source = job(name, plan)
        told = WAYS[way](network, source, plan["steps"])
        weights = sum(p.detach().double().abs().sum().item() for p in network.parameters())
        return {**told, "weights": weights}

    serve({"go": go})


if __name__ == "__main__":
    main()
