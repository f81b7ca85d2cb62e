"""A store of many clips out of few: every window of it decodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clips import make_clip
from opendojo.store import Store, stage_part, verify_store
from opendojo.store.synthetic import synthetic_store


def test_it_holds_what_it_says(tmp_path: Path) -> None:
    template = Store.create(tmp_path / "t")
    for seeds in ((0, 1), (2,)):
        with template.staging() as staging:
            clips = [make_clip(s, instants=16 + s, cameras=("front",)) for s in seeds]
            template.publish(stage_part(clips, template.spec, staging))
    template = template.reload()
    store = synthetic_store(tmp_path / "big", 101, template)
    assert len(store.episodes) == len(store.clip_ids()) == 101
    assert store.frames == 33 * (16 + 17 + 18) + 16 + 17
    assert verify_store(store) == []
    pictures = {}
    for episode in template.episodes:
        out = pictures[episode.instants] = np.empty((16, 1, store.spec.frame_bytes), np.uint8)
        template.decode(episode, range(16), out)
    out = np.empty((16, 1, store.spec.frame_bytes), np.uint8)
    for place in np.random.default_rng(0).integers(101, size=25).tolist():
        episode = store.episodes[place]
        store.decode(episode, range(16), out)
        assert np.array_equal(out, pictures[episode.instants])
    with store.staging() as staging:  # it goes on as any other store does
        assert store.publish(stage_part([make_clip(9)], store.spec, staging)) == 60
    assert verify_store(store.reload()) == []


def test_an_empty_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no clips"):
        synthetic_store(tmp_path / "big", 10, Store.create(tmp_path / "t"))
