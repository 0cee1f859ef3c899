"""Synthetic crops with known duplicates of every kind, for the benchmarks of the audit.

``make_planted`` renders distinct crops and one duplicate of each: rotated or flipped, in another file type,
re-compressed, resized, in another light, shifted, cropped, or a moment later. A scene is rendered larger
than the crop, so that a shifted duplicate shows what stands beside it. One of the eight symmetries is
applied to every duplicate too.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from georgia.images.symmetry import SYMMETRIES
from georgia.synthetic import render_crop, render_frame
from georgia.synthetic.optics import sample_size

Pixels = npt.NDArray[np.uint8]
Rng = np.random.Generator
EXACT = ("rotated", "file type")
NEAR = ("jpeg", "resized", "light", "shifted", "cropped", "next frame", "all at once")
KINDS = (*EXACT, *NEAR)
# The scene's margin on each side, as a fraction of the crop: room for a shift of 20 %.
_MARGIN = 0.22


@dataclass(frozen=True)
class Planted:
    """One image as a file: its bytes, the number of its scene, its kind ("" for an original)."""

    data: bytes
    suffix: str
    scene: int
    kind: str
    symmetry: int


def make_planted(n_scenes: int, seed: int, is_rotated: bool = True) -> Iterator[Planted]:
    """Yield each scene's crop and one duplicate of it, kind after kind.

    Without ``is_rotated`` all duplicates stand upright, as other tools expect them.
    """
    for scene in range(n_scenes):
        rng = np.random.default_rng(np.random.SeedSequence([seed, scene]))
        height, width = sample_size(rng)
        top, left = round(_MARGIN * height), round(_MARGIN * width)
        class_name = ("CEX", "PG")[int(rng.integers(2))]
        whole = render_crop(class_name, rng, (height + 2 * top, width + 2 * left)).image[:, :, 0]
        view = View(whole, top, left, height, width)
        yield Planted(encode(view.cut(), ".png"), ".png", scene, "", 0)
        # One number that nothing uses, so that numbers published before stay the same.
        rng.random()
        kind = KINDS[scene % len(KINDS)]
        symmetry = 1 + int(rng.integers(7)) if kind == "rotated" else int(rng.integers(8))
        symmetry *= is_rotated
        pixels = SYMMETRIES[symmetry].apply(CHANGES[kind](view, rng))
        suffix = encode_as(kind, rng)
        yield Planted(encode(pixels, suffix), suffix, scene, kind, symmetry)


@dataclass(frozen=True)
class PlantedFile:
    """A planted image on disk."""

    path: Path
    scene: int
    kind: str
    symmetry: int


def write_planted(planted: Iterable[Planted], folder: Path) -> list[PlantedFile]:
    """Write images as files and return them in order; an original comes before its duplicate."""
    files = []
    for item in planted:
        path = folder / f"{item.scene:06d}{'b' if item.kind else 'a'}{item.suffix}"
        path.write_bytes(item.data)
        files.append(PlantedFile(path, item.scene, item.kind, item.symmetry))
    return files


def write_tiles(n_tiles: int, seed: int, folder: Path, side_px: int) -> None:
    """Write square tiles of synthetic frames; three in ten are duplicates, rotated, in another light."""
    number = frame = 0
    while True:
        image = render_frame(np.random.SeedSequence([seed, frame])).image[:, :, 0]
        rng = np.random.default_rng(np.random.SeedSequence([seed, frame, 1]))
        frame += 1
        for top in range(0, image.shape[0] - side_px + 1, side_px):
            for left in range(0, image.shape[1] - side_px + 1, side_px):
                tile = np.ascontiguousarray(image[top : top + side_px, left : left + side_px])
                versions = [tile, change_light(SYMMETRIES[int(rng.integers(8))].apply(tile), rng)]
                for pixels in versions[: 1 + (rng.random() < 3 / 7)]:
                    (folder / f"{number:06d}.png").write_bytes(encode(pixels, ".png"))
                    number += 1
                    if number == n_tiles:
                        return


@dataclass(frozen=True)
class View:
    """A crop's place within its larger scene, px."""

    whole: Pixels
    top: int
    left: int
    height: int
    width: int

    def cut(self, down: int = 0, right: int = 0) -> Pixels:
        """Return the crop (H, W), moved by some px."""
        top, left = self.top + down, self.left + right
        return np.ascontiguousarray(self.whole[top : top + self.height, left : left + self.width])


def _resize(view: View, rng: Rng) -> Pixels:
    grey = view.cut()
    if rng.random() < 0.3:
        size = (224, 224)
    else:
        scale = float(np.exp(rng.uniform(np.log(0.5), np.log(2.0))))
        size = (round(view.width * scale), round(view.height * scale))
    method = cv2.INTER_AREA if size[0] < view.width else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(grey, size, interpolation=method), np.uint8)


def change_light(grey: Pixels, rng: Rng) -> Pixels:
    """Change contrast by 0.6–1.5, brightness by up to 40 grey levels and gamma by 0.7–1.4; clip."""
    light = 255 * (grey / 255.0) ** rng.uniform(0.7, 1.4)
    light = (light - light.mean()) * rng.uniform(0.6, 1.5) + light.mean() + rng.uniform(-40, 40)
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)


def _shift(view: View, rng: Rng) -> Pixels:
    """Move the view by up to 20 % each way, at least one of them by 5 % or more."""
    while True:
        down, right = rng.uniform(-0.2, 0.2, 2)
        if max(abs(down), abs(right)) >= 0.05:
            return view.cut(round(down * view.height), round(right * view.width))


def crop_image(grey: Pixels, rng: Rng) -> Pixels:
    """Keep 80–100 % of each side, anywhere; half of them enlarged to the old size."""
    height, width = grey.shape
    kept_height, kept_width = (round(side * rng.uniform(0.8, 0.97)) for side in (height, width))
    top, left = int(rng.integers(height - kept_height + 1)), int(rng.integers(width - kept_width + 1))
    part = np.ascontiguousarray(grey[top : top + kept_height, left : left + kept_width])
    if rng.random() < 0.5:
        return np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    return part


def _next_frame(view: View, rng: Rng) -> Pixels:
    """Move by 1–8 px, with new noise of 1–4 grey levels and 5 % more or less light."""
    down, right = (int(rng.choice([-1, 1])) * int(rng.integers(1, 9)) for _ in range(2))
    light = view.cut(down, right) * rng.uniform(0.95, 1.05)
    light = light + rng.normal(0, rng.uniform(1, 4), light.shape)
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)


def _all_at_once(view: View, rng: Rng) -> Pixels:
    """Crop, other light and JPEG together."""
    return pack(change_light(crop_image(view.cut(), rng), rng), int(rng.integers(50, 90)))


def pack(grey: Pixels, quality: int) -> Pixels:
    """Return an image after JPEG."""
    data = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


CHANGES: dict[str, Callable[[View, Rng], Pixels]] = {
    "rotated": lambda view, rng: view.cut(),
    "file type": lambda view, rng: view.cut(),
    "jpeg": lambda view, rng: pack(view.cut(), int(rng.integers(30, 91))),
    "resized": _resize,
    "light": lambda view, rng: change_light(view.cut(), rng),
    "shifted": _shift,
    "cropped": lambda view, rng: crop_image(view.cut(), rng),
    "next frame": _next_frame,
    "all at once": _all_at_once,
}
_TYPES = (".16.tif", ".16.png", ".rgb.png", ".rgba.png", ".bmp", ".webp", ".palette.png", ".tif")


def encode_as(kind: str, rng: Rng) -> str:
    """Return the file type of a duplicate: any for the kind that is about it."""
    return _TYPES[int(rng.integers(len(_TYPES)))] if kind == "file type" else ".png"


def encode(grey: Pixels, suffix: str) -> bytes:
    """Return a grey image (H, W) as a file; the suffix says mode and bit depth too."""
    stream = io.BytesIO()
    if ".16." in suffix:
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    elif ".rgb" in suffix:
        image = Image.fromarray(grey).convert("RGBA" if "rgba" in suffix else "RGB")
    elif ".palette" in suffix:
        image = Image.fromarray(grey).convert("P")
    else:
        image = Image.fromarray(grey)
    kind = {"tif": "TIFF", "png": "PNG", "bmp": "BMP", "webp": "WEBP"}[suffix.rsplit(".", 1)[1]]
    options = {"WEBP": {"lossless": True}, "PNG": {"compress_level": 1}}.get(kind, {})
    image.save(stream, kind, **options)
    return stream.getvalue()
