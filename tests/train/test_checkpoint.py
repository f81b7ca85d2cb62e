"""Kills between every pair of file operations, and damage to every file."""

import os
import pickle
import shutil
import subprocess

import pytest
import torch

from opendojo.train import DamagedCheckpoint, Progress
from opendojo.train.checkpoint import begin, clean, newest_whole, publish, read_progress
from opendojo.train.state import load_tensors, save_tensors


def progress(step):
    return Progress(step=step, epoch=1, batch=2, frames=3, recent=(0.5, 0.25))


def save(folder, step, keep):
    partial = begin(folder, step)
    save_tensors({"trainee/w": torch.full((3,), float(step))}, partial, None)
    return publish(folder, partial, progress(step), keep)


def loaded(place):
    tensors = {"trainee/w": torch.zeros(3)}
    load_tensors(tensors, place)
    return tensors["trainee/w"]


def steps_in(folder):
    return sorted(int(place.name[5:]) for place in folder.glob("step-*"))


def test_what_is_saved_is_loaded(tmp_path):
    assert newest_whole(tmp_path / "none") is None
    place = save(tmp_path, 7, keep=2)
    assert newest_whole(tmp_path) == place
    assert read_progress(place) == progress(7)
    assert torch.equal(loaded(place), torch.full((3,), 7.0))
    assert (tmp_path / "latest").read_text() == place.name


def test_the_newest_are_kept_and_those_of_an_abandoned_future_go(tmp_path):
    for step in (1, 2, 3, 4):
        save(tmp_path, step, keep=3)
    assert steps_in(tmp_path) == [2, 3, 4]
    save(tmp_path, 3, keep=3)
    assert steps_in(tmp_path) == [2, 3]


class Fuse:
    """Lets so many file operations happen, then ends the process before each further one."""

    def __init__(self, length):
        self.left = length
        for name in ("replace", "rename", "fsync", "mkdir", "unlink", "rmdir", "open"):
            setattr(os, name, self.guarded(getattr(os, name)))

    def guarded(self, real):
        def call(*args, **kwargs):
            if self.left == 0:
                os._exit(KILLED)
            self.left -= 1
            return real(*args, **kwargs)

        return call


KILLED = 77


def save_until(folder, step, length):
    """Save in a child that dies before file operation `length`; whether it died."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            Fuse(length)
            save(folder, step, keep=2)
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, KILLED)
    return code == KILLED


def test_a_kill_before_any_file_operation_leaves_a_whole_newest_checkpoint(tmp_path):
    """Real ends of a real process, one operation later each time, until a save runs through."""
    template = tmp_path / "template"
    save(template, 10, keep=2)
    save(template, 20, keep=2)
    newest = []
    for length in range(1000):
        folder = tmp_path / str(length)
        shutil.copytree(template, folder)
        killed = save_until(folder, 30, length)
        place = newest_whole(folder)
        assert place is not None
        newest.append(read_progress(place).step)
        assert loaded(place)[0] == newest[-1]
        clean(folder)
        assert not list(folder.glob(".*"))
        if killed and length % 5 == 0:
            whole = save(folder, 30, keep=2)
            assert newest_whole(folder) == whole and steps_in(folder) == [20, 30]
            assert (folder / "latest").read_text() == whole.name
        shutil.rmtree(folder)
        if not killed:
            break
    assert length > 20
    assert newest == sorted(newest) and set(newest) == {20, 30}


def test_a_half_written_folder_is_ignored_and_cleaned(tmp_path):
    save(tmp_path, 1, keep=2)
    shutil.copytree(tmp_path / "step-00000001", tmp_path / ".partial-step-00000002")
    (tmp_path / ".partial-step-00000002" / "manifest.sha256").unlink()
    (tmp_path / ".partial-latest").write_text("step-0")
    assert newest_whole(tmp_path) == tmp_path / "step-00000001"
    clean(tmp_path)
    assert not list(tmp_path.glob(".*"))


FILES = ["__0_0.distcp", ".metadata", "progress.json", "manifest.sha256"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", ["flip", "cut", "gone"])
def test_a_damaged_file_is_named_and_the_checkpoint_before_it_taken(tmp_path, capsys, name, harm):
    before = save(tmp_path, 1, keep=2)
    path = save(tmp_path, 2, keep=2) / name
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
    elif harm == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        path.unlink()
    assert newest_whole(tmp_path) == before
    said = capsys.readouterr()
    assert name in said.err
    assert "warning" in said.err and said.out == ""


def test_a_file_that_nobody_wrote_is_damage_too(tmp_path, capsys):
    save(tmp_path, 1, keep=2)
    (save(tmp_path, 2, keep=2) / "__1_0.distcp").write_bytes(b"more")
    assert newest_whole(tmp_path) == tmp_path / "step-00000001"
    assert "__1_0.distcp" in capsys.readouterr().err


def test_the_manifest_is_that_of_sha256sum(tmp_path):
    place = save(tmp_path, 1, keep=2)
    check = ["sha256sum", "--check", "--strict", "manifest.sha256"]
    done = subprocess.run(check, cwd=place, capture_output=True, text=True, check=True)
    assert done.stdout.count("OK") == 3


def test_where_all_are_damaged_it_refuses_rather_than_start_over(tmp_path, capsys):
    for step in (1, 2):
        (save(tmp_path, step, keep=2) / "__0_0.distcp").write_bytes(b"")
    with pytest.raises(DamagedCheckpoint, match=r"step-00000002.*step-00000001.*start over"):
        newest_whole(tmp_path)


class Trap:
    def __reduce__(self):
        return os.system, ("touch ran",)


def test_no_code_is_run_by_loading(tmp_path, monkeypatch):
    """Weights are data: an index that would run something is refused, however well published."""
    monkeypatch.chdir(tmp_path)
    partial = begin(tmp_path, 1)
    save_tensors({"trainee/w": torch.zeros(3)}, partial, None)
    (partial / ".metadata").write_bytes(pickle.dumps(Trap()))
    place = publish(tmp_path, partial, progress(1), keep=2)
    with pytest.raises(DamagedCheckpoint, match="system"):
        loaded(place)
    assert not (tmp_path / "ran").exists()
