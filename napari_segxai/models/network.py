"""A network together with its card: inputs on the model grid in, logits out; its layers; its use on a device."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from napari_segxai.core.capabilities import CAPABILITIES, GRADIENTS, NETWORK_LAYERS, NOT_THROUGH_WINDOWS
from napari_segxai.core.errors import UserError, nearest
from napari_segxai.models.behavior import Behavior
from napari_segxai.models.card import ModelCard, as_card
from napari_segxai.models.inference.batches import fitting_batch
from napari_segxai.models.inference.checkpoints import without_checkpoints
from napari_segxai.models.inference.device import choose_device
from napari_segxai.models.inference.frozen import frozen
from napari_segxai.models.inference.fused import Changes, fuse
from napari_segxai.models.inference.memory import is_out_of_memory, keep_freed_memory
from napari_segxai.models.inference.residence import Residence
from napari_segxai.models.inference.weights import Digests, fingerprint, state
from napari_segxai.models.introspection.inspection import Inspection
from napari_segxai.models.introspection.layers import NetworkLayer, find_layer
from napari_segxai.models.introspection.roles import Roles
from napari_segxai.models.introspection.trace import Call, trace_pass
from napari_segxai.models.labeling import Labeling, difference
from napari_segxai.models.logits import as_logits, returns_probabilities
from napari_segxai.models.outputs import covers, follow
from napari_segxai.models.preprocessing.first_stage import FirstStage, completed, with_zeros
from napari_segxai.models.preprocessing.prepared import in_order
from napari_segxai.models.preprocessing.resample import resize
from napari_segxai.models.unfit_sizes import refusing_sizes
from napari_segxai.models.windows.kept import KeptPrediction
from napari_segxai.models.windows.stitch import Part, cut, stitch
from napari_segxai.models.windows.tiling import Corner, Reading, Tiling, tiling_of

TYPICAL_CHANNELS = 16
"""Channels at full resolution that are assumed of a network that cannot be looked into."""


class Network(Behavior):
    """A network and its card: what it makes of inputs on the model grid, and what it consists of.

    `SegmentationModel` adds images.

    Parameters
    ----------
    module
        (N, channels, *grid) -> (N, labels, *grid), or a dict or tuple holding that.
    card
        What the network needs and returns.
    source
        Where it came from, in words.
    path
        The folder or file that it was loaded from, if any.
    capabilities
        Of `CAPABILITIES`; by default all, but for TorchScript, whose modules take no hooks, so that network layers cannot be observed.
    """

    def __init__(
        self,
        module: nn.Module,
        card: ModelCard | Mapping[str, Any] | str | Path,
        *,
        source: str = "nn.Module given in a script",
        path: Path | None = None,
        capabilities: Collection[str] | None = None,
    ):
        if not isinstance(module, nn.Module):
            raise UserError(
                f"a SegmentationModel is made of a network (nn.Module), not of a {type(module).__name__}; load_model takes "
                "names, folders and files."
            )
        self.module = module
        self.card = as_card(card)
        self.source = source
        self.path = path
        self.architecture: str | None = None  # "file.py:Class" of code that lies elsewhere
        self.trusted = False  # whether it was loaded with a yes to code that is not known to hold networks
        usual = {GRADIENTS} if isinstance(module, torch.jit.ScriptModule) else CAPABILITIES
        self.capabilities = frozenset(usual if capabilities is None else capabilities)
        for word in self.capabilities.difference(CAPABILITIES):
            raise UserError(f"a network cannot be capable of {word!r}; {nearest(word, CAPABILITIES)}")
        self.windows = self.card.windows  # through which it sees images; None where it sees them whole
        self.residence = Residence(module)
        self.outputs = len(self.labels)
        self.fitting_batches: dict[tuple[torch.device, tuple[int, ...], bool], int] = {}
        self.notes: tuple[str, ...] = ()  # what a user should know of the model itself
        self.original: Self | None = None  # that of which this is the fused network
        self.changes = Changes()  # what is different in a fused network; see `fused`
        self._digests = Digests()
        self._fused: tuple[tuple[Any, ...], Self | None] | None = None
        self.kept = KeptPrediction()
        self.first_stage: FirstStage | None = None  # of a cascade
        self.fixed: Tensor | None = (
            None  # what it predicted, (1, channels, *grid): what the network gets beside the image
        )
        self._tilings: dict[tuple[int, ...], Tiling] = {}  # of the grid that was asked about last
        self._inspections: dict[tuple[int, ...], Inspection] = {}  # by the shape of the input

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, labels={list(self.labels)}, {self.card.spatial_dims}D)"

    def with_note(self, note: str) -> Self:
        """Add what a user should know of the model to every record; returns the model."""
        self.notes += (note,) * bool(note)
        return self

    @property
    def device(self) -> torch.device:
        """Where its weights lie now."""
        return self.residence.device

    @property
    def name(self) -> str:
        """The name on the card."""
        return self.card.name

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels; their positions are the values in a prediction."""
        return self.card.labels

    @property
    def overlapping(self) -> bool:
        """Whether a pixel can have several labels, so that a prediction is a stack of masks; see `predict`."""
        return self.card.overlapping

    @cached_property
    def labeling(self) -> Labeling:
        """How logits become labels."""
        return Labeling(self.card.thresholds, self.card.grid.back)

    @property
    def has_layers(self) -> bool:
        """Whether network layers can be observed."""
        return NETWORK_LAYERS in self.capabilities

    def require(self, needs: Iterable[str]) -> None:
        """Refuse needs of which this network is not capable; words that are none of `CAPABILITIES` are not its matter.

        Raises
        ------
        UserError
            Saying what is lacking, and what to use.
        """
        for need in CAPABILITIES:
            if need in needs and need not in self.capabilities:
                raise UserError(f"{self.name} {self._lack(need)}, or load it as an nn.Module.")
        for need, why in NOT_THROUGH_WINDOWS.items() if self.windows is not None else ():
            if need in needs:
                crop = "crop images to one window and leave `windows` out of the card"
                raise UserError(f"{self.name} sees images through windows, {why}, or {crop}.")

    def _lack(self, need: str) -> str:
        reason = f"gives no {need}"
        if need == NETWORK_LAYERS and isinstance(self.module, torch.jit.ScriptModule):
            reason = "is a TorchScript model, whose network layers cannot be observed"
        such = "misure or rise" if GRADIENTS in self.capabilities else "rise or occlusion"
        return f"{reason}; use a method that needs none, such as {such}"

    @property
    def inputs(self) -> int:
        """Channels that the network takes: those of the image, and those of a first stage."""
        return len(self.card.channels) + (0 if self.first_stage is None else len(self.first_stage.values))

    def complete(self, tensor: Tensor) -> Tensor:
        """Return all that the network takes: (N, channels of the image, *grid) with those of a first stage, which are held fixed."""
        return tensor if tensor.shape[1] == self.inputs else completed(tensor, self.fixed, self.name)

    @property
    def sha256(self) -> str:
        """Digest of all parameters and buffers as they are now; of the whole module where TorchScript has frozen them."""
        return self._digests.of(self.module, self.device)

    def label_index(self, label: str | int) -> int:
        """Return the position of a label given by name or position.

        Raises
        ------
        UserError
            If the model has no such label, with the nearest names.
        """
        if isinstance(label, str) and label in self.labels:
            return self.labels.index(label)
        text = str(label)
        if text.isdecimal() and int(text) < len(self.labels):
            return int(text)
        raise UserError(f"{self.name} has no label {label!r}; {nearest(text, self.labels)}")

    def network_output(self, tensor: Tensor) -> Tensor:
        """Run the network and pick the tensor that holds the segmentation: (N, outputs, *any)."""
        if self.one_at_a_time and len(tensor) > 1:
            return torch.cat([self.pick(self.run(one)) for one in tensor.split(1)])
        return self.pick(self.run(tensor))

    def pick(self, out: Any) -> Tensor:
        """Return the segmentation among what the network returned, in float32."""
        try:
            found = follow(out, self.output_place)
        except LookupError:
            found = None
        if not isinstance(found, Tensor):
            raise UserError(
                f"{self.name} returns something else on this input than on that of its dry run; set `output` in the card."
            )
        return found if found.dtype == torch.float32 else found.float()

    def run(self, tensor: Tensor) -> Any:
        """Run the network and return whatever it returns; checkpointed parts are run as any others."""
        tensor = in_order(tensor.clone() if self.writes_input else tensor, self.card.order)
        with without_checkpoints():
            return self.module(tensor)

    def runs_on(self, grid: Sequence[int]) -> bool:
        """Tell whether the network runs on a grid of this shape, with an output that covers it."""
        if min(grid) < 1:
            return False
        tensor = torch.zeros((1, self.inputs, *grid), device=self.device)
        try:
            with self.in_use(self.device), torch.inference_mode():
                out = self.network_output(tensor)
        except Exception as error:  # a network can raise anything
            if is_out_of_memory(error):
                raise
            return False
        return out.ndim == tensor.ndim and all(map(covers, grid, out.shape[2:]))

    def logits(self, tensor: Tensor, reading: Reading | None = None) -> Tensor:
        """Return one logit per label: (N, channels, *grid) -> (N, labels, *grid), differentiable.

        One sigmoid output s becomes (-s, s); a sigmoid network without a background output gets
        minus its largest logit as background (which labels are drawn, `labeling` says); probabilities become their
        (clamped) logits. Through windows, what they return is averaged as the card says.

        Parameters
        ----------
        reading
            Through windows: the part of the grid that is wanted, and then returned; other windows are not run.
        """
        tensor = self.complete(tensor)
        if self.one_window:
            return self.returned(tensor)
        if self.windows is None:
            return resize(
                as_logits(self.card, self.network_output(tensor)), tuple(tensor.shape[2:]), linear=True
            )
        tiling = self.tiling(tensor.shape[2:])
        out = stitch(self.returned, tensor, tiling, reading, batch=self.batch_of_windows)
        return as_logits(self.card, out)

    def returned(self, tensor: Tensor) -> Tensor:
        """Return what is averaged where windows overlap: (N, channels, *size) -> (N, outputs, *size)."""
        out = resize(self.network_output(tensor), tuple(tensor.shape[2:]), linear=True)
        made = returns_probabilities(self.card) and self.card.values == "logits"
        return self.probabilities(out) if made else out

    def logits_kept(self, tensor: Tensor, run: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return `logits` of a whole image without gradients; through windows those of the last image are kept.

        Parameters
        ----------
        run
            What computes them; `logits` by default.
        """
        run = run or self.logits
        if self.windows is None:
            return run(tensor)
        found = self.kept.get((self.original or self).module, tensor, self.fixed)
        if found is None:
            with torch.inference_mode(False), torch.no_grad():  # a leaf for gradients can be made of it
                found = run(tensor)
            self.kept.put((self.original or self).module, tensor, found, self.fixed)
        return found

    def tiling(self, grid: Sequence[int]) -> Tiling:
        """Return the windows of a grid of this shape; only of a network that sees images through windows."""
        assert self.windows is not None
        key = tuple(grid)
        if key not in self._tilings:
            found = tiling_of(self.windows, key, self.name)  # raises
            self._tilings.clear()
            self._tilings[key] = found
        return self._tilings[key]

    def seen(self, tensor: Tensor) -> Tensor:
        """Return what the network sees at once of an input: its middle window, or all of it where there are none."""
        tensor = self.complete(tensor)
        if self.windows is None:
            return tensor
        tiling = self.tiling(tensor.shape[2:])
        return cut(tiling.pad(tensor), tiling, [Part(0, tiling.middle)])

    def cells_run(self, grid: Sequence[int]) -> int:
        """Return how many cells go through the network in one pass on a grid of this shape, those of all windows."""
        if self.windows is None:
            return math.prod(grid)
        return len(self.tiling(grid).corners) * self.windows.cells * self.windows.views

    def batch_of_windows(self, gradients: bool) -> int:
        """Return how many windows are run at once; see `fitting_batch`."""
        assert self.windows is not None
        return fitting_batch(self, self.device, self.windows.size, gradients=gradients)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the probability of every label: (N, labels, *grid) in [0, 1]."""
        return logits.sigmoid() if self.card.activation == "sigmoid" else logits.softmax(1)

    def probability(self, logits: Tensor, label: int) -> Tensor:
        """Return the probability of one label: (N, labels, *grid) -> (N, *grid) in [0, 1]."""
        if self.card.activation == "sigmoid":
            return logits[:, label].sigmoid()
        if logits.shape[1] == 2:  # the same as softmax, in one pass
            return difference(logits, label).sigmoid()
        return logits.softmax(1)[:, label]

    # -- the network ------------------------------------------------------------------------------

    @contextmanager
    def in_use(self, device: str | torch.device = "auto") -> Generator[torch.device]:
        """While open, the network is on `device`, in evaluation mode, with frozen parameters; all is restored afterwards."""
        target = choose_device(device)
        keep_freed_memory()
        with self.residence.on(target), frozen(self.module):
            yield target

    def fused(self, tensor: Tensor) -> Self:
        """Return a model that computes the same logits in less time, where there is one, else this one.

        It lasts as long as this one is in use, and its network layers are not those of this one. It is made at the
        cost of two forward passes, remembered, and made again when weights or hooks have changed.

        Parameters
        ----------
        tensor
            (1, channels, *grid): on which both have to agree.
        """
        if not self.has_layers:
            return self
        key = state(self.module), fingerprint(self.module)
        if self._fused is None or self._fused[0] != key:
            with refusing_sizes(self, tensor), torch.inference_mode(False), torch.no_grad():
                _ = self.map_bytes_per_cell  # of this network, before it is copied
                seen = self.seen(tensor)
                found = fuse(self.module, lambda module: self._with(module, Changes()).network_output(seen))
            self._fused = key, None if found is None else self._with(*found)
        return self._fused[1] or self

    def in_one_window(self, corner: Corner, axes: tuple[int, ...] = ()) -> Self:
        """Return the network on one window, with the same network layers; in place of logits it gives what windows average."""
        assert self.windows is not None
        other = copy.copy(self)
        other.windows, other.one_window = None, True
        if self.fixed is not None:
            tiling = self.tiling(self.fixed.shape[2:])
            other.fixed = tiling.pad(self.fixed)[(..., *tiling.place(corner))].flip(axes)
        return other

    def _with(self, module: nn.Module, changes: Changes) -> Self:
        other = copy.copy(self)
        other.module, other.changes, other.original = module, changes, self.original or self
        return other

    @property
    def example_grid(self) -> tuple[int, ...]:
        """A shape of the model grid that the card allows."""
        card, multiple = self.card, self.card.grid.multiple
        if card.windows is not None:
            return card.windows.size
        # Two cells per axis at least in the smallest map: some layers refuse one.
        usual = max(64 if card.spatial_dims == 2 else 32, min(card.grid.shortest_edge or 0, 128))
        side = self.example_side or max(usual, 2 * multiple)
        return card.grid.example(card.grid.size or (-(-side // multiple) * multiple,) * card.spatial_dims)

    def example(self) -> Tensor:
        """Return an input on the example grid: (1, channels, *grid), random but fixed."""
        generator = torch.Generator().manual_seed(0)
        return torch.rand((1, self.inputs, *self.example_grid), generator=generator)

    def layers_for(self, tensor: Tensor) -> tuple[NetworkLayer, ...]:
        """`network_layers` for a tensor on the model grid, or for one window of it; remembered per shape."""
        return self._inspect(tensor).layers

    def calls_for(self, tensor: Tensor) -> tuple[Call, ...]:
        """Every call of a module in a forward pass on a tensor of this shape."""
        return self._inspect(tensor).calls

    def _inspect(self, tensor: Tensor) -> Inspection:
        self.require((NETWORK_LAYERS,))
        tensor = with_zeros(tensor, self.inputs)  # values do not matter
        if tuple(tensor.shape[2:]) != self.example_grid:
            tensor = self.seen(tensor)
        key = tuple(tensor.shape[1:])
        if key not in self._inspections:
            there = tensor.to(self.device)
            with self.in_use(self.device), torch.inference_mode(False), refusing_sizes(self, there):
                start = time.perf_counter()
                trace = trace_pass(self.module, self.network_output, there)
                seconds = (time.perf_counter() - start) / tensor[0, 0].numel()
                self.seconds = min(self.seconds, seconds)  # the very first pass is always slow
            self._inspections[key] = Inspection.of(trace, self.card.tokens)
        return self._inspections[key]

    @cached_property
    def _of_example(self) -> Inspection:
        return self._inspect(self.example())

    @property
    def example_layers(self) -> tuple[NetworkLayer, ...]:
        """The network layers, with the shapes of an example input."""
        return self._of_example.layers

    @property
    def example_calls(self) -> tuple[Call, ...]:
        """Every call of a module in a forward pass on an example input."""
        return self._of_example.calls

    @property
    def roles(self) -> Roles:
        """What the network layers are for: bottlenecks, head, skip connections, and what could not be told."""
        return self._of_example.roles

    @property
    def outline(self) -> tuple[NetworkLayer, ...]:
        """The main blocks of the network, in order of execution."""
        return self._of_example.outline

    @cached_property
    def map_bytes_per_cell(self) -> float:
        """Size of the largest feature map of one image, in bytes per cell of the model grid."""
        if not self.has_layers or not self.example_layers:
            return 4 * TYPICAL_CHANNELS
        return 4 * self._of_example.largest_map / math.prod(self.example_grid)

    def find_layer(self, name: str) -> NetworkLayer:
        """Return the network layer called `name` ("bottleneck" and "last" stand for those).

        Raises
        ------
        UserError
            If there is none, with the nearest names; for a model that is not capable of "network layers", always.
        """
        return find_layer(name, self.example_layers, self.name, self.example_calls)
