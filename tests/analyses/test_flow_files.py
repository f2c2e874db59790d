"""An information flow that was saved is opened again, value by value, without its model."""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import nullcontext
from dataclasses import fields, is_dataclass
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from helpers.figures import seen
from helpers.labels import nested, regions
from helpers.networks import LinearHead, card, conv, planted_image
from helpers.odd_networks.transformers import Transformer
from matplotlib.figure import Figure
from torch import nn

import napari_segxai as sx
from napari_segxai.analyses.flow import result, wording
from napari_segxai.core.record import as_json
from napari_segxai.methods.registry import options_as_dict
from napari_segxai.models import registry

ODD = ["background", "=1+1", "a/b: c", "ü {} $\\frac$", "vertebra 1", "vertebra 2"]


class Pool(nn.Module):
    """Half the resolution and back, so that layers are coarser than the model grid."""

    def __init__(self, ndim: int = 2, labels: int = 2):
        super().__init__()
        torch.manual_seed(1)
        self.encoder, self.down = conv(ndim)(1, 4, 3, padding=1), conv(ndim)(4, 5, 2, stride=2)
        self.bottleneck = conv(ndim)(5, 5, 3, padding=1)
        self.head = conv(ndim)(9, labels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = self.encoder(x).relu()
        low = self.bottleneck(self.down(skip).relu())
        up = nn.functional.interpolate(low, skip.shape[2:])
        logits = self.head(torch.cat([skip, up], 1))
        return logits - logits.mean(tuple(range(2, x.ndim)), keepdim=True)  # each label is drawn somewhere


def volume_file(folder) -> sx.Image:
    """An oblique volume, stored with other axes than it is shown with, and a qform code of its own."""
    rng = np.random.default_rng(2)
    cos, sin = np.cos(0.1), np.sin(0.1)
    affine = np.array(
        [[0, -2 * cos, 2.5 * sin, 9], [1.5, 0, 0, -4], [0, 2 * sin, 2.5 * cos, 7], [0, 0, 0, 1]]
    )
    file = nib.Nifti1Image(rng.normal(size=(9, 11, 7)).astype(np.float32), affine)
    file.set_sform(affine, 4)
    file.set_qform(affine, 1)
    file.header["descrip"] = b"of the scanner"
    nib.save(file, folder / "oblique.nii.gz")
    return sx.read_image(folder / "oblique.nii.gz")


def picture_file(folder) -> sx.Image:
    np.save(
        folder / "picture.npy", planted_image().array
    )  # what a user keeps; the image has no file of its own
    return planted_image()


def a_picture(folder):
    model = sx.load_model(Pool(), card=card(grid={"multiple": 16}))
    asked = {"region": sx.Box((10, 4), (26, 20)), "causal": True, "ablation": "both", "layers": "all"}
    return sx.information_flow(model, picture_file(folder), **asked)


def a_volume(folder):
    image = volume_file(folder)
    model = sx.load_model(Pool(3), card=card(3, orientation="RAS", grid={"multiple": 4}))
    truth = np.zeros(image.spatial_shape, int)
    truth[2:5, 3:6, 1:4] = 1
    region = np.zeros(image.spatial_shape, bool)
    region[1:6, 2:9, 1:5] = True
    asked = {"method": "seg-hires-grad-cam", "truth": truth, "region": region, "layers": "all"}
    return sx.information_flow(model, image, **asked)


def a_slice(folder):
    model = sx.load_model(Pool(), card=card(grid={"multiple": 4}))
    return sx.information_flow(model, volume_file(folder), slice=2, axis=1, method="layer-cam")


def overlapping(folder):
    return sx.information_flow(regions(3), nested(3), layers="all", causal=True, region=sx.Point((2, 3, 4)))


def painted(folder):
    model = regions(paint_order=["whole", "core", "enhancing"])
    return sx.information_flow(model, nested(), ["core", "background"], layers="all")


def tokens(folder):
    model = sx.load_model(Transformer(), card=card(grid={"size": [32, 32]}))
    image = sx.Image(np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32), spacing=(0.5, 2))
    return sx.information_flow(
        model, image, layers="all", region="image", method="grad-pam", pixels=3, causal=True
    )


def odd_names(folder):
    class Odd(LinearHead):
        def __init__(self):
            super().__init__(labels=len(ODD))
            self.features.add_module("-cmd|'x'!A1", nn.Identity())

    image = planted_image()
    named = sx.Image(image.array, name="../an image {0} $x_{", spacing=(0.3, 0.4), units="µm")
    layers = ["features.0", "features.-cmd|'x'!A1", "head"]
    return sx.information_flow(sx.load_model(Odd(), card=card(labels=ODD)), named, layers=layers)


KINDS = (a_picture, a_volume, a_slice, overlapping, painted, tokens, odd_names)
SEEN = (a_picture, a_volume, odd_names)
"""Those whose figures are drawn and compared as files; of all, what they are drawn from is compared."""


@pytest.fixture(scope="module", params=KINDS, ids=lambda make: make.__name__)
def made(request, tmp_path_factory):
    """A flow, the folder that it was saved to, and what is opened from that; and what its figures are drawn in."""
    figures = seen if request.param in SEEN else nullcontext
    flow = request.param(tmp_path_factory.mktemp("image"))
    folder = tmp_path_factory.mktemp("results") / "flow"
    key = next(reversed(flow.tiles))
    with figures():
        flow.save(folder, tiles=[key])
    opened = sx.load_flow(folder)
    return SimpleNamespace(flow=flow, folder=folder, opened=opened, key=key, figures=figures)


def same(a, b, path=""):
    """Compare plain values and arrays, also inside of others: type, shape and every bit."""
    if isinstance(a, np.ndarray):
        assert isinstance(b, np.ndarray), path
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()), path
    elif isinstance(a, dict):
        assert list(a) == list(b), path
        for key in a:
            same(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for k, (one, other) in enumerate(zip(a, b, strict=True)):
            same(one, other, f"{path}[{k}]")
    elif is_dataclass(a):
        assert type(a) is type(b), path
        for each in fields(a):
            same(getattr(a, each.name), getattr(b, each.name), f"{path}.{each.name}")
    elif isinstance(a, nib.Nifti1Header):
        assert a.binaryblock == b.binaryblock, path
    else:
        assert a == b or (a != a and b != b), f"{path}: {a!r} {b!r}"


def test_numbers_maps_and_words_are_those_that_were_saved(made):
    flow, opened = made.flow, made.opened
    assert opened.model is None
    assert (opened.layers, opened.labels) == (flow.layers, flow.labels)
    assert (opened.placement, opened.passes, opened.method) == (flow.placement, flow.passes, flow.method)
    assert options_as_dict(opened.options) == options_as_dict(flow.options)
    assert list(opened.tiles) == list(flow.tiles)
    for key, tile in flow.tiles.items():
        same(tile, opened.tiles[key], str(key))
    same(flow.rows, opened.rows)
    same(flow.drawn, opened.drawn)
    same(flow.prediction, opened.prediction)
    same(flow.region, opened.region)
    same(flow.truth, opened.truth)
    assert (opened.warnings, opened.notes, opened.missed) == (flow.warnings, flow.notes, flow.missed)
    assert as_json(opened.facts) == as_json(flow.facts)
    assert wording.summary(opened) == wording.summary(flow)
    for label in flow.labels:
        for quantity in wording.QUANTITIES:
            same(flow.curve(label, quantity), opened.curve(label, quantity))
        assert opened.route(label) == flow.route(label)
        assert wording.emergence(opened, label) == wording.emergence(flow, label)


def test_the_figure_is_drawn_from_the_same_values(made, monkeypatch):
    """On one colour scale, and with a scale for each tile, which is saved."""
    asked = []
    monkeypatch.setattr(result, "draw_flow", lambda *values, **names: asked.append((values, names)))
    for common in (True, False):
        for flow in (made.flow, made.opened):
            result.flow_figure(flow, common=common)
        own, again = asked[-2:]
        same(own, again)
        assert not common or len({cell.end for row in own[0][0] for cell in row}) == 1


def test_every_tile_becomes_the_same_layers_and_record(made):
    for key in made.flow.tiles:
        one, other = made.flow.explanation(*key), made.opened.explanation(*key)
        same(one.map, other.map)
        same(one.native, other.native)
        same(one.native_affine, other.native_affine)
        assert as_json(one.record.as_dict()) == as_json(other.record.as_dict())
        for (a, told_a, kind_a), (b, told_b, kind_b) in zip(one.to_layers(), other.to_layers(), strict=True):
            assert kind_a == kind_b
            same(np.ascontiguousarray(a), np.ascontiguousarray(b))
            for told in (told_a, told_b):
                told["metadata"].pop("segxai")  # the record: see above
            same(told_a, told_b)


def test_what_was_opened_is_saved_with_the_same_numbers(made, tmp_path, monkeypatch):
    savefig = Figure.savefig  # the SVG of the first save is enough

    def save(self, path, **more):
        return path.touch() if path.suffix == ".svg" else savefig(self, path, **more)

    monkeypatch.setattr(Figure, "savefig", save)
    with made.figures():
        made.opened.save(tmp_path / "again", tiles=[made.key])
    one, other = (
        json.loads((folder / "record.json").read_text()) for folder in (made.folder, tmp_path / "again")
    )
    assert one["schema"] == 1
    files, others = one.pop("files"), other.pop("files")
    assert one == other
    assert list(files) == list(others)
    assert "flow.png" in files
    for name in files:
        if not name.endswith(".svg"):
            assert hashed(made.folder / name) == hashed(tmp_path / "again" / name), name


def hashed(path) -> str:
    data = path.read_bytes()
    if path.name == "record.json":  # of a tile
        return json.dumps({**json.loads(data), "files": None})
    if path.name.endswith(".tif"):  # which has an identifier of its own
        return sx.read_image(path).sha256
    if path.name.endswith(".gz"):  # which says when it was packed
        import gzip

        data = gzip.decompress(data)
    return hashlib.sha256(data).hexdigest()


def test_a_saved_tile_is_what_the_opened_flow_gives(made):
    saved = sx.load_explanation(next(path.parent for path in made.folder.glob("*/record.json")))
    again = made.opened.explanation(*made.key)
    same(saved.map, again.map)
    same(saved.prediction, again.prediction)


def test_a_folder_that_is_dropped_opens_its_tiles_as_layers(tmp_path, viewer):
    image = volume_file(tmp_path)
    model = sx.load_model(Pool(3), card=card(3, orientation="RAS", grid={"multiple": 4}))
    flow = sx.information_flow(model, image)
    for tiles in ([], [("object", "head"), ("object", "encoder")]):
        flow.save(tmp_path / "flow", tiles=tiles, overwrite=True)
        viewer.layers.clear()
        viewer.open(tmp_path / "flow", plugin="napari-segxai")
        wanted = tiles or [("object", "head")]  # it emerges nowhere: the last
        maps = viewer.layers[-len(wanted) :]
        assert [layer.name for layer in viewer.layers] == [
            "oblique",
            "prediction · planted",
            *(f"saliency · {label} at {layer}" for label, layer in wanted),
        ]
        assert [layer.visible for layer in maps] == [False] * (len(maps) - 1) + [True]
        for layer, key in zip(maps, wanted, strict=True):
            [own] = [
                data for data in flow.explanation(*key).to_layers() if data[1]["name"].startswith("saliency")
            ]
            same(np.asarray(layer.data), np.ascontiguousarray(own[0]))
            np.testing.assert_allclose(layer.scale, own[1]["scale"])


def test_the_causal_check_of_an_opened_flow_needs_its_model(tmp_path):
    image = volume_file(tmp_path)
    model = sx.load_model(Pool(), card=card(grid={"multiple": 4}))
    flow = sx.information_flow(model, image, slice=2, axis=1, layers="all")
    flow.save(tmp_path / "flow")
    opened = sx.load_flow(tmp_path / "flow" / "record.json")
    with pytest.raises(sx.UserError, match="give planted as model="):
        sx.causal_check(opened)
    other = sx.load_model(LinearHead(), card=card(grid={"multiple": 4}))
    with pytest.raises(sx.UserError, match="has other weights"):
        sx.causal_check(opened, model=other)
    assert all(tile.lost is None for tile in opened.tiles.values())
    sx.causal_check(flow, "both")
    assert sx.causal_check(opened, "both", model=model) is opened
    same(flow.rows, opened.rows)
    assert opened.passes == flow.passes
    opened.save(tmp_path / "flow", overwrite=True)
    same(sx.load_flow(tmp_path / "flow").rows, flow.rows)


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """A flow of a linear network, and the folder that it was saved to."""
    model, folder = sx.load_model(LinearHead(), card=card()), tmp_path_factory.mktemp("linear") / "flow"
    flow = sx.information_flow(model, planted_image())
    flow.save(folder)
    return SimpleNamespace(model=model, flow=flow, folder=folder)


def test_a_causal_check_says_when_the_image_is_not_there(linear):
    model, opened = linear.model, sx.load_flow(linear.folder)
    with pytest.raises(sx.UserError, match="the values of planted"):
        sx.causal_check(opened, model=model)
    with pytest.raises(sx.UserError, match="the given image has other values"):
        sx.causal_check(opened, model=model, image=planted_image().array[::-1])
    sx.causal_check(opened, model=model, image=planted_image())
    assert all(tile.lost is not None for tile in opened.tiles.values())


def test_nothing_is_loaded_to_open_a_flow(linear, monkeypatch):
    monkeypatch.setattr(registry, "load_model", None)
    monkeypatch.setattr(nn.Module, "__call__", None)
    opened = sx.load_flow(linear.folder)
    assert opened.explanation("object", opened.layers[0].name).map.shape == (32, 32)


def test_a_flow_of_a_crop_lies_where_it_lay(tmp_path):
    image = np.zeros((20, 24), np.float32)
    image[3:17, 6:22] = 1 + np.random.default_rng(0).random((14, 16))
    model = sx.load_model(LinearHead(), card=card(grid={"crop": "nonzero"}))
    flow = sx.information_flow(model, sx.Image(image), labels=["object"])
    flow.save(tmp_path / "flow")
    found = sx.load_flow(tmp_path / "flow")
    assert found.placement == flow.placement
    assert found.placement.box == ((3, 17), (6, 22))
    path = tmp_path / "flow" / "record.json"
    facts = json.loads(path.read_text())
    facts["placement"]["box"][1] = [6, 25]
    path.write_text(json.dumps(facts))
    with pytest.raises(sx.UserError, match=r"placement.box: lies outside the image"):
        sx.load_flow(tmp_path / "flow")


def test_what_is_no_saved_flow_is_said(linear, tmp_path):
    shutil.copytree(linear.folder, tmp_path / "flow")
    linear.flow.explanation("object", linear.flow.layers[0].name).save(tmp_path / "explanation")
    with pytest.raises(sx.UserError, match="holds an explanation, not an information flow"):
        sx.load_flow(tmp_path / "explanation")
    with pytest.raises(sx.UserError, match=r"holds no record\.json"):
        sx.load_flow(tmp_path)
    record = tmp_path / "flow" / "record.json"
    told = json.loads(record.read_text())
    for spoil in (
        lambda r: r.pop("placement"),
        lambda r: r["advice"].pop(),
        lambda r: r["network_layers"][0].update(shape=[1, 2, 3]),
        lambda r: r.update(method="../rise"),
        lambda r: r["advice"].__setitem__(0, [{"rule": "x", "words": ["a", "b"], "numbers": ["one"]}]),
    ):
        spoiled = json.loads(json.dumps(told))
        spoil(spoiled)
        record.write_text(json.dumps(spoiled))
        with pytest.raises(sx.UserError, match="flow"):
            sx.load_flow(tmp_path / "flow")
    record.write_text(json.dumps(told))
    (tmp_path / "flow" / "flow.csv").write_text("label\n")
    with pytest.raises(sx.UserError, match="was changed since it was saved"):
        sx.load_flow(tmp_path / "flow")


def test_remarks_that_differ_in_a_name_are_not_taken_for_numbers():
    model = sx.load_model(LinearHead(labels=6), card=card(labels=ODD))
    with torch.no_grad():
        model.module.head.weight.zero_()
        model.module.head.bias.copy_(torch.tensor([9.0, 0, 0, 0, 0, 0]))
    flow = sx.information_flow(model, planted_image(), ["vertebra 1", "vertebra 2"])
    said = [text for text, _ in wording.summary(flow)]
    assert "no pixel is predicted as vertebra 1: there is nothing to explain." in said
    assert "no pixel is predicted as vertebra 2: there is nothing to explain." in said
