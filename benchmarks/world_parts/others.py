"""Against other worlds that draw, in the same run, by turns: the nearest equal picture of each."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.document import Section
from common.environments import ENVIRONMENTS, install, python_of
from common.line import LineProcess, PeerFailed, Together
from common.turns import Runner, by_turns, median, ratios
from world_parts.own import Bench, Own, plan_told

__all__ = ["PEERS", "run"]

HOME = Path(__file__).resolve().parents[1] / "peers"
LEAST_SPREAD, LEAST_CHANGE = 5.0, 0.002
"""Of a peer's pictures: spread of their levels; share of bytes that change over the steps."""

ENVIRONMENTS["highway"] = (
    ("highway-env==1.12.1", "gymnasium==1.4.0", "numpy==2.4.6", "pygame-ce==2.5.8"),
    (),
)
ENVIRONMENTS["metadrive"] = (
    (
        "numpy==1.23.5",
        "panda3d==1.10.13",  # its own pin, 1.10.8, has no wheel for this Python
        "panda3d-simplepbr==0.10",
        "panda3d-gltf==0.13",
        "gym==0.25.2",
        "matplotlib<3.9",
        "pandas==2.0.3",
        "pygame",
        "tqdm",
        "yapf",
        "seaborn==0.13.2",
        "pillow",
        "protobuf==3.20.3",
        "opencv-python-headless<4.9",
        "scipy<1.12",
        "lxml",
        "pytest",
        "setuptools<81",
    ),
    # newer ones fetch their models from the network at first use
    ("metadrive-simulator==0.2.6.0",),
)


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Another world, and by how much ours must be faster."""

    environment: str
    script: str
    words: tuple[str, ...]
    picture: str
    bar: float


PEERS = {
    "racetrack": Peer(
        environment="highway",
        script="world_highway.py",
        words=("racetrack-v0",),
        picture="highway-env 1.12.1 racetrack-v0: one picture, grey, seen from above; flat colours,"
        " one other car; 3 substeps a frame",
        bar=5.0,
    ),
    "highway_fast": Peer(
        environment="highway",
        script="world_highway.py",
        words=("highway-fast-v0",),
        picture="highway-env 1.12.1 highway-fast-v0: one picture, grey, seen from above; flat "
        "colours, 20 other cars; 5 substeps a frame",
        bar=50.0,
    ),
    "metadrive": Peer(
        environment="metadrive",
        script="world_metadrive.py",
        words=(),
        picture="MetaDrive 0.2.6.0: one camera in perspective, colour, textured meshes, 4 samples a"
        " pixel as shipped; software GL (llvmpipe, Xvfb); lidar and 5 substeps a frame",
        bar=500.0,
    ),
}


def run(bench: Bench) -> Section:
    """Each peer in two processes against our one of two threads."""
    count = len(bench.cores)
    section = Section("peers", f"against other drawn worlds, {count} cores", not bench.smoke)
    if not bench.peers:
        section.say("it measures peers: call with --peers")
        return section
    section.say(f"ours: compiled, one process of {count} threads; {plan_told(bench)}")
    section.say(
        f"theirs: {count} processes, 128x64, random or constant actions; their resets are taken "
        "out of the time (ours are in it); a ratio is of frames a second, whatever a frame shows"
    )
    own = bench.kept()
    for name, peer in PEERS.items():
        try:
            install(peer.environment)
            _against(bench, section, own, name, peer)
        except PeerFailed as failure:
            section.say(f"{name}: left out: {failure}")
    return section


def _against(bench: Bench, section: Section, own: Own, name: str, peer: Peer) -> None:
    print(f"    making {name}", file=sys.stderr, flush=True)
    python, script = python_of(peer.environment), HOME / peer.script
    with ExitStack() as stack:
        lines = [
            stack.enter_context(LineProcess(script, *peer.words, python=python))
            for _ in bench.cores
        ]
        for line in lines:
            _check(line, name, bench.folder)
        runners: dict[str, Runner] = {"ours": own, name: Together(lines)}
        rates = by_turns(runners, bench.repeats, bench.seconds)
    section.say(peer.picture)
    section.add(f"{name}_ours", f"ours beside {name}", rates["ours"], "frames/s")
    section.add(name, name, rates[name], "frames/s")
    over = ratios(rates["ours"], rates[name])
    section.add(f"{name}_over", f"ours over {name}", over, "times")
    section.bar(name, median(over), peer.bar, "times")


def _check(line: LineProcess, name: str, folder: Path) -> None:
    """The peer's pictures show something, and it changes; a black picture is no picture."""
    path = folder / f"{name}.npy"
    line.ask("check", path=str(path))
    pictures = np.load(path)
    assert pictures.shape[1:3] == (64, 128), f"{name}: pictures are {pictures.shape[1:]}"
    spread = min(float(picture.std()) for picture in pictures)
    changed = float(np.mean(pictures[0] != pictures[-1]))
    if spread < LEAST_SPREAD or changed < LEAST_CHANGE:
        raise PeerFailed(f"its pictures are empty: spread {spread:.1f}, changed {changed:.1%}")
