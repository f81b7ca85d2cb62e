import json

import pytest

from opendojo.cli import main


def test_inject_prints_one_table(capsys, tmp_path):
    missed = tmp_path / "missed.json"
    assert main(["guard", "inject", "--trials", "6", "--missed", str(missed), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["trials"] == 6
    assert "not a number" in told["peers"] or told["harmful"] == 0
    assert json.loads(missed.read_text()) == told["missed"]


def test_usage(capsys, tmp_path):
    assert main(["guard", "--help"]) == 0
    assert "stress" in capsys.readouterr().out
    assert main(["guard", "prod"]) == 2
    assert main(["guard", "stress", "--share", "2"]) == 2
    path = tmp_path / "seeds.json"
    assert main(["guard", "seal", "--path", str(path), "--first", "7", "--count", "3"]) == 0
    assert path.exists()


@pytest.mark.slow
def test_stress_of_this_machine(capsys):
    assert main(["guard", "stress", "--seconds", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"]
