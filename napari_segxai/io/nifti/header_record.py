"""The header of a volume's file as plain values, so that a record can hold it, and back."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import nibabel as nib
from nibabel.wrapstruct import WrapStructError

CLASSES = {
    each.__name__: each
    for each in (
        nib.Nifti1Header,
        nib.nifti1.Nifti1PairHeader,
        nib.Nifti2Header,
        nib.nifti2.Nifti2PairHeader,
        nib.freesurfer.mghformat.MGHHeader,
    )
}
"""What `read_nifti` reads."""


def header_as_dict(header: Any) -> dict[str, str] | None:
    """Return kind, byte order and bytes of a nibabel header, without its extensions; None for anything else."""
    kind = type(header).__name__
    if CLASSES.get(kind) is not type(header):
        return None
    data = base64.b64encode(header.binaryblock).decode("ascii")
    return {"kind": kind, "endianness": header.endianness, "base64": data}


def header_from_dict(facts: Mapping[str, str]) -> Any:
    """Return the nibabel header that `header_as_dict` was given.

    Raises
    ------
    ValueError
        If it is none.
    """
    data = base64.b64decode(facts["base64"], validate=True)
    kind: Any = CLASSES.get(facts["kind"])
    if kind is None:
        raise ValueError(f"{facts['kind']!r} is not a header of a volume")
    try:
        if kind is CLASSES["MGHHeader"]:  # whose byte order is fixed
            return kind(data, check=False)
        return kind(data, facts["endianness"], check=False)
    except WrapStructError as error:
        raise ValueError(f"no header of a volume: {error}") from None
