"""The environments of the peers: one folder each, made with pip, pinned, kept between runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from common.line import PeerFailed

__all__ = ["ENVIRONMENTS", "install", "python_of"]

_TORCH = ("torch==2.13.0", "torchcodec==0.13.0")

ENVIRONMENTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "torchcodec": ((*_TORCH, "numpy==2.4.6"), ()),
    "loaders": (
        (
            "torch==2.13.0",
            "numpy==2.1.3",
            "webdataset==1.0.2",
            "litdata==0.2.76",
            "mosaicml-streaming==0.13.0",
            "av==18.1.0",
            "pillow==13.0.0",
        ),
        (),
    ),
    "lerobot": (
        (
            *_TORCH,
            "numpy==2.2.6",
            "av==15.1.0",
            "datasets==4.0.0",
            "huggingface-hub<0.36",
            "jsonlines",
            "packaging<26",
            "einops",
            "draccus==0.10.0",
            "pillow",
            "deepdiff",
            "termcolor",
            "opencv-python-headless<4.13",
            "imageio",
            "gymnasium<2",
            "accelerate",
        ),
        # its own bounds want a torch below 2.11, of which the registry has no build without CUDA
        ("lerobot==0.4.4",),
    ),
    "numerics": (
        (
            "torch==2.13.0",
            "numpy==2.4.6",
            "ml-dtypes==0.6.0",
            "gfloat==0.5.2",
            "more-itertools==11.2.1",
            "ninja",
            "setuptools",
        ),
        # its own bounds are of old torch
        ("qtorch==0.3.0",),
    ),
    "train": (
        (
            "torch==2.13.0",
            "numpy==2.4.6",
            "av==18.1.0",
            "pyarrow==26.0.1",
            "psutil==7.2.2",
            "accelerate==1.15.0",
            "lightning==2.6.6",
        ),
        (),
    ),
}
"""Packages of each environment: those installed as usual, and those without their dependencies."""


def home() -> Path:
    """The folder of the environments: $OPENDOJO_PEERS, or one in the user's cache."""
    return Path(os.environ.get("OPENDOJO_PEERS") or Path.home() / ".cache/opendojo/peers")


def python_of(name: str) -> str:
    """The interpreter of an environment. Raises `PeerFailed` where it was not installed."""
    if not (home() / name / "installed.txt").exists():
        raise PeerFailed(f"the environment {name} is not there: run with --peers")
    return str(home() / name / "bin/python")


def install(name: str) -> None:
    """Make an environment, unless it is there as pinned. Raises `PeerFailed` with pip's reason."""
    folder = home() / name
    pins, bare = ENVIRONMENTS[name]
    stamp, wanted = folder / "installed.txt", "\n".join([*pins, *bare]) + "\n"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"installing {name} into {folder} (once; some minutes)", file=sys.stderr, flush=True)
    try:
        if not (folder / "bin/python").exists():
            shutil.rmtree(folder, ignore_errors=True)
            venv.create(folder, with_pip=True, symlinks=True)
        for packages, more in ((pins, ()), (bare, ("--no-deps",))):
            if packages:
                _pip(folder, *more, *packages)
    except (OSError, subprocess.CalledProcessError) as error:
        raise PeerFailed(f"{name} could not be installed: {_reason(error)}") from error
    stamp.write_text(wanted)


def _pip(folder: Path, *words: str) -> None:
    call = [str(folder / "bin/python"), "-m", "pip", "install", "-q", "--no-input", *words]
    subprocess.run(call, check=True, capture_output=True, text=True)


def _reason(error: OSError | subprocess.CalledProcessError) -> str:
    if isinstance(error, OSError):
        return str(error)
    lines = [line for line in (error.stderr or "").splitlines() if line.startswith("ERROR")]
    return lines[-1] if lines else f"pip ended with {error.returncode}"
