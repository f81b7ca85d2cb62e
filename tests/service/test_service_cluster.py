"""Slurm: recorded manners of its commands, and the real one where it is."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time

import pytest


class PretendSlurm:
    """Answers as sbatch, squeue and scancel do, and runs the script for real."""

    def __init__(self) -> None:
        self.children: dict[str, subprocess.Popen] = {}
        self.words: list[list[str]] = []

    def __call__(self, words):
        words = list(words)
        self.words.append(words)
        name = next(w.split("=")[1] for w in words if w.startswith(("--name=", "--job-name=")))
        child = self.children.get(name)
        if words[0] == "squeue":
            return "17\n" if child is not None and child.poll() is None else ""
        if words[0] == "sbatch":
            self.children[name] = subprocess.Popen(["/bin/sh", words[-1]])
        elif "--batch" in words and child is not None:
            child.terminate()
        return "17\n"


def _task(folder, word, chips=1):
    from opendojo.service import Task

    return Task(id=f"att_{folder.name}", command=(word,), chips=chips, limit_s=60,
                work=folder / "work", folder=folder / "attempt-1", account="ten_1")  # fmt: skip


def _through(launcher, folder):
    def wait(task, phase):
        end = time.monotonic() + 60
        while (status := launcher.poll(task)).phase != phase:
            assert time.monotonic() < end, status
            time.sleep(0.05)
        return status

    fails = _task(folder / "a", "import sys; sys.exit(7)", chips=1)
    launcher.ensure(fails)
    assert wait(fails, "ended").exit_code == 7
    launcher.ensure(fails)
    long = _task(folder / "b", "import time; time.sleep(60)")
    launcher.ensure(long)
    wait(long, "running")
    while not (long.folder / "group").exists():
        time.sleep(0.05)
    launcher.stop(long)
    assert wait(long, "ended").exit_code == 143
    never = _task(folder / "c", "pass")
    launcher.stop(never)
    launcher.ensure(never)
    assert launcher.poll(never).phase == "lost"


def test_slurm_by_its_manners(tmp_path):
    from opendojo.service.cluster import SlurmLauncher

    pretend = PretendSlurm()
    program = (sys.executable, "-S", "-c")
    _through(SlurmLauncher(program, pretend, {"ten_1": "physics"}), tmp_path)
    sent = [words for words in pretend.words if words[0] == "sbatch"]
    assert len(sent) == 2 and all("--account=physics" in words for words in sent)
    for child in pretend.children.values():
        child.wait()


@pytest.mark.slow
def test_slurm_itself(tmp_path):
    from opendojo.service.cluster import SlurmLauncher

    if shutil.which("sbatch") is None or subprocess.run(["sinfo"], capture_output=True).returncode:
        pytest.skip("not exercised: no Slurm answers here (Debian: slurm-wlm, munge)")
    _through(SlurmLauncher((sys.executable, "-S", "-c")), tmp_path)
