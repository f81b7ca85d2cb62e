"""The command line from outside: codes, sentences, documents."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from clips import make_clip
from opendojo.cli import main
from opendojo.store import Store, stage_part


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    try:
        code = main(list(words))
    except SystemExit as end:  # tyro ends wrong usage and --help this way
        code = int(end.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store.create(tmp_path_factory.mktemp("cli") / "s")
    with store.staging() as staging:
        store.publish(stage_part([make_clip(0)], store.spec, staging))
    return store.reload()


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    from opendojo.cli.main import COMMANDS

    for words in ([], ["--help"], ["help"]):
        code, out, _ = call(capsys, *words)
        assert code == 0
        assert all(f"  {command} " in out for command in COMMANDS)


@pytest.mark.parametrize("command", ["demo", "doctor", "evaluate", "ingest", "store", "world"])
def test_each_command_has_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, out, _ = call(capsys, command, "--help")
    assert code == 0
    assert f"opendojo {command}" in out
    assert "--json" in out or command == "store"


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "trian")
    assert (code, out) == (2, "")
    assert "did you mean `train`" in err


def test_an_unknown_option_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "world", "somewhere", "--drivs", "3")
    assert code == 2
    assert "--drives" in err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "--version")[1].startswith("opendojo 0.")


def test_verify_says_whole_or_damaged(capsys: pytest.CaptureFixture[str], store: Store) -> None:
    code, out, _ = call(capsys, "store", "verify", str(store.path), "--decode", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["ok"]
    assert document["schema"] == 1
    assert document["frames"] == 60
    video = next(store.path.rglob("*.mp4"))
    good = video.read_bytes()
    video.write_bytes(good[:-9])
    code, out, _ = call(capsys, "store", "verify", str(store.path))
    video.write_bytes(good)
    assert code == 3
    assert "FAULT" in out
    assert "restore the file" in out


def test_stats_are_one_document(capsys: pytest.CaptureFixture[str], store: Store) -> None:
    code, out, _ = call(capsys, "store", "stats", str(store.path), "--json")
    assert code == 0
    assert json.loads(out)["datasets"]["10hz-front-left-right"]["clips"] == 1


def test_what_is_not_there_is_a_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, _, err = call(capsys, "store", "stats", str(tmp_path))
    assert code == 2
    assert err.count("\n") == 1
    assert "is no store" in err


def test_a_place_that_cannot_be_written_is_code_4(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    target = str(tmp_path / "file" / "store")
    code, _, err = call(capsys, "ingest", str(tmp_path), "--store", target)
    assert code == 4
    assert "Not a directory" in err


def test_a_fault_of_ours_leaves_a_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import opendojo.cli.doctor_command as doctor

    def broken(_: list[str]) -> int:
        raise RuntimeError("a spring came loose")

    monkeypatch.setattr(doctor, "run", broken)
    code, _, err = call(capsys, "doctor")
    assert code == 1
    log = Path(err.split("the log is ")[1].split(" (")[0])
    assert "a spring came loose" in log.read_text()
    with pytest.raises(RuntimeError, match="spring"):
        main(["doctor", "--debug"])


def test_doctor_finds_this_machine_fit(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = call(capsys, "doctor", "--json", "--folder", str(tmp_path))
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    assert checks["codec"]["ok"], checks["codec"]
    assert code == 0, out


def test_interruption_is_code_130(tmp_path: Path) -> None:
    import signal

    command = [sys.executable, "-m", "opendojo.cli", "world", str(tmp_path / "w")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "drawing" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from here" in err
    assert not list((tmp_path / "w").glob("drive-*"))
