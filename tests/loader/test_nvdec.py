"""Packets to device batches: the same windows as the ring gives, whichever decoder is behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from loader_kit import equal

from opendojo.loader import Loader, LoaderConfig
from opendojo.loader.nvdec import device_batches, open_software
from opendojo.store import Store

CONFIG = LoaderConfig(batch=5, workers=0)


def test_the_decoders_seam_gives_the_rings_bits(store: Store, other_store: Store) -> None:
    stores = [store, other_store]
    loader = Loader(stores, CONFIG)
    expected = [batch.clone() for batch in loader.batches(0)]
    ids = (batch.window_id.numpy() for batch in expected)
    got = device_batches(loader, stores, ids, torch.device("cpu"), open_software)
    for made, batch in zip(got, expected, strict=True):
        assert equal(made, batch)


def test_a_damaged_packet_names_its_clip(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = Loader([store], CONFIG)
    monkeypatch.setattr(Store, "packets", lambda *_: [b"\0" * 40] * 8)
    ids = iter([np.array([0])])
    with pytest.raises(ValueError, match="camera front"):
        next(iter(device_batches(loader, [store], ids, torch.device("cpu"), open_software)))


def test_it_needs_a_gpu_and_says_so(store: Store) -> None:
    loader = Loader([store], LoaderConfig(batch=5, decoder="nvdec"))
    with pytest.raises(ValueError, match="device='cuda'"):
        next(loader.batches(0))
    with pytest.raises(ValueError, match="one by one"):
        LoaderConfig(decoder="nvdec", colour="rgb")


@pytest.mark.gpu
def test_nvdec_gives_the_processors_bits(store: Store) -> None:
    expected = [batch.clone() for batch in Loader([store], CONFIG).batches(0)]
    loader = Loader([store], LoaderConfig(batch=5, decoder="nvdec"))
    for made, batch in zip(loader.batches(0, device="cuda"), expected, strict=True):
        assert made.yuv.is_cuda
        assert equal(made.to("cpu"), batch)
