"""Sizes that a network cannot take: the multiple is found, said and used; where there is none the key is named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from helpers.networks import card
from helpers.odd_networks.halving import Halves
from torch import Tensor, nn
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.cli.app import app

WHOLE = sx.Target("object", region="image")


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, np.float32)


@pytest.mark.parametrize(
    ("network", "ndim", "multiples"),
    [
        (Halves((2,)), 2, (2, 2)),
        (Halves((2, 2, 2)), 2, (8, 8)),
        (Halves((3,)), 2, (3, 3)),
        (Halves((2, 3)), 2, (6, 6)),
        (Halves(((2, 4), (2, 1))), 2, (4, 4)),
        (Halves(((1, 2, 2), (2, 2, 2)), 3), 3, (2, 4, 4)),
        (Halves((2, 2), fit=True), 2, (1, 1)),  # resizes by itself
        (nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, stride=2), nn.Upsample(scale_factor=2)), 2, (2, 2)),
        (nn.Conv2d(1, 2, 3, padding=1, stride=4), 2, (1, 1)),  # covers the image in strides
    ],
)
def test_the_multiple_is_found_and_used_like_one_on_the_card(network, ndim, multiples):
    model = sx.load_model(network.eval(), card=card(ndim))
    assert model.multiples == multiples
    shape = (35, 33) if ndim == 2 else (9, 13, 15)
    padded = tuple(-(-n // m) * m for n, m in zip(shape, multiples, strict=True))
    found = sx.explain(model, image(*shape), WHOLE, "vanilla-gradient")
    notes = [w for w in found.record.warnings if "`grid: multiple`" in w]
    if padded == shape:
        assert not notes
    else:
        assert " x ".join(map(str, padded)) in notes[0]
    assert model.grid_for(sx.Image(image(*shape))) == padded
    if len(set(multiples)) == 1:
        said = sx.load_model(network, card=card(ndim, grid={"multiple": multiples[0]}))
        again = sx.explain(said, image(*shape), WHOLE, "vanilla-gradient")
        assert np.array_equal(found.map, again.map)
        assert not any("multiple" in w for w in again.record.warnings)
        assert np.array_equal(model.predict(sx.Image(image(*shape))), said.predict(sx.Image(image(*shape))))


def test_a_size_that_fits_is_left_as_it_is():
    model = sx.load_model(Halves().eval(), card=card())
    assert not sx.explain(model, image(36, 40), WHOLE, "vanilla-gradient").record.warnings
    # A card that says 1 is believed.
    said = sx.load_model(Halves().eval(), card=card(grid={"multiple": 1}))
    assert said.multiples == (1, 1)


class OneSize(nn.Module):
    """Adds a position embedding of a fixed size."""

    def __init__(self, side: int):
        super().__init__()
        self.place = nn.Parameter(torch.rand(1, 2, side, side))
        self.head = nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x) + self.place


CALLS = {
    "predict": lambda model, shown: model.predict(sx.Image(shown)),
    "gradient": lambda model, shown: sx.explain(model, shown, WHOLE, "vanilla-gradient"),
    "layer": lambda model, shown: sx.explain(model, shown, WHOLE, "seg-grad-cam", layer="head"),
    "replay": lambda model, shown: sx.explain(model, shown, WHOLE, "seg-ablation-cam", layer="head"),
    "masks": lambda model, shown: sx.explain(model, shown, WHOLE, "rise", masks=40),
    "boxes": lambda model, shown: sx.explain(model, shown, WHOLE, "occlusion"),
    "descent": lambda model, shown: sx.explain(model, shown, WHOLE, "misure"),
    "flow": lambda model, shown: sx.information_flow(model, shown),
    "compare": lambda model, shown: sx.compare(model, shown, WHOLE, ["vanilla-gradient"]),
    "layers": lambda model, shown: model.network_layers(sx.Image(shown)),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("network", "grid"),
    [(Halves(), {"multiple": 2}), (OneSize(64), {}), (OneSize(224), {})],
    ids=["given", "64", "224"],
)
def test_where_none_is_found_the_key_is_named(call, network, grid):
    model = sx.load_model(network.eval(), card=card(grid=grid))
    with pytest.raises(
        sx.UserError, match=r"cannot run on a grid of 34 x 34 \(.+\): write `grid: multiple`"
    ) as caught:
        CALLS[call](model, image(34, 34))
    assert "\n" not in str(caught.value)
    if isinstance(network, OneSize) and call in ("predict", "gradient"):
        CALLS[call](model, image(network.place.shape[-1], network.place.shape[-1]))


def test_the_command_line_pads_and_refuses_alike(tmp_path):
    fields = card(architecture="net:Halves", weights="w.pt")
    (tmp_path / "net.py").write_text("from helpers.odd_networks.halving import Halves\n")
    torch.save(Halves().state_dict(), tmp_path / "w.pt")
    np_image = (255 * image(35, 33)).astype(np.uint8)
    from skimage.io import imsave

    imsave(tmp_path / "a.png", np_image, check_contrast=False)
    run = [
        "explain",
        str(tmp_path / "a.png"),
        "--model",
        str(tmp_path),
        "--trust",
        "--label",
        "object",
        "--method",
    ]
    run += ["vanilla-gradient", "--region", "image", "--out"]
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(fields))
    done = CliRunner().invoke(app, [*run, str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "grid: multiple" in (tmp_path / "out" / "record.json").read_text()
    (tmp_path / "model.yaml").write_text(yaml.safe_dump({**fields, "grid": {"multiple": 1}}))
    done = CliRunner().invoke(app, [*run, str(tmp_path / "out2")])
    assert done.exit_code == 2
    assert "cannot run on a grid of 35 x 33" in done.output
