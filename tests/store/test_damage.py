"""A store whose files were damaged says which, why and what to do, and `verify` always answers."""

from __future__ import annotations

import json
import pickle
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clips import make_clip
from opendojo.cli import main
from opendojo.store import BadStore, Store, stage_part, store, verify_at, verify_store
from opendojo.store.catalogue import EPISODE_DTYPE
from opendojo.store.files import CacheSpec


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two segments."""
    path = tmp_path_factory.mktemp("whole") / "s"
    made = Store.create(path)
    for seeds in ((0, 1, 2), (3,)):
        with made.staging() as staging:
            clips = [make_clip(seed, instants=17, cameras=("front",)) for seed in seeds]
            made.publish(stage_part(clips, made.spec, staging))
    assert len(made.reload().segments) == 2
    return path


@pytest.fixture
def path(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "s")
    return tmp_path / "s"


def control_files(path: Path) -> list[Path]:
    """All that is read before any packet is."""
    return [
        path / "store.json",
        *sorted(path.glob("catalogue/*/*")),
        *sorted(path.glob("*hz-*/index/*/*")),
    ]


HARMS: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "noise": lambda data: random.Random(1).randbytes(len(data)),
    "zeros": lambda data: bytes(len(data)),
    "another's": lambda data: b'{"dear": "diary"}',
    "a list": lambda data: b"[1, 2]",
}


@pytest.mark.parametrize("harm", HARMS)
def test_verify_names_each_damaged_file_and_nothing_else_is_raised(path: Path, harm: str) -> None:
    for file in control_files(path):
        good, name = file.read_bytes(), str(file.relative_to(path))
        file.write_bytes(HARMS[harm](good))
        opened, faults = verify_at(path, decode=True)
        assert name in {fault.file for fault in faults}, name
        assert not any(fault.harmless for fault in faults), "what is listed would be swept away"
        assert all(fault.cause and fault.remedy for fault in faults)
        if name == "store.json":
            assert opened is None
        try:
            read_all(Store.open(path))
        except BadStore as bad:
            assert bad.file == str(file) or file.suffix == ".npy"  # then its video does not fit
            assert str(bad).startswith(f"{bad.file}: ")
            assert str(pickle.loads(pickle.dumps(bad))) == str(bad)
        file.write_bytes(good)
    assert verify_at(path, decode=True)[1] == []


def read_all(opened: Store) -> None:
    for episode in opened.episodes:
        out = np.empty((episode.instants, 1, opened.spec.frame_bytes), np.uint8)
        opened.decode(episode, range(episode.instants), out)
        opened.source(episode)


def test_any_byte_of_the_catalogue_is_checked(path: Path) -> None:
    dice = random.Random(2)
    for file in sorted(path.glob("catalogue/*/*")):
        good = file.read_bytes()
        for _ in range(4):
            bad = bytearray(good)
            bad[dice.randrange(len(bad))] ^= 1 << dice.randrange(8)
            file.write_bytes(bad)
            _, faults = verify_at(path)
            assert str(file.relative_to(path)) in {fault.file for fault in faults}
        file.write_bytes(good)


def test_clips_that_changed_places_are_found(path: Path) -> None:
    """Sizes, sums and order are right; only the content is not what was published."""
    folder = max(path.glob("catalogue/*"), key=lambda p: len(np.load(p / "episodes.npy")))
    rows = np.load(folder / "episodes.npy")
    rows["row"][[0, 1]] = rows["row"][[1, 0]]
    np.save(folder / "episodes.npy", rows)
    assert Store.open(path).episodes is not None
    (fault,) = verify_store(Store.open(path))
    assert fault.file == f"catalogue/{folder.name}/episodes.npy"


def edited(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    pointer = json.loads((path / "store.json").read_text())
    change(pointer)
    (path / "store.json").write_text(json.dumps(pointer))


@pytest.mark.parametrize(
    "change",
    [
        lambda pointer: pointer.pop("segments"),
        lambda pointer: pointer.pop("datasets"),
        lambda pointer: pointer.pop("generation"),
        lambda pointer: pointer["spec"].update(stranger=1),
        lambda pointer: pointer["spec"].update(width_px="wide"),
        lambda pointer: pointer["segments"][0].pop("sum"),
        lambda pointer: pointer["segments"][0].update(clips=None),
        lambda pointer: pointer["segments"][0].update(name="gone"),
        lambda pointer: pointer["datasets"].update(more=[]),
    ],
)
def test_a_pointer_that_is_not_one_ends_in_exit_code_3(
    path: Path, change: Callable[[dict[str, Any]], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    edited(path, change)
    with pytest.raises(BadStore) as caught:
        Store.open(path)
    assert str(path) in caught.value.file
    assert caught.value.remedy
    assert main(["store", "stats", str(path)]) == 3
    capsys.readouterr()
    assert main(["store", "verify", str(path)]) == 3
    assert "FAULT" in capsys.readouterr().out
    assert main(["store", "verify", str(path), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_a_store_made_before_there_were_hashes_is_whole(path: Path) -> None:
    edited(path, lambda pointer: [line.pop("sha256") for line in pointer["segments"]])
    assert verify_at(path, decode=True)[1] == []
    made = Store.create(path)
    with made.staging() as staging:
        clips = [make_clip(seed, instants=17, cameras=("front",)) for seed in range(4, 12)]
        assert made.publish(stage_part(clips, made.spec, staging)) == 8 * 17
    assert verify_at(path)[1] == []
    assert set(made.reload().pointer["segments"][-1]["sha256"]) == {
        "episodes.npy", "files.parquet", "gops.npy", "names.json",
    }  # fmt: skip


def test_a_far_catalogue_is_checked_as_it_is_fetched(path: Path, tmp_path: Path) -> None:
    memory = pytest.importorskip("fsspec").filesystem("memory")
    for name in ("episodes.npy", "gops.npy", "names.json"):
        memory.rm("/", recursive=True)
        memory.put(str(path), "/damaged", recursive=True)
        folder = memory.ls("/damaged/catalogue", detail=False)[0]
        data = bytearray(memory.cat_file(f"{folder}/{name}"))
        data[-3] ^= 1
        memory.pipe_file(f"{folder}/{name}", bytes(data))
        with pytest.raises(BadStore, match="SHA-256"):
            opened = Store.open("memory://damaged", CacheSpec(folder=tmp_path / name))
            _ = opened.episodes[0], [segment.names for segment in opened.segments]


def test_two_writers_that_make_the_same_store_keep_one_anothers_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slower one is held up just before it writes the pointer of an empty store."""
    plain, slow = store.write_json, threading.Event()

    def held_up(path: Path, document: Any) -> None:
        slow.set()
        fast.join(3.0)  # it cannot end while the lock is held
        plain(path, document)

    def make_and_fill() -> None:
        slow.wait()
        monkeypatch.setattr(store, "write_json", plain)
        made = Store.create(tmp_path / "s")
        with made.staging() as staging:
            made.publish(stage_part([make_clip(0, instants=9)], made.spec, staging))

    fast = threading.Thread(target=make_and_fill)
    monkeypatch.setattr(store, "write_json", held_up)
    fast.start()
    Store.create(tmp_path / "s")
    fast.join()
    assert len(Store.open(tmp_path / "s").episodes) == 1


def test_the_segments_dtype_is_checked(path: Path) -> None:
    (file,) = [f for f in path.glob("catalogue/*/episodes.npy") if len(np.load(f)) == 3]
    np.save(file, np.zeros(3, EPISODE_DTYPE.descr[:-1]))
    with pytest.raises(BadStore, match=r"episodes\.npy: its content is damaged"):
        Store.open(path)
