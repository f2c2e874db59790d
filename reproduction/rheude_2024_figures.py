"""Seg-HiRes-Grad CAM (Rheude et al. 2024): against Seg-Grad-CAM (figures 2 to 5), pixel sets (6), per layer (7, 8).

The paper shows pictures; here the same maps are also measured. "Inside" is the share of a map's positive mass in the
prediction. The prediction itself is measured as in the paper's table 2.
"""

from __future__ import annotations

import numpy as np
import torch
from common import DEVICE, PAPER, Case, Row, cases, firsts, inside_by_chance
from kept import Store
from settings import Settings

import napari_segxai as sx
from napari_segxai.metrics.functional.layer_maps import shares
from napari_segxai.metrics.functional.localization import energy_inside, f_score, iou

NAME = "rheude_2024_figures"
METHODS = {"Seg-Grad-CAM": "seg-grad-cam", "Seg-HiRes-Grad-CAM": "seg-hires-grad-cam"}
NEAR = 1 / 8
"""Radius around the pixel of the pixel set "point", as a share of the image's longest side."""


def run(settings: Settings, store: Store) -> list[Row]:
    """Return the rows of all cases."""
    found = cases(settings)
    shown = {case.key for case in firsts(found)}
    rows = []
    for case in found:
        keep = store if case.key in shown else None
        measure = lambda c=case, k=keep: _measure(c, k)  # noqa: E731
        rows += store.rows(NAME, case, {"near": NEAR}, measure, shown=case.key in shown)
    return rows


def _measure(case: Case, store: Store | None) -> list[Row]:
    predicted = case.predicted()
    rows = [_quality(case, predicted)] if case.truth is not None else []
    if predicted.any():
        rows += _pixel_sets(case, predicted, store) + _layers(case, store)
    return rows


def _quality(case: Case, predicted: np.ndarray) -> Row:
    truth = case.truth == case.model.label_index(case.label)
    return {"part": "network", "f1": f_score(predicted, truth), "iou": iou(predicted, truth)}


def _pixel_sets(case: Case, predicted: np.ndarray, store: Store | None) -> list[Row]:
    """Explain the whole image, the class, one pixel of it, and no pixel at all."""
    places = np.argwhere(predicted)
    point = tuple(int(i) for i in places[len(places) // 2])
    distance = np.linalg.norm(
        np.indices(predicted.shape) - np.reshape(point, (-1,) + (1,) * predicted.ndim), axis=0
    )
    near = distance <= NEAR * max(predicted.shape)
    rows = []
    for name, method in METHODS.items():
        for pixels, region in {"image": "image", "class": None, "point": point}.items():
            map = _explain(case, case.image, method, region).map
            rows.append(
                {
                    "part": "pixel sets",
                    "method": name,
                    "pixels": pixels,
                    "inside": energy_inside(map, predicted),
                    **inside_by_chance(map, predicted, case.draws),
                    "near": energy_inside(map, near),
                    "highest": float(np.abs(map).max()),
                }
            )
            if store is not None:
                store.keep_maps(case, **{f"{name}, {pixels}": map})
        # No pixel: a black image, in which the network should find nothing to explain.
        empty = sx.Image(np.zeros_like(case.image.array), affine=case.image.affine,
                         channel_axis=case.image.channel_axis, name="black")  # fmt: skip
        explanation = _explain(case, empty, method, None)
        found = bool(explanation.drawn(explanation.record.target["label"]).any())
        rows.append(
            {
                "part": "pixel sets",
                "method": name,
                "pixels": "none",
                "inside": None,
                "near": None,
                "highest": None if found else float(np.abs(explanation.map).max()),
            }
        )
    return rows


def _explain(case: Case, image: sx.Image, method: str, region: object) -> sx.Explanation:
    return sx.explain(
        case.model, image, sx.Target(case.label, region=region), method, device=DEVICE, **PAPER[method]
    )


def _layers(case: Case, store: Store | None) -> list[Row]:
    """Explain every main block of the network."""
    rows = []
    for name, method in METHODS.items():
        flow = sx.information_flow(case.model, case.image, [case.label], method=method, device=DEVICE)
        predicted = torch.from_numpy(flow.drawn[case.label])
        for k, layer in enumerate(flow.layers):
            tile = flow.tiles[case.label, layer.name]
            inside = None if np.isnan(tile.energy_inside) else tile.energy_inside
            rows.append(
                {
                    "part": "layers",
                    "method": name,
                    "layer": layer.name,
                    "stage": layer.stage,
                    "depth": k / (len(flow.layers) - 1),
                    "cells": int(np.prod(tile.map.shape)),
                    "inside": inside,
                    **inside_by_chance(tile.map, shares(predicted, tile.map.shape).numpy(), case.draws),
                    "dice": tile.dice,
                }
            )
            if store is not None:
                store.keep_maps(case, **{f"{name} at {layer.name}": tile.map})
    return rows
