"""Measured quality is what comes out against what went in."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from clips import make_clip
from opendojo.store import Store, StoreSpec, stage_part
from opendojo.store.psnr import LOSSLESS_DB, psnr_db


def test_the_formula() -> None:
    assert psnr_db(255.0**2, 1) == 0.0
    assert psnr_db(100.0, 100) == pytest.approx(48.1308, abs=1e-4)
    assert psnr_db(0.0, 10) == LOSSLESS_DB
    assert math.isnan(psnr_db(0.0, 0))


def test_a_clip_of_one_group_is_measured_whole(tmp_path: Path) -> None:
    spec = StoreSpec(crf=33)
    store = Store.create(tmp_path / "s", spec)
    clip = make_clip(0, instants=6)
    with store.staging() as staging:
        (part,) = stage_part([clip, make_clip(1, breaks_at=0)], spec, staging)
        store.publish([part])
    store = store.reload()
    out = np.empty((6, 3, spec.frame_bytes), np.uint8)
    store.decode(store.episodes[0], range(6), out)
    luma = out[:, :, : 128 * 64].astype(float)
    truth = np.array([[f.y.ravel() for f in step] for step in clip.frames(128, 64)])
    error = ((luma - truth) ** 2).mean(axis=(0, 2))
    assert part.clips[0].psnr_db == pytest.approx(tuple(10 * np.log10(255**2 / error)))
    assert all(math.isnan(value) for value in part.clips[1].psnr_db)
