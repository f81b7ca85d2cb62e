"""The report of a run: one page that needs nothing beside itself, and its figures as JSON.

    write_report(folder, data, Pictures(metrics=rows, samples=..., bird_eye=...))

The content of `data` is described in `headline.py`. The page has no scripts and no outside assets,
follows the reader's light or dark setting, and prints.
"""

from __future__ import annotations

import html
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from opendojo.evaluate import chart
from opendojo.evaluate.headline import completed
from opendojo.evaluate.picture import Picture, Pictures, data_uri
from opendojo.store.atomic import sync_file, sync_folder, write_json

__all__ = ["write_report"]


def write_report(folder: Path, data: Mapping[str, Any], pictures: Pictures | None = None) -> Path:
    """Write report.json and report.html into `folder`; returns the page's path.

    Both files are replaced in one instant each. Raises `ValueError` naming the keys that `data`
    lacks.
    """
    data, pictures = completed(data), pictures or Pictures()
    folder.mkdir(parents=True, exist_ok=True)
    template = Template(Path(__file__).with_name("page.html").read_text("utf-8"))
    page = template.substitute(
        title=_text(data["report"].get("title", "OpenDojo report")),
        lead=_lead(data),
        body="\n".join(_sections(data, pictures)),
        footer="Written by OpenDojo. The same figures, for programs: "
        '<a href="report.json">report.json</a>.',
    )
    write_json(folder / "report.json", data)
    return _write_text(folder / "report.html", page)


def _write_text(path: Path, text: str) -> Path:
    partial = path.with_name(f".partial-{path.name}")
    partial.write_text(text, "utf-8")
    sync_file(partial)
    partial.replace(path)
    sync_folder(path.parent)
    return path


def _sections(data: Mapping[str, Any], pictures: Pictures) -> list[str]:
    sections = [_cards(data), _drive(pictures), _closed_loop(data), _samples(pictures)]
    sections += [_forecast(data, pictures), _training(data, pictures), _open_loop(data)]
    return [section for section in [*sections, _provenance(data)] if section]


def _lead(data: Mapping[str, Any]) -> str:
    ingest, train, report = data["ingest"], data["train"], data["report"]
    damaged = ingest["damaged_clips"]
    return (
        f"{ingest['clips']:,} clips"
        + (f" ({damaged} of them damaged, and named)" if damaged else "")
        + f" became {ingest['frames']:,} frames; a network of {train['parameters']:,} parameters "
        f"trained on them for {train['steps']:,} steps on {_text(train['device'])}, then drove "
        f"roads it had never seen. {_text(report['created'])}, seed {_text(report['seed'])}."
    )


def _cards(data: Mapping[str, Any]) -> str:
    cards = []
    for index, figure in enumerate(data["report"]["headline"]):
        low, high = figure["low"], figure["high"]
        span = "" if low is None else f"{_number(low)} to {_number(high)} {figure['unit']}"
        tag = "<span class='tag'>estimated</span>" if figure["estimated"] else ""
        cards.append(
            f"<div class='card{' main' if index == 0 else ''}'>"
            f"<div class='what'>{_text(figure['name'])}</div>"
            f"<div class='value'>{_number(figure['value'])}"
            f" <span class='unit'>{_text(figure['unit'])}</span></div>"
            + (f"<div class='range'>{_text(span)}</div>" if span else "")
            + f"<div class='how'>{tag}{_text(figure['how'])}</div></div>"
        )
    return f"<div class='cards'>{''.join(cards)}</div>"


def _drive(pictures: Pictures) -> str:
    if pictures.bird_eye is None:
        return ""
    film = (
        f" <a href='{_text(pictures.film)}'>Watch it as the cameras saw it</a>, beside this page."
        if pictures.film
        else ""
    )
    return _section(
        "The drive, from above",
        f"<p class='note'>The network at the wheel on a road kept out of its training.{film}</p>"
        + f"<div class='map'>{_figure(pictures.bird_eye)}</div>",
    )


def _closed_loop(data: Mapping[str, Any]) -> str:
    table = data["evaluate"]["closed_loop"]
    drivers = table["drivers"]
    order = sorted(drivers, key=lambda name: -drivers[name]["score"]["mean"])
    rows = []
    for name in order:
        result = drivers[name]
        score = result["score"]
        sets = " / ".join(f"{value:.1f}" for value in score["values"])
        cells = [
            _text(name),
            f"{score['mean']:.1f}",
            f"{score['low']:.1f} to {score['high']:.1f}",
            sets,
            *(f"{100 * result[key]['mean']:.0f} %" for key in _SHARES),
            f"{result['red_lights']['mean']:.2f}",
            f"{result['mean_speed_mps']['mean']:.1f} m/s",
        ]
        rows.append((cells, name == "network"))
    sizes = " + ".join(str(len(seeds)) for seeds in table["seed_sets"])
    heads = ["driver", "score", "95 %", "each set of roads", *_SHARES.values(), "red lights"]
    return _section(
        "Closed loop, with floors beside it",
        "<p class='note'>Every driver on the same unseen roads. The expert is told where "
        "everything is: the ceiling; IDM is told too, and keeps to the middle of its lane; replay "
        "drives the expert's way by the clock. Shuffled is the network with other roads' pictures, "
        "blind a network without cameras; constant velocity, constant turn rate and stop do not "
        "look at all. The driving score is OpenDojo's own, not CARLA's: 100 &times; completion "
        "&times; 0.6 after a collision &times; 0.7 for each red light run &times; (1 &minus; "
        f"off-lane share). {sizes} roads, at most {table['limit_s']:.0f} s each; the 95 % interval "
        "is a bootstrap over the roads.</p>"
        f"<figure>{chart.scores_svg(drivers)}</figure>"
        + _table([*heads, "speed"], rows)
        + _windows(drivers, order),
    )


def _windows(drivers: Mapping[str, Any], order: Sequence[str]) -> str:
    """The sub-scores, where drives were long enough."""
    rows = []
    for name in order:
        terms = drivers[name].get("terms", {})
        if terms:
            score = f"{terms['score']['mean']:.3f}"
            span = f"{terms['score']['low']:.3f} to {terms['score']['high']:.3f}"
            means = [f"{terms[key]['mean']:.2f}" for key in _TERMS]
            impact = f"{drivers[name]['impact_mps']['max']:.1f} m/s"
            rows.append(([_text(name), score, span, *means, impact], name == "network"))
    if not rows:
        return ""
    return (
        "<p class='note'>What was driven, 4 s at a time, by the definitions of NAVSIM v2; the dojo "
        "score is the mean of the windows times the share completed, and cannot be compared with "
        "NAVSIM. Progress is held to the expert's from the same place. Impact: relative speed at "
        "collisions, the mean over the roads of the worst set.</p>"
        + _table(["driver", "dojo score", "95 %", *_TERMS.values(), "impact"], rows)
    )


_TERMS = {
    "nc": "no fault",
    "dac": "on road",
    "ddc": "direction",
    "tlc": "lights",
    "ep": "progress",
    "ttc": "time to coll.",
    "lk": "lane",
    "hc": "comfort",
    "ec": "steady plan",
}
"""Sub-scores of `windows` and their column heads."""


_SHARES = {
    "completion": "completion",
    "success": "success",
    "off_road": "left road",
    "collided": "collided",
    "off_lane_share": "off lane",
    "comfort": "comfort",
}
"""Numbers of `score.Route` that are shares, and their column heads."""


def _samples(pictures: Pictures) -> str:
    if not pictures.samples:
        return ""
    key = (
        "<p class='note'><span class='key'><i class='plan'></i>planned by the network, next 4 s"
        "</span><span class='key'><i class='truth'></i>driven</span></p>"
    )
    grid = "".join(_figure(picture) for picture in pictures.samples)
    return _section("What it saw, what it planned", f"{key}<div class='samples'>{grid}</div>")


def _forecast(data: Mapping[str, Any], pictures: Pictures) -> str:
    open_loop = data["evaluate"]["open_loop"]
    forecast, ahead_s = open_loop["forecast"], open_loop["forecast_ahead_s"]
    rows = []
    for group, who in itertools.product(_told_apart(forecast), ("network", "copy")):
        numbers = forecast[group][who]
        label = f"{who}, {group}" if who == "network" else f"last frame repeated, {group}"
        cells = [
            label,
            f"{numbers['mae']:.2f}",
            f"{numbers['rmse']:.2f}",
            f"{numbers['windows']:,}",
        ]
        rows.append((cells, who == "network"))
    if not rows:
        return ""
    grid = "".join(_figure(picture) for picture in pictures.forecast)
    heads = ["forecast, windows", "mean abs. error (levels)", "RMS error (levels)", "windows"]
    return _section(
        f"What it expects to see {ahead_s:.1f} s ahead",
        "<p class='note'>The network also predicts the front camera's small grey picture. Errors "
        "in luma levels of 0 to 255; repeating the last frame is the floor.</p>"
        + (f"<div class='three'>{grid}</div>" if grid else "")
        + _table(heads, rows),
    )


def _training(data: Mapping[str, Any], pictures: Pictures) -> str:
    curves = chart.curves_svg(pictures.metrics)
    if not curves:
        return ""
    train = data["train"]
    return _section(
        "Training",
        f"<p class='note'>{train['steps']:,} steps, {train['frames']:,} frames, "
        f"{train['seconds']:.0f} s. Thin: each logged step; thick: running mean.</p>"
        f"<figure>{curves}</figure>",
    )


def _open_loop(data: Mapping[str, Any]) -> str:
    path = data["evaluate"]["open_loop"]["path"]
    horizon_s = data["evaluate"]["open_loop"]["path_horizon_s"]
    rows = []
    for group in _told_apart(path):
        for name, numbers in path[group].items():
            ade, fde = f"{numbers['ade_m']:.2f}", f"{numbers['fde_m']:.2f}"
            cells = [f"{name}, {group}", ade, fde, f"{numbers['windows']:,}"]
            rows.append((cells, name == "network"))
    if not rows:
        return ""
    return _section(
        "Open loop, for finding bugs",
        f"<p class='note'>Distance between the plan and what was driven, over {horizon_s:.0f} s "
        "on held-out clips. It says little about driving: see the closed loop.</p>"
        + _table(["driver, windows", "mean error (m)", "error at the end (m)", "windows"], rows),
    )


def _told_apart(groups: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Groups of windows worth a row: those with windows, `all` only if there are two origins."""
    origins = [
        name
        for name in ("drawn", "recorded")
        if groups[name] and groups[name]["network"]["windows"]
    ]
    return ["all", *origins] if len(origins) == 2 else origins


def _provenance(data: Mapping[str, Any]) -> str:
    report = data["report"]
    facts = {
        "created": report["created"],
        "seed": report["seed"],
        "data fingerprint": report["data_fingerprint"],
        "roads fingerprint": data["evaluate"]["closed_loop"]["fingerprint"],
        **report["machine"],
        **report["versions"],
    }
    items = "".join(f"<dt>{_text(k)}</dt><dd>{_text(v)}</dd>" for k, v in facts.items())
    config = _text(json.dumps(report["config"], indent=1, default=str))
    return _section(
        "Provenance",
        f"<dl>{items}</dl><details><summary>Full configuration</summary>"
        f"<pre>{config}</pre></details>",
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{_text(title)}</h2>{body}</section>"


def _figure(picture: Picture) -> str:
    caption = _text(picture.caption)
    return (
        f"<figure><img src='{data_uri(picture.rgb)}' alt='{caption}'>"
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _table(heads: Sequence[str], rows: Sequence[tuple[Sequence[str], bool]]) -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in heads)
    body = "".join(
        f"<tr{' class=main' if main else ''}>"
        + "".join(f"<td>{_text(cell)}</td>" for cell in cells)
        + "</tr>"
        for cells, main in rows
    )
    return (
        f"<div class='scroll'><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)


def _number(value: float | None) -> str:
    """Three significant digits, thousands grouped."""
    if value is None:
        return "not known"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.3g}"
