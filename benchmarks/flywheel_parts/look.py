"""The shadow run against loading alone with the same network's own compute added."""

from __future__ import annotations

import statistics
import time
from contextlib import closing

import torch

from common.document import Section
from flywheel_parts.bench import Bench
from opendojo.flywheel.fleet import FleetConfig, record_drives
from opendojo.flywheel.shadow import ShadowConfig, loader_of, run_shadow
from opendojo.ingest import ingest
from opendojo.model import DrivingNet, NetConfig, motion_of
from opendojo.store import Store, StoreSpec

__all__ = ["run"]


def run(bench: Bench) -> Section:
    """By turns: load and plan by hand, then the shadow run; the answer is checked first."""
    section = Section("look", "shadow run of the nano network against loading and planning",
                      not bench.smoke)  # fmt: skip
    drives, seconds = (2, 4.0) if bench.smoke else (24, 20.0)
    record_drives(bench.folder, FleetConfig(drives=drives, seconds=seconds), NetConfig(), None)
    store = Store.create(bench.folder / "look", StoreSpec())
    ingest([bench.folder / "drives"], store)
    store = store.reload()
    torch.manual_seed(0)
    network = DrivingNet(NetConfig()).eval()
    config = ShadowConfig(batch=32)
    windows, paths = _bare(network, store, config)
    findings = run_shadow(network, [store], config)
    assert len(findings) == windows, "the shadow run did not see every window"
    section.say(f"{windows} windows of {drives} drives, three cameras of 128x64, all cores")
    shares, rates = [], []
    for _ in range(1 if bench.smoke else bench.repeats):
        began_s = time.perf_counter()
        _bare(network, store, config)
        middle_s = time.perf_counter()
        run_shadow(network, [store], config)
        end_s = time.perf_counter()
        shares.append((middle_s - began_s) / (end_s - middle_s))
        rates.append(store.frames / (end_s - middle_s))
    section.add("share", "time of loading and planning over that of the shadow run", shares, "")
    section.add("rate", "stored frames gone through", rates, "frames/s")
    section.bar("share", statistics.median(shares), 0.9, "")
    del paths
    return section


@torch.inference_mode()
def _bare(
    network: DrivingNet, store: Store, config: ShadowConfig
) -> tuple[int, list[torch.Tensor]]:
    """Load every window and plan from its last instant; nothing else."""
    loader, paths = loader_of(network, [store], config), []
    with closing(loader.batches(0)) as batches:
        for batch in batches:
            motion = motion_of(batch)
            memory = network.remember(batch.frames, batch.camera_mask, batch.lens, motion)
            paths.append(network.plan(memory[:, -1:], motion.last()).path_m)
    loader.close()
    return sum(map(len, paths)), paths
