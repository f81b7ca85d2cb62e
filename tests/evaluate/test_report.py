from __future__ import annotations

import copy
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opendojo.evaluate import Picture, Pictures, write_report
from opendojo.evaluate.chart import curves_svg
from opendojo.evaluate.headline import completed

_VOID = {"meta", "img", "br", "link", "input"}


class _Balance(HTMLParser):
    """Every opened element is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture
def page(tmp_path: Path, report_data: dict[str, Any], metrics: list[dict[str, Any]]) -> str:
    grey = np.full((32, 64, 3), 90, np.uint8)
    picture = Picture(rgb=grey, caption="a <caption> & more")
    pictures = Pictures(
        metrics=metrics, samples=[picture], forecast=[picture] * 3, bird_eye=picture, film="d.mp4"
    )
    return write_report(tmp_path, report_data, pictures).read_text("utf-8")


def test_the_page_is_whole_and_needs_nothing_else(page: str) -> None:
    parser = _Balance()
    parser.feed(page)
    assert not parser.open
    assert "<script" not in page and "@import" not in page
    assert not re.findall(r"(?:src|href)=[\"']https?:", page)
    assert all(source.startswith("data:") for source in re.findall(r"src='([^']*)'", page))


def test_the_page_shows_the_figures_with_units_and_floors(page: str) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    for wanted in ("1,153 frames/s", "1,280 frames/s", "71.4 of 100", "J/frame", "289 cores"):
        assert wanted in text
    for driver in ("expert", "network", "blind", "constant-velocity", "stop"):
        assert driver in text
    assert text.count("estimated") == 3, "energy and the two counts of cores"
    assert "fedcba9876543210" in text and "&lt;caption&gt;" in page


def test_report_json_holds_what_was_given_and_the_headline(
    tmp_path: Path, report_data: dict[str, Any]
) -> None:
    before = copy.deepcopy(report_data)
    write_report(tmp_path, report_data)
    written = json.loads((tmp_path / "report.json").read_text())
    assert report_data == before
    assert {"ingest", "train", "evaluate", "energy", "report"} <= set(written)
    headline = {figure["name"]: figure for figure in written["report"]["headline"]}
    energy = headline["energy to train"]
    assert energy["low"] < energy["value"] < energy["high"] and energy["estimated"]
    assert energy["value"] == pytest.approx(5200 / 307_200)
    assert written["train"] == report_data["train"]


def test_missing_keys_are_named(tmp_path: Path, report_data: dict[str, Any]) -> None:
    del report_data["energy"]
    del report_data["train"]["loading"]
    with pytest.raises(ValueError, match=r"train\.loading.*energy\.joules"):
        write_report(tmp_path, report_data)
    assert not list(tmp_path.iterdir())


def test_a_report_without_pictures_is_a_report(tmp_path: Path, report_data: dict[str, Any]) -> None:
    page = write_report(tmp_path / "new" / "folder", report_data).read_text("utf-8")
    assert "<img" not in page and "driving score" in page


def test_a_rate_that_was_not_measured_is_not_made_up(report_data: dict[str, Any]) -> None:
    known = completed(report_data)["report"]["headline"][-1]
    assert known["value"] == pytest.approx(
        16e9 / 86_400 / report_data["train"]["loading"]["frames_per_core_s"]
    )
    train = {**report_data["train"], "loading": {"frames_per_s": 0.0, "frames_per_core_s": 0.0}}
    unknown = completed({**report_data, "train": train})["report"]["headline"][-1]
    assert unknown["value"] is None
    assert "not measured" in unknown["how"]


def test_curves_without_losses_are_left_out() -> None:
    assert curves_svg([{"step": 1, "frames_per_s": 3.0}]) == ""
    assert "forecast loss" in curves_svg([{"step": 1, "forecast_loss": 3.0}, {"step": 2}])


def test_charts_leave_matplotlib_alone() -> None:
    """No settings changed, no pyplot loaded: the caller's own plots stay as they were."""
    import matplotlib

    settings, pyplot = dict(matplotlib.rcParams), "matplotlib.pyplot" in sys.modules
    assert curves_svg([{"step": 1, "loss": 2.0}])
    assert dict(matplotlib.rcParams) == settings
    assert ("matplotlib.pyplot" in sys.modules) == pyplot
