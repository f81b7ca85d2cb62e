"""`opendojo store` from outside, and the guides that go with it: what they show really runs."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from clips import make_clip
from opendojo.cli import main
from opendojo.store import Store, stage_part

GUIDES = Path(__file__).resolve().parents[2] / "docs" / "guides"


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(list(words))
    out, err = capsys.readouterr()
    return code, out, err


def document(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    code, out, _ = call(capsys, *words, "--json")
    assert code == 0
    return json.loads(out)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store.create(tmp_path_factory.mktemp("store") / "s")
    with store.staging() as staging:
        clips = [make_clip(seed, instants=24 + 8 * seed) for seed in range(3)]
        store.publish(stage_part(clips, store.spec, staging))
    return store.reload()


def python_blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (GUIDES / page).read_text(), re.DOTALL)


def test_view_says_where_the_page_is(capsys: pytest.CaptureFixture[str], store: Store) -> None:
    code, out, err = call(capsys, "store", "view", str(store.path), "--clips", "2")
    assert code == 0
    page = store.path.with_name("s-view") / "index.html"
    assert f"page: {page}" in out
    assert page.is_file()
    assert "2 of 3 clips" in out
    assert "looking at clips" in err
    code, _, err = call(capsys, "store", "view", str(store.path), "--tag", "nihgt")
    assert (code, "did you mean `night`" in err) == (2, True)


def test_stats_tell_quality_and_flags(capsys: pytest.CaptureFixture[str], store: Store) -> None:
    stats = document(capsys, "store", "stats", str(store.path))
    row = stats["datasets"]["10hz-front-left-right"]
    rows = [store.rows(episode, 0, episode.instants) for episode in store.episodes]
    aim = sum(int(r["left.bytes"].sum()) for r in rows) / sum(map(len, rows))
    assert row["by_camera"]["left"]["bytes_per_frame"] == pytest.approx(aim)
    assert 25 < row["by_camera"]["left"]["psnr_db"] < 70
    code, out, _ = call(capsys, "store", "stats", str(store.path))
    assert code == 0
    assert re.search(r"left: [\d,]+ bytes a frame, luma PSNR \d\d\.\d dB", out)
    assert "flagged: " in out


def tensors_of(capsys: pytest.CaptureFixture[str], store: Store, *words: str) -> dict[str, Any]:
    command = ("store", "tensors", str(store.path), "--batch", "4", *words)
    return document(capsys, *command)


@pytest.mark.parametrize("colour", ["yuv", "rgb", "none"])
def test_tensors_are_those_of_a_real_batch(
    capsys: pytest.CaptureFixture[str], store: Store, colour: str
) -> None:
    from opendojo.loader import Loader, LoaderConfig

    told = tensors_of(capsys, store, "--colour", colour)
    config = LoaderConfig(
        batch=4,
        split="all",
        colour=colour,  # type: ignore[arg-type]
        workers=0,
    )
    loader = Loader([store], config)
    held, windows = {}, 0
    for batch in loader.batches(0):
        windows += len(batch.window_id)
        if not held:
            held = {n: t.clone() for n, t in batch.tensors().items() if t.numel()}
    lines = {line["name"]: line for line in told["tensors"] if line["held"]}
    assert lines.keys() == held.keys(), "a tensor is not described, or no longer there"
    for name, tensor in held.items():
        assert tuple(lines[name]["shape"]) == tensor.shape
        assert getattr(torch, lines[name]["dtype"]) is tensor.dtype
    assert told["batch_bytes"] == sum(tensor.nbytes for tensor in held.values())
    assert told["ring_bytes"] == config.slots * told["batch_bytes"]
    assert told["windows"]["all"] == windows
    assert told["windows"]["train"] + told["windows"]["held-out"] <= windows


def test_one_letter_is_one_number(capsys: pytest.CaptureFixture[str], store: Store) -> None:
    told = tensors_of(capsys, store)
    sizes: dict[str, int] = {}
    for line in told["tensors"]:
        assert len(line["letters"]) == len(line["shape"]), line["name"]
        for letter, size in zip(line["letters"], line["shape"], strict=True):
            name, _, part = letter.partition("/")
            whole = size * int(part or 1)
            if name.isdigit():
                assert size == int(name)
            else:
                assert name in told["letters"]
                assert sizes.setdefault(name, whole) == whole, line["name"]
    assert (sizes["w"], sizes["h"]) == (store.spec.width_px, store.spec.height_px)
    assert sizes["f"] == sizes["h"] * sizes["w"] * 3 // 2


def test_tensors_as_a_table(capsys: pytest.CaptureFixture[str], store: Store) -> None:
    code, out, _ = call(capsys, "store", "tensors", str(store.path), "--batch", "4")
    assert code == 0
    assert re.search(r"^yuv +b t c f +4 8 3 12288 +uint8 +levels", out, re.MULTILINE)
    assert "windows in an epoch: " in out


def test_export_writes_every_clip_once(
    capsys: pytest.CaptureFixture[str], store: Store, tmp_path: Path
) -> None:
    words = ("store", "export", str(store.path), "--to", "lerobot", "--out", str(tmp_path / "l"))
    told = document(capsys, *words)
    assert (told["clips"], told["frames"], told["clips_known"]) == (3, store.frames, 0)
    assert list((tmp_path / "l").rglob("meta/info.json"))
    again = document(capsys, *words)
    assert (again["clips"], again["clips_known"]) == (0, 3)
    code, _, err = call(capsys, *words[:4], "mcap", *words[5:])
    assert (code, "choose another folder" in err) == (2, True)


def test_the_store_guide_reads_a_store_without_opendojo(store: Store) -> None:
    (block,) = python_blocks("store.md")
    assert "opendojo" not in block
    names: dict[str, Any] = {"home": store.path / "10hz-front-left-right"}
    exec(compile(block, "store.md", "exec"), names)
    episode = store.episodes[store.episodes.find(names["clip"]["clip_id"])]
    assert names["packet"] == store.packets(episode, names["camera"], 0, 1)[0]
    assert names["rows"].tobytes() == store.rows(episode, 0, episode.instants).tobytes()
    assert len(names["table"]) == sum(episode.instants for episode in store.episodes)


def test_the_store_guide_names_every_dial_and_flag() -> None:
    from opendojo.store import StoreSpec
    from opendojo.store.codec import CODECS
    from opendojo.store.quality import FLAGS

    page = (GUIDES / "store.md").read_text()
    for name, bit in FLAGS.items():
        assert f"| {bit} | `{name}` |" in page
    for codec in CODECS:
        assert f"| `{codec}`" in page
    fields = {f.name.replace("_", "-") for f in dataclasses.fields(StoreSpec)}
    assert set(re.findall(r"--spec\.([a-z-]+)", page)) <= fields


@pytest.mark.slow
def test_the_loader_guide_runs_as_it_stands(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every block of the page, one after another, in a folder with the two stores it names."""
    for name in ("store", "drawn"):
        (tmp_path / name).symlink_to(store.path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    blocks = python_blocks("loader.md")
    for block in blocks:
        exec(compile(block, "loader.md", "exec"), names)
    assert len(blocks) == 6
    assert names["loss"].isfinite()
    place = {"seed": 0, "epoch": 1, "window": 0}
    assert names["state"].items() >= place.items(), "an epoch here is one batch"
    assert names["pictures"].shape[-3:] == (3, store.spec.height_px, store.spec.width_px)
    names["loader"].close()


def test_the_loader_guide_names_every_field() -> None:
    from opendojo.cli.store_tensors_command import FIELDS
    from opendojo.loader import LENS_COLUMNS, LoaderConfig

    page = (GUIDES / "loader.md").read_text()
    assert all(f"`{name}`" in page or f".{name} " in page for name in FIELDS)
    assert f"b c {len(LENS_COLUMNS)}" in page
    config = LoaderConfig()
    assert f"`hang_s` ({config.hang_s:g} s)" in page
    assert f"`keep_bytes` ({config.keep_bytes >> 20} MiB)" in page
