"""The Triangle data set: three pieces of clothing are an object only because of how they lie to each other.

After Hasany et al. (MiSuRe, 2024), who took the idea from Riva et al. (2022): Fashion-MNIST items lie on a
black canvas; three of them, at three corners of an upright square, form a right-angled triangle and are the
object. Further items of the same classes lie around as distractors. No item looks like the object, so a
network can only find it by the relation between the items.

The original canvas has 224 pixels, items of 28 and a square of 100. The defaults here are half of that
(112, 14 and 50), so that a network learns it in minutes on two cores. Where the original leaves overlaps and
second triangles to chance, here no two items overlap, and no item other than the object's right-angled one
has neighbours at (nearly) the two distances of the object.
"""

from __future__ import annotations

import gzip
import zipfile
import zlib
from pathlib import Path

import numpy as np

from napari_segxai.core.errors import UserError

CLASSES = {0: "T-shirt", 1: "trouser", 8: "bag"}
"""The classes of Fashion-MNIST that are used, as in Riva et al."""

PARTS = ("train", "held-out")
GLYPH = 28


def triangle_layout(
    rng: np.random.Generator,
    size: int = 112,
    item: int = 14,
    leg: int = 50,
    distractors: tuple[int, int] = (3, 5),
    tolerance: int = 4,
    complete: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Place the items of one image.

    Parameters
    ----------
    rng
        Source of chance.
    size, item, leg
        Size in pixels of the canvas and of an item, and length of the triangle's two short sides.
    distractors
        Smallest and largest number of distractors.
    tolerance
        Items that lie this near to the corner of a second triangle count as one, and are not placed.
    complete
        False for a canvas without an object: two corners of a triangle, and one distractor more.

    Returns
    -------
    corners, others
        Upper left pixels (row, column) of the object's items, (3, 2) with the right angle first or (0, 2),
        and of the distractors, (n, 2).
    """
    if item < 1 or leg < item or size < leg + item or distractors[0] > distractors[1] or distractors[0] < 0:
        raise UserError(
            f"A canvas of {size} pixels has no room for items of {item} pixels with a distance of {leg} and "
            f"{distractors} distractors; use a size of at least leg + item and a leg of at least one item."
        )
    for _ in range(200):
        anchor = rng.integers(0, size - leg - item + 1, size=2)
        ring = anchor + leg * np.array([(0, 0), (0, 1), (1, 1), (1, 0)])
        vertex = rng.integers(4)
        placed = ring[[vertex, vertex - 1, (vertex + 1) % 4]]
        count = int(rng.integers(distractors[0], distractors[1] + 1))
        if not complete:
            placed = np.delete(placed, rng.integers(3), axis=0)
            count += 1
        first = len(placed)
        for _ in range(200):
            if len(placed) == first + count:
                break
            place = rng.integers(0, size - item + 1, size=2)
            if (np.abs(placed - place).max(axis=1) >= item).all():
                placed = np.vstack([placed, place])
        if len(placed) == first + count and _right_angles(placed, leg, tolerance) == int(complete):
            return (placed[:3], placed[3:]) if complete else (placed[:0], placed)
    raise UserError(
        f"{count} distractors of {item} pixels find no room on a canvas of {size} pixels; "
        "use fewer or smaller ones."
    )


def _right_angles(places: np.ndarray, leg: int, tolerance: int) -> int:
    """Count the places that have one neighbour at a distance of `leg` along each axis."""
    rows, columns = (np.abs(places[:, None, k] - places[None, :, k]) for k in (0, 1))
    vertical = (np.abs(rows - leg) <= tolerance) & (columns <= tolerance)
    horizontal = (np.abs(columns - leg) <= tolerance) & (rows <= tolerance)
    return int((vertical.any(axis=1) & horizontal.any(axis=1)).sum())


def triangle_sample(
    glyphs: np.ndarray,
    rng: np.random.Generator,
    size: int = 112,
    item: int = 14,
    leg: int = 50,
    distractors: tuple[int, int] = (3, 5),
    tolerance: int = 4,
    complete: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one image of the Triangle data set.

    Parameters
    ----------
    glyphs
        Items to choose from, uint8 (n, 28, 28), see `load_glyphs`.
    rng, size, item, leg, distractors, tolerance, complete
        See `triangle_layout`. A glyph is shrunk to `item` pixels, a divisor of its size, by averaging.

    Returns
    -------
    image
        uint8 (size, size), 0 where no item lies.
    truth
        bool (size, size), True at the non-zero pixels of the three items of the triangle.
    """
    square = glyphs.ndim == 3 and len(glyphs) and glyphs.shape[1] == glyphs.shape[2]
    if not square or item < 1 or glyphs.shape[1] % item:
        raise UserError(
            f"Glyphs of shape {glyphs.shape} cannot be shrunk to {item} pixels; give a stack of square "
            "glyphs and an item size that divides theirs."
        )
    corners, others = triangle_layout(rng, size, item, leg, distractors, tolerance, complete)
    places = np.concatenate([corners, others])
    factor = glyphs.shape[1] // item
    chosen = glyphs[rng.integers(len(glyphs), size=len(places))].astype(float)
    items = np.rint(chosen.reshape(-1, item, factor, item, factor).mean(axis=(2, 4))).astype(np.uint8)
    image = np.zeros((size, size), np.uint8)
    truth = np.zeros((size, size), bool)
    for k, (row, column) in enumerate(places):
        box = np.s_[row : row + item, column : column + item]
        image[box] = items[k]
        if k < len(corners):
            truth[box] = items[k] > 0
    return image, truth


CONCEPTS = ("item", "object", *CLASSES.values())
"""Concepts of an image: every item, those of the triangle, and those of each class."""


def triangle_concepts(
    glyphs: np.ndarray,
    classes: np.ndarray,
    rng: np.random.Generator,
    size: int = 112,
    item: int = 14,
    leg: int = 50,
    distractors: tuple[int, int] = (3, 5),
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draw one image, and tell what each of its items is and which role it plays.

    Parameters
    ----------
    glyphs, classes
        Items to choose from, uint8 (n, 28, 28), and the class of each, (n,).
    rng, size, item, leg, distractors
        See `triangle_layout`.

    Returns
    -------
    image
        uint8 (size, size).
    masks
        bool (size, size) by the name of the concept, see `CONCEPTS`: what an item is can be seen of it alone, whether it is one of the object only
        from how it lies to the others.
    """
    corners, others = triangle_layout(rng, size, item, leg, distractors)
    places = np.concatenate([corners, others])
    chosen = rng.integers(len(glyphs), size=len(places))
    factor = glyphs.shape[1] // item
    small = glyphs[chosen].astype(float).reshape(-1, item, factor, item, factor).mean(axis=(2, 4))
    image = np.zeros((size, size), np.uint8)
    masks = {name: np.zeros((size, size), bool) for name in CONCEPTS}
    for k, (row, column) in enumerate(places):
        box = np.s_[row : row + item, column : column + item]
        image[box] = np.rint(small[k])
        names = ["item", CLASSES[int(classes[chosen[k]])], *(["object"] if k < len(corners) else [])]
        for name in names:
            masks[name][box] = image[box] > 0
    return image, masks


def load_glyphs(path: str | Path, part: str = "train") -> np.ndarray:
    """Read the items to build the images from.

    Parameters
    ----------
    path
        The glyph sheet of the sample data (``glyphs.npz``), or the folder of the complete Fashion-MNIST in
        IDX files (``train-images-idx3-ubyte`` and so on, with or without ``.gz``).
    part
        "train" or "held-out"; these are items of Fashion-MNIST's own training and test part.

    Returns
    -------
    numpy.ndarray
        uint8 (n, 28, 28), the items of the classes in `CLASSES`.

    Raises
    ------
    UserError
        If the files are missing or broken.
    """
    path = Path(path)
    if part not in PARTS:
        raise UserError(f"There is no part {part!r} of the glyphs; use 'train' or 'held-out'.")
    if path.is_dir():
        images, labels = read_idx_folder(path, part)
    else:
        images, labels = _read_sheet(path, part)
    images = images[np.isin(labels, list(CLASSES))]
    if not len(images):
        raise UserError(f"{path}: holds no T-shirt, trouser or bag in its part {part!r}.")
    return images


def _read_sheet(path: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as sheet:
            images, labels, held_out = (sheet[key] for key in ("images", "labels", "held_out"))
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such glyph sheet or folder.") from None
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise UserError(f"{path}: not a glyph sheet with images, labels and held_out ({error}).") from None
    if images.dtype != np.uint8 or images.shape[1:] != (GLYPH, GLYPH) or labels.shape != images.shape[:1]:
        raise UserError(f"{path}: a glyph sheet has uint8 images of 28x28 pixels and a label for each.")
    if held_out.dtype != bool or held_out.shape != labels.shape:
        raise UserError(f"{path}: a glyph sheet says for each image whether it is held out.")
    chosen = held_out == (part == "held-out")
    return images[chosen], labels[chosen]


def read_idx_folder(folder: str | Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Read images and labels of one part of a data set in MNIST's IDX files.

    Returns
    -------
    images, labels
        uint8 (n, 28, 28) and uint8 (n,).

    Raises
    ------
    UserError
        If a file is missing or broken, or the two do not fit each other.
    """
    prefix = "t10k" if part == "held-out" else "train"
    images = _read_idx(Path(folder), f"{prefix}-images-idx3-ubyte", 3)
    labels = _read_idx(Path(folder), f"{prefix}-labels-idx1-ubyte", 1)
    if images.shape[1:] != (GLYPH, GLYPH):
        raise UserError(
            f"{folder}: images of {images.shape[1]}x{images.shape[2]} pixels; they should have 28x28."
        )
    if len(images) != len(labels):
        raise UserError(f"{folder}: {len(images)} images but {len(labels)} labels of part {part!r}.")
    return images, labels


def _read_idx(folder: Path, name: str, ndim: int) -> np.ndarray:
    """Read a file of unsigned bytes: 0, 0, type 8, number of axes, big-endian sizes, data."""
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise UserError(f"{folder}: holds neither {name} nor {name}.gz.")
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be unpacked ({error}).") from None
    if len(data) < 4 + 4 * ndim or data[:4] != bytes([0, 0, 8, ndim]):
        raise UserError(f"{path}: not an IDX file of bytes with {ndim} axes (wrong magic number).")
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", count=ndim, offset=4))
    expected = 4 + 4 * ndim + int(np.prod(shape, dtype=object))
    if len(data) != expected:
        raise UserError(f"{path}: has {len(data)} bytes where its header promises {expected}.")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * ndim).reshape(shape)
