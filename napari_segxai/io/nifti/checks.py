"""What must hold before the data of a volume are read, and what to say when it does not.

Every function raises `UserError` with one sentence that names the file, the reason and what would be right.
"""

from __future__ import annotations

import contextlib
import gzip
import math
import warnings
import zlib
from collections.abc import Generator, Sequence
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.freesurfer.mghformat import MGHHeader
from nibabel.spatialimages import HeaderDataError

from napari_segxai.core.errors import UserError
from napari_segxai.core.memory import machine_memory
from napari_segxai.core.orientation import corner_distance

LARGEST = 2**40
"""No file with more bytes of data than this is opened."""

TINIEST = 1e-9
"""No voxel is smaller than this, in the units of the file; a smaller one is a damaged header."""

LARGEST_CODE = 5
"""Of the spaces that an sform or qform may name."""

DEFLATE = 1032
"""gzip makes nothing smaller than this many times."""

MILLIMETRES = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}
"""The spatial units of NIfTI, by their code."""

DAMAGE = (
    OSError,
    EOFError,
    zlib.error,
    ValueError,
    OverflowError,
    ImageFileError,
    HeaderDataError,
)
"""What reading a damaged file can raise."""

_NAMES = {32: "complex64", 1792: "complex128", 2048: "complex256", 0: "unknown", 1: "one bit per voxel"}


def pair(path: Path) -> tuple[Path, Path]:
    """Return the files that hold the header and the data; they are the same but for .hdr/.img."""
    suffix = path.suffix.lower()
    if suffix not in (".hdr", ".img"):
        return path, path
    other = ".img" if suffix == ".hdr" else ".hdr"
    other = other.upper() if path.suffix.isupper() else other
    return (path, path.with_suffix(other)) if suffix == ".hdr" else (path.with_suffix(other), path)


def check_exists(file: Path, *, asked: Path) -> None:
    """Check that a file can be opened and is not empty; `asked` is the file that the user named."""
    try:
        if file.is_dir():
            raise UserError(f"{file}: is a folder; name one image file in it.")
        size = file.stat().st_size
    except FileNotFoundError:
        if file != asked:
            raise UserError(
                f"{asked}: its other half, {file.name}, is missing; keep both in one folder."
            ) from None
        raise UserError(f"{file}: there is no such file; check the path.") from None
    except OSError as error:
        raise UserError(
            f"{file}: cannot be opened ({error.strerror}); check the path and permissions."
        ) from None
    if not size:
        raise UserError(f"{file}: is empty (0 bytes); copy or export it again.")


@contextlib.contextmanager
def opened(file: Path) -> Generator[BufferedIOBase]:
    """Open a file for reading, through gzip when its name says so."""
    packed = file.suffix.lower() in (".gz", ".mgz")
    with open(file, "rb") as raw:
        is_gzip = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if packed and not is_gzip:
            plain = ".mgh" if file.suffix.lower() == ".mgz" else ".nii"
            raise UserError(
                f"{file}: is not compressed with gzip although its name says so; "
                f"if it is a plain image, name it {plain}, else copy or download it again."
            )
        if is_gzip and not packed:
            right = ".mgz" if file.suffix.lower() == ".mgh" else f"{file.suffix}.gz"
            raise UserError(f"{file}: is compressed with gzip; name it {right} (or unpack it).")
        if not packed:
            yield raw
        else:
            with gzip.GzipFile(fileobj=raw) as stream:
                yield stream


def nifti_class(path: Path, head: bytes, *, paired: bool) -> Any:
    """Return nibabel's class for the header that the first bytes of a file hold."""
    sizes = {int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")}
    if 348 in sizes and len(head) >= 348:
        magic, single, pair, classes = head[344:348], b"n+1\0", b"ni1\0", (nib.Nifti1Image, nib.Nifti1Pair)
    elif 540 in sizes and len(head) >= 540:
        magic, single, pair, classes = head[4:8], b"n+2\0", b"ni2\0", (nib.Nifti2Image, nib.Nifti2Pair)
    elif sizes & {348, 540}:
        raise UserError(f"{path}: ends within its header ({len(head)} bytes); copy or download it again.")
    elif not path.suffix.lower().startswith(".n") or path.name.lower().endswith(".gz"):
        raise UserError(f"{path}: holds no NIfTI header; convert the image to NIfTI (.nii or .nii.gz).")
    else:
        text = " (it looks like text)" if head[:64].isascii() and head[:64].decode().isprintable() else ""
        raise UserError(f"{path}: holds no NIfTI header{text}; convert the image to NIfTI (.nii or .nii.gz).")
    if magic == (pair if paired else single):
        return classes[int(paired)]
    if paired and magic == single:
        raise UserError(f"{path}: is a NIfTI file in one piece; name it .nii.")
    if not paired and magic == pair:
        raise UserError(f"{path}: is the header of a NIfTI pair; name it .hdr and keep its .img beside it.")
    if paired:
        raise UserError(
            f"{path}: is an Analyze 7.5 file, which does not say left from right; convert it to NIfTI "
            "(.nii.gz)."
        )
    raise UserError(
        f"{path}: has the magic string {magic!r} and not {single!r}; convert the image to NIfTI again."
    )


def parse_header(path: Path, klass: Any, head: bytes) -> Any:
    """Return the first bytes of a file as nibabel's header, unchanged."""
    if klass is nib.MGHImage:
        if len(head) < 284 or int.from_bytes(head[:4], "big") != 1:
            raise UserError(f"{path}: holds no FreeSurfer header; convert the image to NIfTI (.nii.gz).")
        return klass.header_class(head[:90], check=False)
    size = klass.header_class.sizeof_hdr
    order = "<" if int.from_bytes(head[:4], "little") == size else ">"
    return klass.header_class(head[:size], endianness=order, check=False)


def check_sizes(path: Path, header: Any, data_file: Path, largest: int = LARGEST) -> tuple[int, ...]:
    """Return the shape that the file states, if the file can hold it and the memory suffices."""
    freesurfer = isinstance(header, MGHHeader)
    if freesurfer:
        code, offset = int(header["type"]), 284
        shape = tuple(int(n) for n in header["dims"])
    else:
        code, offset = int(header["datatype"]), float(header["vox_offset"])
        count = int(header["dim"][0])
        if not 1 <= count <= 7:
            raise UserError(f"{path}: its header speaks of {count} dimensions; a NIfTI file has 1 to 7.")
        shape = tuple(int(n) for n in header["dim"][1 : count + 1])
    if min(shape) < 1:
        raise UserError(f"{path}: its header gives the shape {shape}; every dimension must be at least 1.")
    try:
        dtype = np.dtype(header._data_type_codes.dtype[code])
    except KeyError:
        raise UserError(
            f"{path}: data type code {code} is unknown; convert the image to float32 or int16."
        ) from None
    if dtype.kind == "c":
        raise UserError(
            f"{path}: complex intensities ({_NAMES.get(code, dtype)}) cannot be used; save the magnitude."
        )
    if (dtype.kind == "V" and not dtype.names) or dtype.itemsize == 0:
        raise UserError(
            f"{path}: the data type {_NAMES.get(code, code)} is not supported; convert the image to float32 "
            "or int16."
        )
    squeezed = trim(shape)
    if len(squeezed) > (4 if dtype.names else 5):
        cifti = not freesurfer and 3000 <= int(header["intent_code"]) < 3100
        more = (
            "this is a CIFTI file of surface data" if cifti else "a volume has three, and time and channels"
        )
        raise UserError(f"{path}: shape {shape} has too many dimensions; {more}.")
    size = math.prod(shape) * dtype.itemsize
    if size > largest:
        raise UserError(f"{path}: its header asks for {_bytes(size)} of data, shape {shape}; is it damaged?")
    if not (math.isfinite(offset) and offset >= 0 and offset == int(offset)):
        raise UserError(f"{path}: its header says that the data begin at byte {offset}; is it damaged?")
    start = (
        int(offset) if freesurfer or offset or data_file.suffix.lower() == ".img" else header.sizeof_hdr + 4
    )
    on_disk = data_file.stat().st_size
    room = on_disk * (DEFLATE if data_file.suffix.lower() in (".gz", ".mgz") else 1)
    if start + size > room:
        raise UserError(
            f"{path}: is truncated: shape {shape} of {dtype} needs {_bytes(start + size)}, the file has "
            f"{_bytes(on_disk)}; copy or download it again."
        )
    needed = math.prod(shape) * max(dtype.itemsize, 8 if _scaled(header) else 1)
    have = machine_memory()
    if have and needed > have:
        raise UserError(
            f"{path}: needs {_bytes(needed)} of memory, this machine has {_bytes(have)}; crop the image."
        )
    return shape


def _scaled(header: Any) -> bool:
    if "scl_slope" not in header:
        return False
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    return math.isfinite(slope) and slope != 0 and (slope, inter) != (1.0, 0.0)


def _bytes(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} TiB"


def trim(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape with at least three axes, and without axes of length 1 at the end."""
    shape = (*shape, *(1,) * (3 - len(shape)))
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def stored_affine(path: Path, header: Any, affine: np.ndarray) -> np.ndarray:
    """Return nibabel's affine, or that of an sform or qform whose code it does not know and takes for 0.

    Every code above 0 says that there is a place; which space it is in is not a question here.
    """
    if isinstance(header, MGHHeader):
        return affine
    codes = {name: int(header[f"{name}_code"]) for name in ("sform", "qform")}
    used = next((name for name, code in codes.items() if code > 0), None)
    if used is None or codes[used] <= LARGEST_CODE:
        return affine
    warnings.warn(
        f"{path}: its {used} code is {codes[used]}, which has no meaning; its {used} is used.", stacklevel=4
    )
    return np.array(header.get_sform() if used == "sform" else header.get_qform(), float)


def check_affine(path: Path, affine: np.ndarray, header: Any) -> np.ndarray:
    """Return the affine in mm, if it is one; warn where the header leaves doubts about it."""
    affine = np.array(affine, float)
    if not np.isfinite(affine).all():
        raise UserError(f"{path}: its affine holds NaN or infinity; repair the sform or qform of the header.")
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if lengths.min() < TINIEST or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-6:
        raise UserError(
            f"{path}: its affine is singular, so the image has no place in the world; repair its header."
        )
    if isinstance(header, MGHHeader):
        if not header["goodRASFlag"]:
            warnings.warn(
                f"{path}: the file does not say where it lies; coronal slices are assumed.", stacklevel=3
            )
        return affine
    factor = MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0)
    affine[:3] *= factor
    sform_code, qform_code = int(header["sform_code"]), int(header["qform_code"])
    zero = [name for name, size in zip("ijk", header["pixdim"][1:4], strict=True) if not size]
    if zero and sform_code <= 0:
        warnings.warn(
            f"{path}: the voxel sizes along {' and '.join(zero)} are 0; {factor:g} mm is assumed.",
            stacklevel=3,
        )
    if sform_code <= 0 and qform_code <= 0:
        warnings.warn(
            f"{path}: the file does not say where it lies (sform and qform codes are 0); left and right are "
            "assumed from the storage order.",
            stacklevel=3,
        )
    elif sform_code > 0 and qform_code > 0:
        try:
            other = np.array(header.get_qform(), float)
            other[:3] *= factor
        except (ValueError, HeaderDataError):
            return affine
        distance = corner_distance(affine, other, header.get_data_shape())
        if not distance < max(
            0.01 * np.linalg.norm(affine[:3, :3], axis=0).min(), 1e-5
        ):  # nor if it is not a number
            warnings.warn(
                f"{path}: sform and qform disagree by up to {distance:.3g} mm; the sform is used.",
                stacklevel=3,
            )
    return affine


def read_to_end(stream: BufferedIOBase) -> None:
    """Read to the end of the stream, 64 MiB at most, so that gzip verifies the checksum."""
    if isinstance(stream, gzip.GzipFile):
        for _ in range(64):
            if not stream.read(1 << 20):
                return


def damaged(path: Path, file: Path, error: Exception) -> UserError:
    """Say in one sentence what is wrong with a file that could not be read."""
    if isinstance(error, UserError):
        return error
    name = path if file == path else f"{path} ({file.name})"
    if isinstance(error, EOFError) or "Expected" in str(error):
        return UserError(f"{name}: is truncated: it ends before all of its data; copy or download it again.")
    if isinstance(error, (zlib.error, gzip.BadGzipFile)) or "CRC" in str(error):
        return UserError(f"{name}: its gzip compression is damaged ({error}); copy or download it again.")
    if isinstance(error, PermissionError):
        return UserError(f"{name}: may not be read; check its permissions.")
    reason = " ".join(str(error).split()).rstrip(".")
    return UserError(f"{name}: cannot be read as a volume ({reason}); is the file damaged?")
