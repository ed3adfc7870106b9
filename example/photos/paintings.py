"""Turning a photograph into a painting, tile by tile, with Pillow.

The brush is a Kuwahara filter: each point takes the mean colour of the calmest of the four squares
that meet at it, which wipes out texture and keeps edges, as the strokes of a brush do.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from django.conf import settings
from django.urls import reverse
from PIL import Image, ImageChops, ImageEnhance, ImageFilter, ImageOps

Box = tuple[int, int, int, int]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
COLUMNS, ROWS = 8, 5
LARGEST, SMALLEST = 2400, 1000
"""The longer side of a painting, in pixels: larger photographs are reduced, smaller ones enlarged."""
PREVIEW, THUMBNAIL = 720, 480


class Painting:
    """The painting of one photograph; its files lie in a folder of their own below MEDIA_ROOT."""

    def __init__(self, photo: str) -> None:
        self.photo = photo
        self.folder: Path = settings.MEDIA_ROOT / photo

    def save_original(self, chunks: Iterable[bytes]) -> None:
        """Keep the photograph as it was handed in."""
        self.folder.mkdir(parents=True)
        with (self.folder / "original").open("wb") as file:
            file.writelines(chunks)

    @cached_property
    def tiles(self) -> list[Box]:
        """The boxes to paint, row by row."""
        width, height = self._photograph.size
        xs = [width * column // COLUMNS for column in range(COLUMNS + 1)]
        ys = [height * row // ROWS for row in range(ROWS + 1)]
        return [(xs[x], ys[y], xs[x + 1], ys[y + 1]) for y in range(ROWS) for x in range(COLUMNS)]

    def paint(self, tile: Box) -> str:
        """Paint one tile; return the address of a preview that shows it."""
        left, top, right, bottom = tile
        margin = self._margin
        surroundings = self._primed.crop((left, top, right + 2 * margin, bottom + 2 * margin))
        inner = (margin, margin, margin + right - left, margin + bottom - top)
        self._canvas.paste(brush(surroundings, self._radius).crop(inner), (left, top))
        return f"{self._save('preview.jpg', PREVIEW)}?{self.tiles.index(tile) + 1}"

    def finish(self) -> dict[str, str]:
        """Save the painting; return the addresses of its thumbnail and of the whole."""
        return {"thumbnail": self._save("thumbnail.jpg", THUMBNAIL), "painting": self._save("painting.jpg", LARGEST)}

    @cached_property
    def _photograph(self) -> Image.Image:
        picture = upright(self.folder / "original")
        longer = max(picture.size)
        scale = min(LARGEST, max(SMALLEST, longer)) / longer
        return picture.resize((max(COLUMNS, round(picture.width * scale)), max(ROWS, round(picture.height * scale))))

    @cached_property
    def _canvas(self) -> Image.Image:
        """Begins as a pale, grey print of the photograph."""
        grey = ImageOps.grayscale(self._photograph).point(lambda value: 110 + value * 0.5)
        return grey.convert("RGB")

    @cached_property
    def _primed(self) -> Image.Image:
        """The photograph with a margin, for strokes that begin outside it."""
        margin, (width, height) = self._margin, self._photograph.size
        primed = self._photograph.resize((width + 2 * margin, height + 2 * margin))
        primed.paste(self._photograph, (margin, margin))
        return primed

    @property
    def _radius(self) -> int:
        return max(2, max(self._photograph.size) // 190)

    @property
    def _margin(self) -> int:
        return 4 * self._radius

    def _save(self, name: str, size: int) -> str:
        """Write a copy in one step, so that nobody is served half a file; return its address."""
        picture = self._canvas.copy()
        picture.thumbnail((size, size))
        draft = self.folder / f"{name}.draft"
        picture.save(draft, "JPEG", quality=86)
        draft.replace(self.folder / name)
        return reverse("media", args=(self.photo, name))


def upright(file: Path | BinaryIO) -> Image.Image:
    """The picture in `file` as a camera's owner sees it: turned upright, in RGB, on white."""
    with Image.open(file, formats=FORMATS) as picture:
        turned = ImageOps.exif_transpose(picture).convert("RGBA")
    white = Image.new("RGBA", turned.size, "white")
    return Image.alpha_composite(white, turned).convert("RGB")


def brush(picture: Image.Image, radius: int) -> Image.Image:
    """Paint over `picture` with broad strokes, then with fine ones."""
    painted = _strokes(_strokes(picture, radius), max(1, radius // 2))
    vivid = ImageEnhance.Color(painted).enhance(1.22)
    return vivid.filter(ImageFilter.UnsharpMask(radius=2, percent=60, threshold=2))


def _strokes(picture: Image.Image, radius: int) -> Image.Image:
    """The Kuwahara filter; every step is one pass of Pillow over all points."""
    light = picture.convert("L")
    blur = ImageFilter.BoxBlur(radius)
    mean = picture.filter(blur)
    unrest = ImageChops.difference(light, light.filter(blur)).filter(blur).point(lambda value: min(255, value * 4))
    corners = [(x, y) for x in (-radius, radius) for y in (-radius, radius)]
    best, least = _moved(mean, unrest, corners[0])
    for corner in corners[1:]:
        colour, restless = _moved(mean, unrest, corner)
        calmer = ImageChops.subtract(least, restless).point(lambda value: 255 if value else 0)
        best = Image.composite(colour, best, calmer)
        least = ImageChops.darker(least, restless)
    return best


def _moved(mean: Image.Image, unrest: Image.Image, by: tuple[int, int]) -> tuple[Image.Image, Image.Image]:
    return ImageChops.offset(mean, *by), ImageChops.offset(unrest, *by)
