"""Pictures for people: strips of stills that a page scrubs, and the contact sheet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from opendojo.store.view_card import Card

__all__ = ["SHEET_ROWS", "contact_sheet", "main_camera", "sheet_band", "strip"]

SHEET_ROWS = 96
"""Rows of pictures that one sheet holds at most."""
SHEET_COLUMNS = 6
CELL_WIDTH_PX = 168
LABEL_WIDTH_PX = 300
GAP_PX = 2
MARGIN_PX = 16
SHEET_WIDTH_PX = 2 * MARGIN_PX + LABEL_WIDTH_PX + SHEET_COLUMNS * (CELL_WIDTH_PX + GAP_PX)

_LEVELS = np.arange(256.0)
_LUMA = np.clip((_LEVELS - 16) * 255 / 219, 0, 255).round().tolist()
_CHROMA = np.clip((_LEVELS - 128) * 255 / 224 + 128, 0, 255).round().tolist()
"""Limited range to the full range that JPEG and Pillow hold."""


def main_camera(names: Sequence[str]) -> int:
    """The camera shown large: the front one, else the first."""
    ranked = sorted(range(len(names)), key=lambda i: (names[i] != "front", "front" not in names[i]))
    return ranked[0]


def picture(
    frame: npt.NDArray[np.uint8], width_px: int, height_px: int, cell: tuple[int, int]
) -> Image.Image:
    """A planar frame, uint8 [frame_bytes], as YCbCr of full range and a cell's size."""
    luma, half = width_px * height_px, (height_px // 2, width_px // 2)
    planes = (
        (frame[:luma].reshape(height_px, width_px), _LUMA),
        *((plane, _CHROMA) for plane in frame[luma:].reshape(2, *half)),
    )
    small = [_scaled(plane, cell).point(table) for plane, table in planes]
    return Image.merge("YCbCr", small)


def _scaled(plane: npt.NDArray[np.uint8], cell: tuple[int, int]) -> Image.Image:
    """By area where it shrinks, linearly where it grows."""
    shrinks = plane.shape[1] >= cell[0]
    way = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return Image.fromarray(plane).resize(cell, way)


def strip(card: Card, camera: int, width_px: int, height_px: int, cell_px: int) -> Image.Image:
    """The stills of one camera side by side, each `cell_px` wide."""
    size = (cell_px, max(1, round(cell_px * height_px / width_px)))
    out = Image.new("YCbCr", (size[0] * len(card.stills), size[1]))
    for place, still in enumerate(card.stills):
        cell = picture(still.frames[camera], width_px, height_px, size)
        out.paste(cell, (place * size[0], 0))
    return out


def sheet_band(card: Card, width_px: int, height_px: int) -> Image.Image:
    """One clip of the contact sheet: its facts, and stills of every camera beside them."""
    cell = (CELL_WIDTH_PX, max(1, round(CELL_WIDTH_PX * height_px / width_px)))
    height = max(118, len(card.episode.cameras) * (cell[1] + GAP_PX) + 34)
    band = Image.new("RGB", (SHEET_WIDTH_PX, height), "#ffffff")
    draw = ImageDraw.Draw(band)
    draw.line((MARGIN_PX, 0, SHEET_WIDTH_PX - MARGIN_PX, 0), fill="#dde2e9")
    _label(draw, card)
    _cells(band, draw, card, (width_px, height_px), cell)
    return band


def contact_sheet(bands: Sequence[Image.Image], title: str) -> Image.Image:
    """Clips below one another under a title."""
    top = 2 * MARGIN_PX + 24
    sheet = Image.new("RGB", (SHEET_WIDTH_PX, top + sum(band.height for band in bands)), "#ffffff")
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN_PX, MARGIN_PX), title, fill="#1b2330", font=ImageFont.load_default(20))
    for band in bands:
        sheet.paste(band, (0, top))
        top += band.height
    return sheet


def _label(draw: ImageDraw.ImageDraw, card: Card) -> None:
    episode, top = card.episode, 8
    small, plain = ImageFont.load_default(12), ImageFont.load_default(14)
    size = f"{card.seconds:.1f} s   {episode.rate_hz:g} Hz   {episode.instants} instants"
    values = "  ".join(tag.partition(":")[2] for tag in card.tags if _shown(tag))
    lines = [
        (_fitted(draw, card.source, plain, keep_end=True), "#1b2330", plain),
        (episode.clip_id, "#566173", small),
        (_fitted(draw, episode.dataset, small), "#566173", small),
        (size, "#1b2330", small),
        *((line, "#0b6fae", small) for line in _wrapped(draw, values, small)),
    ]
    for line, ink, font in lines:
        draw.text((MARGIN_PX, top), line, fill=ink, font=font)
        top += 18


def _cells(
    band: Image.Image,
    draw: ImageDraw.ImageDraw,
    card: Card,
    size: tuple[int, int],
    cell: tuple[int, int],
) -> None:
    font = ImageFont.load_default(11)
    left = MARGIN_PX + LABEL_WIDTH_PX
    count = min(SHEET_COLUMNS, len(card.stills))
    places = np.linspace(0, len(card.stills) - 1, count).round().astype(int)
    for column, place in enumerate(places.tolist()):
        still, x = card.stills[place], left + column * (cell[0] + GAP_PX)
        draw.text((x, 8), f"{still.time_s:.1f} s", fill="#566173", font=font)
        for row, frame in enumerate(still.frames):
            y = 24 + row * (cell[1] + GAP_PX)
            band.paste(picture(frame, *size, cell).convert("RGB"), (x, y))
            if column == 0:
                name = card.episode.cameras[row].name
                width = int(draw.textlength(name, font=font)) + 8
                draw.rectangle((x, y, x + width, y + 14), fill="#1b2330")
                draw.text((x + 4, y), name, fill="#ffffff", font=font)


def _shown(tag: str) -> bool:
    plain = tag == "flag:unflagged" or tag.endswith("-unknown")
    return not plain and not tag.startswith(("dataset:", "camera:", "length:"))


def _fitted(draw: ImageDraw.ImageDraw, text: str, font: object, *, keep_end: bool = False) -> str:
    """The text, cut where it does not fit beside the pictures; the end of a path tells most."""
    limit = LABEL_WIDTH_PX - 14
    cut = text
    while len(cut) > 1 and draw.textlength(cut, font=font) > limit:  # type: ignore[arg-type]
        text = text[1:] if keep_end else text[:-1]
        cut = f"…{text}" if keep_end else f"{text}…"
    return cut


def _wrapped(draw: ImageDraw.ImageDraw, text: str, font: object) -> list[str]:
    lines: list[str] = [""]
    for word in text.split("  "):
        longer = f"{lines[-1]}   {word}".strip()
        if draw.textlength(longer, font=font) > LABEL_WIDTH_PX - 14 and lines[-1]:  # type: ignore[arg-type]
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
