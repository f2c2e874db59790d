"""Galleries in and out of folders of results: a TIFF each, with a page for every picture, raw; the record says the rest."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_segxai.core.errors import reason_of
from napari_segxai.core.gallery import Gallery, Picture
from napari_segxai.io.names import file_names
from napari_segxai.io.results import Saved

LARGEST = 1 << 26
"""Bytes that a picture of a gallery may have."""


def write_galleries(
    folder: Path, galleries: Sequence[Gallery], taken: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Write the pictures of galleries as `pictures_NAME.tif`.

    Parameters
    ----------
    folder
        Where to.
    taken
        File names, without endings, that belong to something else.

    Returns
    -------
    list of dict
        What a record says of each, with its `file`, without ending.
    """
    import tifffile

    files = file_names([("pictures", one.name) for one in galleries], taken=taken)
    out = []
    for gallery in galleries:
        file = files["pictures", gallery.name]
        if gallery.pictures:
            with tifffile.TiffWriter(folder / f"{file}.tif") as writer:
                for picture in gallery.pictures:
                    colors: Any = "minisblack" if picture.values.ndim == 2 else "rgb"
                    writer.write(picture.values, photometric=colors, metadata=None, contiguous=False)
        out.append({**gallery.as_json(), "file": file})
    return out


def read_galleries(saved: Saved, told: Sequence[Mapping[str, Any]], below: str = "") -> tuple[Gallery, ...]:
    """Return the galleries that `write_galleries` wrote.

    Parameters
    ----------
    told
        What it returned.
    below
        Beginning of the names of their files.
    """
    out = []
    for one in told:
        about = one["pictures"]
        pages = _pages(saved.file(f"{below}{one['file']}.tif")) if about else []
        whole: list[dict[str, Any]] = [
            {**facts, "values": values} for facts, values in zip(about, pages, strict=True)
        ]
        pictures = [Picture(**own) for own in whole]
        out.append(Gallery(one["name"], one["title"], tuple(pictures), one["caption"]))
    return tuple(out)


def _pages(path: Path) -> list[np.ndarray]:
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            if any(page.nbytes > LARGEST for page in file.pages):
                raise ValueError("its pictures are too large")
            return [page.asarray() for page in file.pages]
    except Exception as reason:  # the decoder raises whatever it likes
        raise ValueError(f"{path.name}: {reason_of(reason)}") from reason
