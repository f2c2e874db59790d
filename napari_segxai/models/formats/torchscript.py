"""A TorchScript file with a card beside it. Network layers cannot be observed in such a model."""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from napari_segxai.core.errors import UserError, plain, reason_of
from napari_segxai.models.card import ModelCard, read_card
from napari_segxai.models.formats.registry import model_format
from napari_segxai.models.loading.file_kinds import DAMAGED, kind_of
from napari_segxai.models.loading.torch_file import Ignored
from napari_segxai.models.loading.untrusted_code import UntrustedProgram
from napari_segxai.models.partial_card import PartialCard
from napari_segxai.models.segmentation import SegmentationModel

SUFFIXES = (".pt", ".pth", ".ts", ".torchscript")

WEIGHTS = (".ckpt", ".bin", ".tar")
"""Suffixes of weights alone: of these only files that are cut off come here, so that this is said."""

NO_NETWORKS = {
    "empty": "the file is empty; save the network again",
    "torch.export": "is a program of torch.export, no TorchScript network; save its state_dict(), and load that with "
    "architecture=... (--architecture)",
    "damaged": DAMAGED,
}
"""Files that are not TorchScript, and what would be right."""

TOUCHES = re.compile(
    r"\b(?:save|from_file|load_tensor|__setstate__)\b|\btorch\.classes\.(?!quantized\b|rnn\b)\w+|"
    r"getattr\s*\([^\"']*[\"']+[^\"']*\\"
)
"""In the code of a TorchScript file: what writes or reads files, what runs while the file is loaded, classes of other libraries,
which may do either, and what hides such a name."""

COMPUTES = ("aten", "prim", "torchvision", "quantized", "profiler", "mkldnn", "mkldnn_prepacked", "onednn")
"""Whose operators compute, and do no more."""


def handles(source: object) -> bool:
    """Tell whether `source` is a file with a suffix of TorchScript, and not one of weights; or one that is cut off, whatever its suffix."""
    if (
        not isinstance(source, Path)
        or source.suffix.lower() not in (*SUFFIXES, *WEIGHTS)
        or not source.is_file()
    ):
        return False
    named = source.suffix.lower() in SUFFIXES
    try:
        kind = kind_of(source)
        return kind not in ("torch", "safetensors") if named else kind == "damaged"
    except UserError:
        return True  # which is said when it is loaded


def card_beside(source: Path) -> ModelCard | PartialCard:
    """Return the card beside a file; where there is none, what is asked.

    Raises
    ------
    UserError
        If it is not valid.
    """
    beside = source.with_suffix(".yaml")
    if beside.is_file():
        return read_card(beside)
    if (kind := kind_of(source)) in NO_NETWORKS:  # rather than asking about what cannot be opened
        raise UserError(f"{source}: {NO_NETWORKS[kind]}.")
    asked = {"labels": f"the names of its outputs, in their order (or write {beside.name} beside it)"}
    return PartialCard(
        str(source), {"name": plain(source.stem)[:100] or "model"}, {**asked, "spatial_dims": "2 or 3"}
    )


@model_format("torchscript", handles=handles, card=card_beside, general=True)
def load(source: Path, *, card: ModelCard | None, trust: bool) -> SegmentationModel:
    """Load a TorchScript file; its card is `card`, or the YAML file of the same name beside it.

    Raises
    ------
    UserError
        If there is no card, or the file is not TorchScript.
    UntrustedProgram
        If it does more than compute, and `trust` is False.
    """
    stored = card or card_beside(source)
    card = stored.completed() if isinstance(stored, PartialCard) else stored
    module = read_torchscript(source, trust=trust)
    return SegmentationModel(module, card, source=f"TorchScript file {source.name}", path=source.absolute())


def read_torchscript(source: Path, *, trust: bool) -> torch.jit.ScriptModule:
    """Read a TorchScript network; without a yes, only one that does no more than compute.

    Raises
    ------
    UserError
        If the file is not TorchScript.
    UntrustedProgram
        If it does more, and `trust` is False.
    """
    kind = kind_of(source)
    if kind in NO_NETWORKS:
        raise UserError(f"{source}: {NO_NETWORKS[kind]}.")
    try:
        if not trust:
            _check_code(source)
        module = torch.jit.load(source, map_location="cpu")
        if not trust:
            _check_operators(source, module)
    except UserError:
        raise
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"{source}: cannot be read as TorchScript ({reason_of(error)}); weights alone are loaded with architecture=...."
        ) from None
    return module


def _check_code(source: Path) -> None:
    """Refuse code that does more than compute; torch's own reader is asked, so that it is the code that would run."""
    reader = torch._C.PyTorchFileReader(str(source))
    names = reader.get_all_records()
    _check_sizes(source, reader)
    if any(name.lower() == "model.json" for name in names):
        raise UserError(
            f"{source}: was saved by a version of torch before 1.4; save it again with a newer one."
        )
    for name in names:  # which the reader finds in any case of letters
        if name.lower().endswith(".py") and (found := TOUCHES.search(reader.get_record(name).decode())):
            raise UntrustedProgram(source, found[0])


BYTES = {
    "ComplexDouble": 16,
    "ComplexFloat": 8,
    "Double": 8,
    "Long": 8,
    "Float": 4,
    "Int": 4,
    "Half": 2,
    "BFloat16": 2,
    "Short": 2,
}


class _Sizes(pickle.Unpickler):
    """Reads how long the tensors of a TorchScript file say that they are; whatever else it names becomes nothing."""

    def __init__(self, data: bytes):
        super().__init__(io.BytesIO(data))
        self.found: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> Any:
        return name if name.endswith("Storage") else Ignored

    def persistent_load(self, pid: Any) -> Any:
        _, kind, key, _, count = pid
        self.found[key] = count * BYTES.get(kind.removesuffix("Storage"), 1)
        return None


def _check_sizes(source: Path, reader: Any) -> None:
    """Refuse tensors that would reach beyond their record, which torch does not look at in TorchScript."""
    names = set(reader.get_all_records())
    for folder in ("data", "constants"):
        if f"{folder}.pkl" not in names:
            continue
        sizes = _Sizes(reader.get_record(f"{folder}.pkl"))
        try:
            sizes.load()
            fits = all(len(reader.get_record(f"{folder}/{key}")) >= n for key, n in sizes.found.items())
        except Exception:  # whatever a damaged pickle makes of itself
            fits = False
        if not fits:
            raise UserError(f"{source}: is damaged: its tensors are not as long as it says; save it again.")


def _check_operators(source: Path, module: torch.jit.ScriptModule) -> None:
    """Refuse operators of other libraries; loading has not run any."""
    for part in module.modules():
        script: Any = part._c
        for name in script._method_names():
            for kind in _operators(script._get_method(name).inlined_graph):
                # what is called by an interface is not known before it runs
                if kind.partition("::")[0] not in COMPUTES or kind == "prim::CallMethod":
                    raise UntrustedProgram(source, kind)


def _operators(graph: Any) -> Iterator[str]:
    for node in graph.nodes():
        yield node.kind()
        for block in node.blocks():
            yield from _operators(block)
        for name in node.attributeNames():
            if node.kindOf(name) == "g":
                yield from _operators(node.g(name))
