"""Planning a survey: what is asked is checked, and what it will cost is known, before anything runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from napari_segxai.analyses.case_names import check_names
from napari_segxai.analyses.concepts.sources import Concepts, check_first, read_concepts
from napari_segxai.analyses.explain.plan import HIGHEST_SEED
from napari_segxai.core.arguments import whole_number
from napari_segxai.core.errors import UserError
from napari_segxai.core.extras import need
from napari_segxai.core.progress import Passes
from napari_segxai.engine.cases import chosen_layers, count_of
from napari_segxai.io.cases.case import Cases
from napari_segxai.methods.registry import Extent, Method, OnCases, Size, find_method
from napari_segxai.models.inference.device import choose_device
from napari_segxai.models.introspection.layers import check_used
from napari_segxai.models.registry import load_model
from napari_segxai.models.segmentation import SegmentationModel


@dataclass(frozen=True)
class SurveyPlan:
    """What has been checked and can be asked about a folder of cases; it runs nothing.

    Attributes
    ----------
    model : SegmentationModel
        The network.
    cases : Cases
        The images.
    method, options
        Which method, with which parameters.
    labels : tuple of str
        What is asked about.
    concepts : Concepts or None
        Where concepts come from; None where the method is not asked about any.
    seed : int
        Of everything random.
    device : torch.device
        Where it runs.
    passes : Passes
        The passes that are expected.
    grid : tuple of int
        The model grid of the first case.
    """

    model: SegmentationModel
    cases: Cases
    method: Method
    options: Any
    labels: tuple[str, ...]
    concepts: Concepts | None
    seed: int
    device: torch.device
    passes: Passes
    grid: tuple[int, ...]

    @classmethod
    def make(
        cls,
        model: SegmentationModel | nn.Module | str | Path,
        cases: Cases,
        method: str,
        *,
        label: str | int | None = None,
        concepts: str | os.PathLike[str] | None = None,
        seed: int = 0,
        device: str | torch.device = "auto",
        **params: Any,
    ) -> SurveyPlan:
        """Check everything about a `survey` that can be checked without running the network; the first image is read.

        Raises
        ------
        UserError
            For anything that was asked wrongly, or if there are fewer cases than the method needs.
        """
        found = find_method(method, "dataset")
        asked = found.on_cases
        assert asked is not None
        options = found.make_options(params)
        if not isinstance(model, SegmentationModel):
            model = load_model(model)
        needs = found.needs_of(options)
        model.require(needs)
        for package in asked.packages:
            need(package, "concepts", method)
        for layer in found.layers_of(options).values():
            check_used(model.find_layer(layer), model.name)
        listed = found.lists_layers
        layers = len(chosen_layers(model, options.layers, [])) if listed else 1  # raises
        labels = _labels(model, label, asked, method)
        seed = whole_number(seed, "seed", 0, HIGHEST_SEED)
        chosen = choose_device(str(device))
        if concepts is not None and not asked.concepts:
            raise UserError(f"{method} is not asked about concepts; leave them out.")
        subjects = len({case.subject for case in cases})
        if subjects < asked.fewest:
            raise UserError(
                f"{method} needs {count_of(asked.fewest)}, and {cases.source.name} holds {subjects}; add some."
            )
        check_names(model, cases)
        names = tuple(model.labels[1:]) if asked.targets else labels
        source = read_concepts(concepts, cases, names) if asked.concepts else None
        image, known = check_first(cases, model, source)
        slices = model.slices(image)
        network = model
        grid = network.grid_for(image, None if slices is None else 0)
        size = Size(grid, lambda: network.example_layers, len(network.card.channels))
        extent = Extent(size, len(cases), len(labels), max(len(known), 1), layers)
        passes = asked.passes(options, extent)
        if slices is not None and (source is None or source.kind == "predicted"):
            passes = passes + Passes(slices * len(cases))  # to find the slice that is looked at
        return cls(
            model, cases, found, options, labels, source, seed, chosen, passes.bounded(method), tuple(grid)
        )


def _labels(
    model: SegmentationModel, label: str | int | None, asked: OnCases, method: str
) -> tuple[str, ...]:
    if label is not None:
        return (model.labels[model.label_index(label)],)
    if asked.label and len(model.labels) > 2:
        raise UserError(f"{method} asks about one label; choose one of {', '.join(model.labels[1:])}.")
    return tuple(model.labels[1:])
