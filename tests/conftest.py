"""What every test may ask for."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

# Many small tensors: more threads only wait for one another, above all where cores are shared.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell hands an ignored SIGINT down to what it starts in the background; the tests press Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of third-party trial data beside the checkout; skips where it is not there."""
    if not _SHARED.is_dir():
        pytest.skip(f"third-party trial data is not at {_SHARED}")
    return _SHARED


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip `gpu` tests without a GPU, unless OPENDOJO_GPU=1 says that there must be one."""
    if not any("gpu" in item.keywords for item in items) or os.environ.get("OPENDOJO_GPU"):
        return
    import torch

    if not torch.cuda.is_available():
        skip = pytest.mark.skip(reason="needs a CUDA device (OPENDOJO_GPU=1 makes it a failure)")
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(skip)
