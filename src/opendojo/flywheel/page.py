"""The page of a flywheel: what was found and why, what it taught, scores per round with floors.

write_page(Path("runs/flywheel"))          # flywheel.html, one file, no network needed
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from opendojo.flywheel.findings import Findings
from opendojo.store import Store

__all__ = ["write_page"]

_PICTURES = 12
_WIDTH_PX = 232
_COLOURS = {"clean": "#0b6fae", "events": "#b4500f", "night": "#6a4fb3"}
_STYLE = """
:root { --ground:#f5f6f8; --sheet:#fff; --ink:#1b2330; --soft:#566173; --line:#dde2e9; }
@media (prefers-color-scheme: dark) { :root { --ground:#0f141b; --sheet:#171e28; --ink:#e6ebf2;
 --soft:#9aa7b8; --line:#2a3442; } }
body { margin:0 auto; max-width:1080px; padding:24px; background:var(--ground); color:var(--ink);
 font:15px/1.45 system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif; }
h1 { font-size:24px; margin:0 0 4px; } h2 { font-size:18px; margin:4px 0 8px; }
.lead { color:var(--soft); margin:0 0 16px; }
section { background:var(--sheet); border:1px solid var(--line); border-radius:12px;
 padding:14px 18px; margin:14px 0; }
table { border-collapse:collapse; width:100%; font-variant-numeric:tabular-nums; }
th,td { text-align:right; padding:5px 8px; border-bottom:1px solid var(--line); }
th:first-child,td:first-child,td.yes,td.no { text-align:left; }
th { color:var(--soft); font-weight:600; }
.scroll { overflow-x:auto; }
.grid { display:grid; margin-top:14px;
 grid-template-columns:repeat(auto-fill,minmax(200px,1fr)); gap:12px; }
figure { margin:0; } figure img { width:100%; border-radius:8px; display:block; }
figcaption { font-size:12.5px; color:var(--soft); margin-top:4px; }
figcaption b { color:var(--ink); } svg { width:100%; height:auto; }
svg text { fill:var(--soft); font-size:12px; }
.yes { color:#1a7f4b; } .no { color:#b4500f; }
"""


def write_page(folder: Path, out: Path | None = None) -> Path:
    """Write the page of a run and return its place.

    Raises `ValueError` where no round of `folder` is closed yet.
    """
    lines = [json.loads(path.read_text()) for path in sorted(folder.glob("rounds/*/round.json"))]
    if not lines:
        raise ValueError(f"{folder} has no closed round yet: run `opendojo flywheel run`")
    floors_path = folder / "floors.json"
    floors = json.loads(floors_path.read_text()) if floors_path.exists() else {}
    body = [
        f"<h1>Flywheel: {html.escape(folder.name)}</h1>",
        f'<p class="lead">{len(lines) - 1} round{"s" * (len(lines) != 2)} after the first '
        "network; driving scores of OpenDojo's own world, 0 to 100, with 90 % bootstrap "
        "intervals over the roads.</p>",
        f"<section><h2>Score per round</h2>{_chart(lines, floors)}"
        f'<div class="scroll">{_table(lines, floors)}</div></section>',
        *(_round(folder, line) for line in reversed(lines)),
    ]
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        f"<title>Flywheel: {html.escape(folder.name)}</title><style>{_STYLE}</style>"
        f"<body>{''.join(body)}</body></html>"
    )
    out = out or folder / "flywheel.html"
    partial = out.with_name(f".{out.name}")
    partial.write_text(page, encoding="utf-8")
    partial.replace(out)
    return out


def _table(lines: Sequence[Mapping[str, Any]], floors: Mapping[str, Mapping[str, float]]) -> str:
    sets = list(lines[0]["scores"])
    head = "".join(f"<th>{name}</th>" for name in sets)
    rows = [f"<tr><th>round</th><th>network</th>{head}<th>labelled windows</th><th>gate</th></tr>"]
    for line in lines:
        cells = "".join(
            f"<td>{s['mean']:.1f} <small>({s['low']:.1f} to {s['high']:.1f})</small></td>"
            for s in (line["scores"][name] for name in sets)
        )
        mark = "yes" if line["promoted"] else "no"
        said = ("promoted: " if line["promoted"] else "kept out: ") + line["why"]
        rows.append(
            f"<tr><td>{line['number']}</td><td><code>{line['network']}</code></td>{cells}"
            f"<td>{line.get('windows', '')}</td><td class={mark}>{html.escape(said)}</td></tr>"
        )
    for name, by_set in floors.items():
        cells = "".join(f"<td>{by_set[s]:.1f}</td>" for s in sets)
        rows.append(f"<tr><td>floor</td><td>{html.escape(name)}</td>{cells}<td></td><td></td></tr>")
    return f"<table>{''.join(rows)}</table>"


def _chart(lines: Sequence[Mapping[str, Any]], floors: Mapping[str, Mapping[str, float]]) -> str:
    """Scores over rounds as lines with whiskers; networks that were kept out are hollow."""
    wide, high, left, top = 760, 260, 44, 12
    last = max(1, len(lines) - 1)

    def x(k: float) -> float:
        return left + 20 + k * (wide - left - 150) / last

    def y(score: float) -> float:
        return top + (100.0 - score) * (high - 2 * top - 18) / 100.0

    parts = [f'<svg viewBox="0 0 {wide} {high}" role=img aria-label="score per round">']
    for score in range(0, 101, 25):
        at = y(score)
        parts.append(f'<path d="M{left} {at:.1f}H{wide - 110}" stroke="var(--line)"/>')
        parts.append(f"<text x={left - 8} y={at + 4:.1f} text-anchor=end>{score}</text>")
    parts += [f'<text x={x(k):.1f} y={high - 4} text-anchor=middle>{line["number"]}</text>'
              for k, line in enumerate(lines)]  # fmt: skip
    ends: list[float] = []
    for place, name in enumerate(lines[0]["scores"]):
        colour = _COLOURS.get(name, "#566173")
        told = [line["scores"][name] for line in lines]
        points = [(x(k) + 5 * (place - 1), s) for k, s in enumerate(told)]
        way = " ".join(f"{px:.1f},{y(s['mean']):.1f}" for px, s in points)
        parts.append(f'<polyline points="{way}" fill=none stroke="{colour}" stroke-width=2 />')
        for (px, s), line in zip(points, lines, strict=True):
            fill = colour if line["promoted"] else "var(--sheet)"
            parts.append(f'<path d="M{px:.1f} {y(s["low"]):.1f}V{y(s["high"]):.1f}" '
                         f'stroke="{colour}" opacity=.5 />')  # fmt: skip
            parts.append(f'<circle cx={px:.1f} cy={y(s["mean"]):.1f} r=4 fill="{fill}" '
                         f'stroke="{colour}"/>')  # fmt: skip
        end = y(told[-1]["mean"])
        while any(abs(end - other) < 14 for other in ends):
            end += 2
        ends.append(end)
        parts.append(f'<text x={wide - 104} y={end + 4:.1f} style="fill:{colour}">{name}</text>')
        for floor in ("stop", "expert"):
            if floor in floors:
                parts.append(f'<path d="M{left} {y(floors[floor][name]):.1f}H{wide - 110}" '
                             f'stroke="{colour}" stroke-dasharray="3 5" opacity=.6 />')  # fmt: skip
    parts.append("</svg><p class=lead>Dashed: stop (low) and expert (high) on the same roads. "
                 "Hollow: kept out by the gate.</p>")  # fmt: skip
    return "".join(parts)


def _round(folder: Path, line: Mapping[str, Any]) -> str:
    place = folder / "rounds" / f"{line['number']:02d}"
    title = f"<h2>Round {line['number']}</h2>"
    facts = [f"{line[name]:,} {name}" for name in ("windows", "twins", "refused") if name in line]
    reasons = ", ".join(f"{name} {count}" for name, count in line.get("reasons", {}).items())
    lead = f'<p class="lead">{html.escape("; ".join([*facts, reasons]))}</p>'
    return f"<section>{title}{lead}{_taught(folder, line)}{_gallery(place)}</section>"


def _taught(folder: Path, line: Mapping[str, Any]) -> str:
    """What the round taught: differences over the same roads."""
    path = folder / "registry" / "networks" / line["network"] / "entry.json"
    verdict = json.loads(path.read_text()).get("verdict") if path.exists() else None
    if not verdict:
        return ""
    rows = ["<tr><th>roads</th><th>before</th><th>after</th><th>difference</th><th>p</th></tr>"]
    for name, told in verdict["sets"].items():
        rows.append(
            f"<tr><td>{html.escape(name)} ({told['scenes']})</td><td>{told['before']:.1f}</td>"
            f"<td>{told['after']:.1f}</td><td>{told['difference']:+.1f} <small>({told['low']:+.1f} "
            f"to {told['high']:+.1f})</small></td><td>{told['p']:.2f}</td></tr>"
        )
    return f'<div class="scroll"><table>{"".join(rows)}</table></div>'


def _gallery(place: Path) -> str:
    """Pictures of the first windows that were chosen."""
    if not (place / "choice.json").exists():
        return ""
    picked = json.loads((place / "choice.json").read_text())
    findings, store = Findings.load(place / "findings.npz"), Store.open(place / "store")
    tags, figures = findings.tags(), []
    for row, reason in list(zip(picked["rows"], picked["reasons"], strict=True))[:_PICTURES]:
        errors = findings.columns.get("error_m")
        error = float("nan") if errors is None else float(errors[row])
        words = [name for name, flags in tags.items() if flags[row]]
        off = "" if np.isnan(error) else f", {error:.1f} m off"
        figures.append(
            f'<figure><img alt="" src="{_picture(store, findings, row)}"><figcaption>'
            f"<b>{html.escape(reason)}</b>{off}<br>{html.escape(', '.join(words) or 'plain')}"
            f"<br>{findings.clip_id[findings.clip[row]][:8]} at {findings.time_s[row]:.1f} s"
            "</figcaption></figure>"
        )
    return f'<div class="grid">{"".join(figures)}</div>'


def _picture(store: Store, findings: Findings, row: int) -> str:
    """The first camera at a window's last instant, as a data address."""
    found = store.episodes.find(findings.clip_id[findings.clip[row]])
    assert found is not None, "findings are of this store"
    episode, spec = store.episodes[found], store.spec
    times = store.log(episode).time_s
    instant = int(np.abs(times - findings.time_s[row]).argmin())
    names = [camera.name for camera in episode.cameras]
    name = "front" if "front" in names else names[0]
    frame = np.empty((1, 1, spec.frame_bytes), np.uint8)
    store.decode(episode, [instant], frame, [name])
    luma = spec.width_px * spec.height_px
    planes = [frame[0, 0, :luma].reshape(spec.height_px, spec.width_px),
              *frame[0, 0, luma:].reshape(2, spec.height_px // 2, spec.width_px // 2)]  # fmt: skip
    size = (_WIDTH_PX, max(1, round(_WIDTH_PX * spec.height_px / spec.width_px)))
    levels = np.arange(256.0)
    tables = [np.clip((levels - 16) * 255 / 219, 0, 255).round().tolist()]
    tables += [np.clip((levels - 128) * 255 / 224 + 128, 0, 255).round().tolist()] * 2
    images = [Image.fromarray(plane).resize(size).point(table)
              for plane, table in zip(planes, tables, strict=True)]  # fmt: skip
    out = io.BytesIO()
    Image.merge("YCbCr", images).save(out, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
