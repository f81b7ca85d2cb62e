"""Kills between every pair of file operations, and damage to every file."""

import contextlib
import os
import shutil
import subprocess

import pytest
import torch

from opendojo.train import Checkpoint, DamagedCheckpoint, Progress, load_newest, save
from opendojo.train.checkpoint import clean


class Killed(BaseException):
    """Stands for the end of the process."""


def checkpoint(step):
    return Checkpoint(
        network={"w": torch.full((3,), float(step))},
        optimizer={"state": {0: {"step": torch.tensor(float(step))}}, "betas": (0.9, 0.99)},
        progress=Progress(step=step, epoch=1, batch=2, frames=3),
    )


def steps_in(folder):
    return sorted(int(place.name[5:]) for place in folder.glob("step-*"))


def test_what_is_saved_is_loaded(tmp_path):
    assert load_newest(tmp_path / "none") is None
    place = save(tmp_path, checkpoint(7), keep=2)
    loaded = load_newest(tmp_path)
    assert loaded is not None and loaded.progress == checkpoint(7).progress
    assert torch.equal(loaded.network["w"], checkpoint(7).network["w"])
    assert loaded.optimizer["betas"] == (0.9, 0.99)
    assert (tmp_path / "latest").read_text() == place.name


def test_the_newest_are_kept_and_those_of_an_abandoned_future_go(tmp_path):
    for step in (1, 2, 3, 4):
        save(tmp_path, checkpoint(step), keep=3)
    assert steps_in(tmp_path) == [2, 3, 4]
    save(tmp_path, checkpoint(3), keep=3)
    assert steps_in(tmp_path) == [2, 3]


class Fuse:
    """Lets so many file operations happen, then kills at each further one, before it is done."""

    def __init__(self, monkeypatch, length):
        self.left = length
        self.blown = False
        for module, name in (
            (os, "replace"),
            (os, "fsync"),
            (os, "mkdir"),
            (os, "unlink"),
            (os, "rmdir"),
            (os, "open"),
        ):
            monkeypatch.setattr(module, name, self.guarded(getattr(module, name)))

    def guarded(self, real):
        def call(*args, **kwargs):
            if self.left == 0:
                self.blown = True
                raise Killed
            self.left -= 1
            return real(*args, **kwargs)

        return call


def test_a_kill_before_any_file_operation_leaves_a_whole_newest_checkpoint(tmp_path):
    """Operations are cut off one by one until a save runs through."""
    for length in range(1000):
        folder = tmp_path / str(length)
        save(folder, checkpoint(10), keep=2)
        save(folder, checkpoint(20), keep=2)
        with pytest.MonkeyPatch.context() as patch:
            fuse = Fuse(patch, length)
            with contextlib.suppress(Killed):
                save(folder, checkpoint(30), keep=2)
        loaded = load_newest(folder)
        assert loaded is not None and loaded.progress.step in (20, 30)
        assert loaded.network["w"][0] == loaded.progress.step
        clean(folder)
        assert not list(folder.glob(".*"))
        whole = save(folder, checkpoint(30), keep=2)
        assert load_newest(folder).progress.step == 30 and steps_in(folder) == [20, 30]
        assert (folder / "latest").read_text() == whole.name
        shutil.rmtree(folder)
        if not fuse.blown:
            break
    assert length > 20


def test_a_half_written_folder_is_ignored_and_cleaned(tmp_path):
    save(tmp_path, checkpoint(1), keep=2)
    shutil.copytree(tmp_path / "step-00000001", tmp_path / ".partial-step-00000002")
    (tmp_path / ".partial-step-00000002" / "manifest.sha256").unlink()
    (tmp_path / ".partial-latest").write_text("step-0")
    assert load_newest(tmp_path).progress.step == 1
    clean(tmp_path)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", ["network.pt", "optimizer.pt", "progress.json", "manifest.sha256"])
@pytest.mark.parametrize("harm", ["flip", "cut", "gone"])
def test_a_damaged_file_is_named_and_the_checkpoint_before_it_taken(tmp_path, capsys, name, harm):
    save(tmp_path, checkpoint(1), keep=2)
    path = save(tmp_path, checkpoint(2), keep=2) / name
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
    elif harm == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        path.unlink()
    assert load_newest(tmp_path).progress.step == 1
    said = capsys.readouterr()
    assert name in said.err
    assert "warning" in said.err and said.out == ""


def test_the_manifest_is_that_of_sha256sum(tmp_path):
    place = save(tmp_path, checkpoint(1), keep=2)
    check = ["sha256sum", "--check", "--strict", "manifest.sha256"]
    done = subprocess.run(check, cwd=place, capture_output=True, text=True, check=True)
    assert done.stdout.count("OK") == 3


def test_where_all_are_damaged_it_refuses_rather_than_start_over(tmp_path, capsys):
    for step in (1, 2):
        (save(tmp_path, checkpoint(step), keep=2) / "network.pt").write_bytes(b"")
    with pytest.raises(DamagedCheckpoint, match=r"step-00000002.*step-00000001.*start over"):
        load_newest(tmp_path)


def test_no_code_is_run_by_loading(tmp_path, monkeypatch):
    """Weights are data: a pickle that would run something is refused."""

    class Trap:
        def __reduce__(self):
            return print, ("ran",)

    bad = checkpoint(1)
    bad.network["trap"] = Trap()
    save(tmp_path, bad, keep=2)
    with pytest.raises(Exception, match="print"):
        load_newest(tmp_path)
