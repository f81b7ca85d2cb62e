"""What every test may ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of third-party trial data beside the checkout; skips where it is not there."""
    if not _SHARED.is_dir():
        pytest.skip(f"third-party trial data is not at {_SHARED}")
    return _SHARED
