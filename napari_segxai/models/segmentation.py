"""SegmentationModel: images in, predictions out."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.orientation import DISPLAY, is_stored
from napari_segxai.io.joining import join_channels
from napari_segxai.models.card import ModelCard
from napari_segxai.models.dry_run import dry_run
from napari_segxai.models.inference.device import exact
from napari_segxai.models.inference.fused import fast_layout
from napari_segxai.models.introspection.layers import NetworkLayer
from napari_segxai.models.network import Network
from napari_segxai.models.preprocessing.first_stage import FirstStage
from napari_segxai.models.preprocessing.framed import place
from napari_segxai.models.preprocessing.prepared import Prepared
from napari_segxai.models.preprocessing.spatial import Placement, slice_count
from napari_segxai.models.preprocessing.stepped import has_colors, stepped
from napari_segxai.models.probabilities import check_numbers, check_values
from napari_segxai.models.sizes import find_multiples, padding_note
from napari_segxai.models.unfit_sizes import refusing_sizes


class SegmentationModel(Network):
    """A segmentation network that knows what its inputs and outputs mean.

    Parameters
    ----------
    module : torch.nn.Module
        The network: (N, channels, *grid) -> (N, labels, *grid), or a dict or tuple holding that. It is
        kept, not copied; its mode and its parameters' requires_grad are restored after every use.
    card : ModelCard, mapping, str or Path
        What the network needs and returns: a `ModelCard`, a mapping, or the path of a YAML file.
    source : str
        Where it came from, in words, for the record.
    path : Path, optional
        The folder or file that it was loaded from, if any.
    capabilities : collection of str, optional
        What methods can ask of the network: "network layers", "gradients". By default both; "gradients" alone for TorchScript.
    first_stage : FirstStage, optional
        Of a cascade: whose prediction the network gets beside the image.

    Raises
    ------
    UserError
        If one dry run shows that the network and the card do not fit, with the shapes; for no network, or no card.
    """

    def __init__(
        self,
        module: nn.Module,
        card: ModelCard | Mapping[str, Any] | str | Path,
        *,
        source: str = "nn.Module given in a script",
        path: Path | None = None,
        capabilities: Collection[str] | None = None,
        first_stage: FirstStage | None = None,
    ):
        super().__init__(module, card, source=source, path=path, capabilities=capabilities)
        self.first_stage = first_stage
        if self.card.previous_stage is not None and first_stage is None:
            raise UserError(
                f"{self.name} takes an image alone: previous_stage in its card is for the second stage of a cascade of nnU-Net."
            )
        dry_run(self)
        self.multiples = find_multiples(self)

    def slices(self, image: Image) -> int | None:
        """Return the number of slices that this 2D model sees in a volume; None where it takes the image whole.

        Parameters
        ----------
        image : Image
            What it is shown.
        """
        return slice_count(self.card, image)

    def prepare(self, image: Image, slice: int | None = None) -> Prepared:
        """Bring an image to the network: turn, slice, resample, intensity steps, pad.

        Values that are not finite become the smallest finite one; how many is said in the notes.

        Parameters
        ----------
        image : Image
            Without a time axis.
        slice : int, optional
            For a 2D model on a volume, counted as napari shows the volume, from 0.

        Returns
        -------
        Prepared
            The tensor (1, channels, *model grid), how it lies on the image, and what was noted on the way.

        Raises
        ------
        UserError
            If the image does not suit the model.
        """
        placement = place(self.card, image, slice, self.multiples)
        self._check_channels(image)
        found = stepped(self.card, image, placement)
        notes = [*found.notes, *self._notes_of_place(image, placement)]
        if self.card.repeats_channel and has_colors(placement.turned(image.channels_first())):
            notes.append(
                f"{self.name} was trained on gray images, given in each of its channels ({', '.join(self.card.channels)}), and the channels "
                f"of {image.name} differ: it sees them as they are; give a gray image."
            )
        if found.constant is not None:
            notes.append(f"all values that the network sees of the image are {found.constant:g}.")
        tensor, steps = found.tensor, found.steps
        prepared = Prepared(tensor, placement, steps, tuple(notes))
        background = self.card.background_value
        value = tensor.amin(tuple(range(2, tensor.ndim)), keepdim=True)
        if background is not None:
            value = prepared.network_value(background)
        pad = self.card.grid.pad
        if pad is None:
            notes = [*padding_note(self, placement.resampled_shape, placement.shape), *notes]
        elif pad.mode != "constant":
            value = pad.mode
        elif pad.value is not None:
            of_image = pad.value_of == "image"
            value = prepared.network_value(pad.value) if of_image else torch.full_like(value, pad.value)
        notes = [*self.notes, *notes]
        first, beside = self.first_stage, None
        if first is not None:
            beside = partial(first.channels, image, placement)
        return Prepared(fast_layout(placement.pad(tensor, value)), placement, steps, tuple(notes), beside)

    def given(self, prepared: Prepared) -> Self:
        """Return this model with what it gets beside an image, which is held fixed; the model itself where that is nothing.

        The model is in use. A first stage that has not seen the image yet predicts it now.

        Parameters
        ----------
        prepared : Prepared
            As `prepare` returns it.

        Returns
        -------
        SegmentationModel
            Of the same network.
        """
        if prepared.beside is None:
            return self
        other = copy.copy(self)
        other.fixed = prepared.beside(self.device)
        return other

    def has_kept(self, image: Image, slice: int | None = None) -> bool:
        """Tell whether the prediction of an image is kept, so that nothing has to be run for it; the model is in use.

        Parameters
        ----------
        image : Image
            Whose prediction is asked for.
        slice : int, optional
            For a 2D model on a volume.

        Returns
        -------
        bool
            Also that of a first stage, where there is one.
        """
        first = self.first_stage
        if self.kept.is_empty or not (first is None or first.knows(image) or first.is_kept(image)):
            return False
        prepared = self.prepare(image, slice)
        given = self.given(prepared)
        return self.kept.get(self.module, prepared.tensor.to(self.device), given.fixed) is not None

    def _notes_of_place(self, image: Image, placement: Placement) -> list[str]:
        """Return what has to be said of how the image is turned and cropped."""
        notes, codes, volume = [], self.card.orientation, self.card.spatial_dims == 3
        if is_stored(codes) and image.spatial_dims == 3:
            notes.append(
                f"{self.name} takes the axes of a file in the order in which they are stored ({codes}), whatever lies where, as it "
                "was trained: the same volume stored otherwise gives another result."
            )
        elif image.codes is not None and codes is None and volume:
            notes.append(
                f"the card of {self.name} has no orientation: the network sees the volume as napari shows it "
                f"({''.join(DISPLAY)}); write `orientation` in the card if it was trained on another one."
            )
        elif image.codes is None and codes and volume:
            notes.append(f"the image does not say how it is oriented; its axes are taken to be {codes}.")
        if not placement.seen:
            notes.append(
                f"the slice lies outside the box of the pixels of {image.name} that are not 0, to which {self.name} crops it: nothing "
                "is predicted there."
            )
        return notes

    def grid_for(self, image: Image, slice: int | None = None) -> tuple[int, ...]:
        """Return the shape of the model grid for an image.

        Parameters
        ----------
        image : Image
            What the model is shown.
        slice : int, optional
            For a 2D model on a volume, counted as napari shows the volume, from 0.
        """
        return place(self.card, image, slice, self.multiples).shape

    def prepare_check(self, image: Image, slice: int | None = None) -> None:
        """Raise the UserError that `prepare` would raise for an image of the wrong kind, without the work.

        Parameters
        ----------
        image : Image
            What the model is to be shown.
        slice : int, optional
            For a 2D model on a volume, counted as napari shows the volume, from 0.

        Raises
        ------
        UserError
            If the image does not suit the model.
        """
        placement = place(self.card, image, slice, self.multiples, read=False)
        self._check_channels(image)
        if self.windows is not None:
            self.tiling(placement.shape)  # raises
        chosen = image.layer.get("chosen", False)
        colors = not chosen and image.affine is None and image.dtype == np.uint8 and image.shape[-1] in (3, 4)
        if colors and self.card.spatial_dims == 2 and image.spatial_dims == 3 and image.channel_axis is None:
            raise UserError(
                f"{image.name} has shape {image.shape}: if its last axis holds colours, say so with "
                f"channel_axis={image.ndim - 1} (of a layer: axes='YXC', or under Axes); if it is a stack of slices, convert "
                "it to another type."
            )

    def with_its_channels(self, image: Image) -> Image:
        """Return an image with the channels of this model, where it is known how: see `Image.with_channels` and `ModelCard.channels`.

        Parameters
        ----------
        image : Image
            As it was read.
        """
        count = len(self.card.channels)
        image = image.with_channels(count)
        if self.card.repeats_channel and image.channel_axis is None and image.time_axis is None:
            joined = join_channels([image] * count)
            return replace(joined, array=joined.stored, name=image.name)  # reads nothing
        return image

    def _check_channels(self, image: Image) -> None:
        image.refuse_time()
        if image.channels != len(self.card.channels):
            raise UserError(
                f"{self.name} needs {len(self.card.channels)} channel(s) ({', '.join(self.card.channels)}), "
                f"but {image.name} has {image.channels}{self._where_channels_may_be(image)}."
            )

    def _where_channels_may_be(self, image: Image) -> str:
        """Return what to do about an image of one channel for a model of several."""
        count = len(self.card.channels)
        if count == 1 and image.channel_axis is not None:
            return "; give one of its channels, or a gray image"
        if image.channel_axis is not None or count == 1:
            return ""
        found = [k for k, size in enumerate(image.shape) if size == count and k != image.time_axis]
        if image.ndim > self.card.spatial_dims and found:
            return f"; if its axis {found[0]} holds channels, say so with channel_axis={found[0]}"
        names = ["gray"] * count
        trained = f"; if it was trained on gray images, given in each channel, say so: card={{'channels': {names}}}, or --card"
        return "; join images of one channel each (sx.join_channels, or name a file per channel)" + (
            trained if count == 3 else ""
        )

    def predict(
        self, image: Image | np.ndarray, *, slice: int | None = None, device: str | torch.device = "auto"
    ) -> np.ndarray:
        """Segment an image.

        Parameters
        ----------
        image : Image or ndarray of shape (*spatial axes)
            An array has only spatial axes; give ``Image(array, channel_axis=0)`` for one with channels.
        slice : int, optional
            For a 2D model on a volume: segment this slice alone, the rest stays 0. All slices by default.
        device : str or torch.device
            "auto", "cpu", "cuda", "cuda:1" or "mps".

        Returns
        -------
        ndarray
            Label positions (uint8 or uint16) on the image grid. If the model is `overlapping`: boolean (labels but the
            background, *image grid), a mask for each of ``labels[1:]``; the background is where none of them is.

        Raises
        ------
        UserError
            If the image does not suit the model.
        """
        image = self.with_its_channels(Image.of(image))
        out = self.labeling.blank(len(self.labels), image.spatial_shape)
        many = self.slices(image)
        if many is None:
            self.refuse_slice(image, slice)
        which = [None] if many is None else range(many) if slice is None else [slice]
        with self.in_use(device) as use, torch.inference_mode(), exact():
            for k in which:
                prepared = self.prepare(image, k)
                tensor, given = prepared.tensor.to(use), self.given(prepared)
                with refusing_sizes(given, tensor):
                    check_values(given, tensor)
                    logits = given.logits_kept(tensor)
                given.kept.note(image, prepared.placement.slice)
                check_numbers(self, logits, image.name)
                out = self.labeling.on_image(logits[0], prepared.placement, out)
        return out

    def refuse_slice(self, image: Image, slice: int | None) -> None:
        """Refuse a slice of an image that the model takes whole.

        Parameters
        ----------
        image : Image
            What the model takes whole.
        slice : int, optional
            What was asked for.

        Raises
        ------
        UserError
            If a slice was asked for.
        """
        if slice is not None:
            series = " (frame chooses a time point)" if "T" in image.at else ""
            raise UserError(
                f"slice is for 2D models on volumes; {self.name} takes {image.name} whole, leave it out{series}."
            )

    def network_layers(self, image: Image | None = None, *, slice: int = 0) -> tuple[NetworkLayer, ...]:
        """List the network layers in order of execution, with shapes for `image` (or an example input).

        Parameters
        ----------
        image : Image, optional
            Without one the shapes are those for an example input.
        slice : int
            For a 2D model on a volume: the slice whose shapes are listed, from 0.

        Returns
        -------
        tuple of NetworkLayer
            Name, stage and shape (channels, *cells) of each.

        Raises
        ------
        UserError
            For a TorchScript model, which has none that can be observed.
        """
        if image is None:
            return self.layers_for(self.example())
        image = self.with_its_channels(image)
        return self.layers_for(self.prepare(image, slice if self.slices(image) else None).tensor)
