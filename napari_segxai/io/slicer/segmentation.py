"""Segmentations as 3D Slicer keeps them: .seg.nrrd, layers of numbers whose names and colours stand in the header.

pynrrd, and slicerio with it, write ASCII alone and take a line break in a name for the next field; labels are called
"Größe", too. So the header is written here, as the format says it: UTF-8, with breaks and backslashes escaped.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_segxai.core.errors import UserError
from napari_segxai.io.saving import replacing

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

MOST = 65535
"""Segments of one layer."""

FAST = 1
"""How hard zlib tries: segments are mostly runs of one number, and a higher level takes ten times as long."""


@dataclass(frozen=True)
class Segment:
    """A segment.

    Attributes
    ----------
    name
        As it is shown.
    color
        Red, green, blue, each in [0, 1].
    shown
        Whether a script that opens it shows it at first.
    """

    name: str
    color: tuple[float, float, float]
    shown: bool = True


@dataclass(frozen=True)
class Layer:
    """Segments that do not overlap.

    Attributes
    ----------
    values
        Whole numbers from 0, which is nothing, on the grid of the file.
    segments
        By their number; one that occurs nowhere is empty.
    """

    values: np.ndarray
    segments: Mapping[int, Segment]


def packed(masks: Iterable[tuple[np.ndarray, Segment]]) -> list[Layer]:
    """Put masks that may overlap into few layers: each into the first in which its place is free."""
    layers: list[tuple[np.ndarray, dict[int, Segment]]] = []
    for mask, segment in masks:
        mask = np.asarray(mask, bool)
        free = next((one for one in layers if len(one[1]) < MOST and not one[0][mask].any()), None)
        if free is None:
            free = np.zeros(mask.shape, np.uint16), {}
            layers.append(free)
        number = len(free[1]) + 1
        free[0][mask] = number
        free[1][number] = segment
    return [Layer(values, segments) for values, segments in layers]


def segment_ids(layers: Iterable[Layer]) -> Iterator[tuple[str, Segment]]:
    """Yield every segment with the ID that it has in the file."""
    for number, segment in enumerate(one for layer in layers for one in layer.segments.values()):
        yield f"segment_{number}", segment


def write_segmentation(path: Path, layers: Sequence[Layer], affine: np.ndarray) -> Path:
    """Write a .seg.nrrd.

    Parameters
    ----------
    path
        Ends with .seg.nrrd.
    layers
        One, or several of one shape, (i, j, k).
    affine
        4x4, from indices to RAS+ millimetres.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    shape = layers[0].values.shape
    if any(layer.values.shape != shape for layer in layers) or len(shape) != 3:
        raise UserError(f"{path}: the layers of a segmentation have one grid of three axes.")
    kind = np.dtype(np.uint8 if max(max(layer.segments, default=0) for layer in layers) < 256 else "<u2")
    with replacing(path) as beside, open(beside, "wb") as file:
        file.write(_header(layers, shape, kind, RAS_TO_LPS @ affine).encode())
        packer = zlib.compressobj(FAST, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        for k in range(shape[2]):  # a slice of all layers at once: layers vary fastest, then i, j, k
            slab = np.stack([layer.values[:, :, k].T for layer in layers], axis=-1)
            file.write(packer.compress(np.ascontiguousarray(slab, kind).data))
        file.write(packer.flush())
    return path


def _header(layers: Sequence[Layer], shape: Sequence[int], kind: np.dtype, lps: np.ndarray) -> str:
    """Return the header, with the empty line that ends it."""
    several = len(layers) > 1
    sizes = [len(layers)] * several + list(shape)
    columns = " ".join(_vector(lps[:3, k]) for k in range(3))
    lines = [
        "NRRD0004",
        f"type: {'unsigned char' if kind.itemsize == 1 else 'unsigned short'}",
        f"dimension: {len(sizes)}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, sizes))}",
        f"space directions: {'none ' * several}{columns}",
        f"kinds: {'list ' * several}domain domain domain",
        *(["endian: little"] if kind.itemsize > 1 else []),
        "encoding: gzip",
        f"space origin: {_vector(lps[:3, 3])}",
    ]
    fields = {
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|Closed surface|",
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    # Slicer reads a whole layer in the extent of its first segment: it has to be that of all of them.
    extent = " ".join(f"0 {n - 1}" for n in shape)
    number = 0
    for position, layer in enumerate(layers):
        for value, segment in layer.segments.items():
            own = {
                "ID": f"segment_{number}",
                "Name": segment.name,
                "NameAutoGenerated": "0",
                "Color": " ".join(f"{part:.6g}" for part in segment.color),
                "ColorAutoGenerated": "0",
                "Layer": str(position),
                "LabelValue": str(value),
                "Extent": extent,
                "Tags": "|",
            }
            fields |= {f"Segment{number}_{key}": text for key, text in own.items()}
            number += 1
    lines += [f"{key}:={_escaped(text)}" for key, text in fields.items()]
    return "\n".join(lines) + "\n\n"


def _vector(values: np.ndarray) -> str:
    return f"({','.join(repr(float(value)) for value in values)})"


def _escaped(text: str) -> str:
    """Return a value on one line: what else would end it is escaped, and what is no text replaced."""
    plain = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
    plain = plain.replace("\\", "\\\\").replace("\n", "\\n")
    return plain.encode("utf-8", "replace").decode()
