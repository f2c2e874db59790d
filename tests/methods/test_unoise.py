"""U-Noise: what it learns of a planted network, files to go on from, folders, formulas written out."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.networks import OBJECT, PATCH, planted_image, planted_model
from safetensors import safe_open
from torch import nn

import napari_segxai as sx
from napari_segxai.methods.noise_network.net import NoiseNet, bilateral
from napari_segxai.methods.registry import NOMINAL, find_method

TINY = {"steps": 4, "depth": 1, "channels": 2}


def ask(ndim: int = 2, image: sx.Image | None = None, **params):
    image = image or planted_image(ndim)
    return sx.explain(planted_model(ndim), image, "object", "u-noise", **{**TINY, **params})


def reasons(ndim: int) -> np.ndarray:
    mask = np.zeros((32, 32) if ndim == 2 else (6, 32, 32), bool)
    for part in (PATCH, OBJECT):
        mask[(..., *part)] = True
    return mask


def brighter(folder, names=("a.png", "b.png")) -> None:
    """Write pictures of the planted scene, object and patch at other places."""
    from PIL import Image

    folder.mkdir(exist_ok=True)
    for k, name in enumerate(names):
        array = np.rint(np.roll(planted_image().array, (k, 0), (0, 1)) * 255).astype(np.uint8)
        Image.fromarray(array).save(folder / name)


@pytest.fixture
def pictures(tmp_path):
    brighter(tmp_path / "pictures")
    return tmp_path / "pictures"


def test_what_the_object_stands_on_is_spared():
    ex = ask(steps=50, channels=8, depth=1, noise_min=0.1, noise_max=3.0, lr=0.01, reward=0.05)
    needed = reasons(2)
    assert ex.map[needed].mean() > ex.map[~needed].mean() + 0.05
    assert ex.record.results["dice_with_noise"] > 0.9
    assert ex.map.min() >= 0
    assert ex.map.max() <= 1


@pytest.mark.parametrize("ndim", [2, 3])
def test_numbers_and_passes(ndim):
    ex = ask(ndim)
    results = ex.record.results
    assert results["steps_trained"] == 4
    assert results["mean_noise"] == pytest.approx(1 - ex.map.mean(), abs=1e-5)
    assert len(ex.curves["training"]["loss"]) == 4
    visible = ex.curves["visible"]
    assert visible["share_visible"][-1] == 1
    assert visible["dice"][-1] == 1  # everything visible is the image itself
    assert (np.diff(visible["share_visible"]) >= 0).all()
    assert results["dice_at_median"] == visible["dice"][10]
    # prediction; 4 steps of 2 copies, predicted and disturbed; 22 at the end
    assert ex.record.passes == {"forward": 1 + 16 + 22, "backward": 8}
    method = find_method("u-noise")
    planned = method.passes(method.make_options(TINY), NOMINAL)
    assert planned.as_dict() == ex.record.passes


def test_the_first_loss_written_out(pictures):
    ex = ask(folder=str(pictures), batch=2, steps=1, noise_min=0.5, noise_max=2.0, reward=0.01, seed=3)
    random = np.random.Generator(np.random.Philox(key=3, counter=[0, 0, 0, 0]))
    model = planted_model()
    files = sorted(pictures.iterdir())
    tensors = [model.prepare(sx.read_image(file)).tensor for file in files]
    random.choice(1, p=[1.0])
    x = torch.cat([tensors[int(k)] for k in random.choice(2, 2, replace=False)])
    drawn = torch.from_numpy(random.standard_normal(x.shape, np.float32))
    torch.manual_seed(3)
    net = NoiseNet(2, 1, 1, 2)
    with torch.no_grad():
        b = net(x).sigmoid()
        deviation = x.std((2, 3), keepdim=True, unbiased=False)
        logits = model.module(x + deviation * (b * 1.5 + 0.5) * drawn)
        reference = (model.module(x).argmax(1) == 1).float()
        kept = F.softplus((1 - 2 * reference) * (logits[:, 1] - logits[:, 0])).mean()
        loss = kept - 0.01 * b.log().mean()
    assert ex.curves["training"]["loss"][0] == pytest.approx(float(loss), rel=1e-3)
    assert ex.record.passes == {"forward": 1 + 2 + 2 + 22, "backward": 2}


def test_going_on_from_a_file_equals_one_long_training(tmp_path):
    file = str(tmp_path / "noise.safetensors")
    whole = ask(steps=6)
    ask(steps=3, weights=file)
    resumed = ask(steps=6, weights=file)
    np.testing.assert_array_equal(resumed.map, whole.map)
    assert resumed.curves["training"]["step"] == [3, 4, 5]
    again = ask(steps=6, weights=file)  # nothing left to do
    np.testing.assert_array_equal(again.map, whole.map)
    assert again.record.passes == {"forward": 23, "backward": 0}
    assert again.record.results["loss"] is None
    with safe_open(file, framework="pt") as opened:
        facts = json.loads(opened.metadata()["u-noise"])
    assert (facts["steps"], facts["depth"], facts["noise_max"], facts["label"]) == (6, 1, 5.0, "object")


def test_a_stopped_training_is_kept_and_can_go_on(tmp_path):
    file = tmp_path / "noise.safetensors"
    job = sx.explain_steps(
        planted_model(), planted_image(), "object", "u-noise", **{**TINY, "weights": str(file)}
    )
    for step in job:
        if step.note.startswith("training 2"):
            break
    partial = step.partial()
    job.close()
    assert partial.record.results["steps_trained"] == 2
    assert file.exists()
    assert not list(tmp_path.glob("*.part"))
    np.testing.assert_array_equal(ask(weights=str(file)).map, ask().map)


def test_an_exception_keeps_the_weights_too(tmp_path):
    file = tmp_path / "noise.safetensors"
    model = planted_model()
    original, calls = model.module.forward, []

    def forward(x):
        calls.append(len(x))
        if len(calls) == 8:  # the first two try the fused network
            raise RuntimeError("boom")
        return original(x)

    model.module.forward = forward
    with pytest.raises(RuntimeError, match="boom"):
        sx.explain(model, planted_image(), "object", "u-noise", **{**TINY, "weights": str(file)})
    assert file.exists()
    assert not any(p.grad is not None for p in model.module.parameters())


def test_files_of_another_kind_are_refused(tmp_path):
    file = str(tmp_path / "noise.safetensors")
    ask(weights=file)
    for changed in ({"depth": 2}, {"channels": 3}, {"noise_max": 4.0}, {"bilateral": 1.0}):
        ((name, value),) = changed.items()
        with pytest.raises(sx.UserError, match=f"trained for {name} .*, not {value}"):
            ask(weights=file, **changed)
    with pytest.raises(sx.UserError, match="trained for label 'object'"):
        sx.explain(planted_model(), planted_image(), "background", "u-noise", **{**TINY, "weights": file})
    other = planted_model()
    with torch.no_grad():
        other.module.mix.bias[0] += 0.1
    with pytest.raises(sx.UserError, match="trained for another model"):
        sx.explain(other, planted_image(), "object", "u-noise", **{**TINY, "weights": file})
    (tmp_path / "text.safetensors").write_text("no tensors")
    with pytest.raises(sx.UserError, match="not a safetensors file"):
        ask(weights=str(tmp_path / "text.safetensors"))
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(sx.UserError, match="no noise network"):
        ask(weights=str(tmp_path / "foreign.safetensors"))


@pytest.mark.parametrize(
    "harm",
    [
        lambda facts, tensors: tensors.popitem(),
        lambda facts, tensors: facts.pop("steps"),
        lambda facts, tensors: facts.update(steps="three"),
        lambda facts, tensors: tensors.update({"net.head.bias": torch.zeros(7)}),
        lambda facts, tensors: tensors.update({"exp_avg.head.bias": torch.zeros(7)}),
    ],
)
def test_a_file_that_does_not_hold_what_it_says_is_refused(tmp_path, harm):
    from napari_segxai.methods.noise_network.file import read_noise_file, write_noise_file

    file = tmp_path / "noise.safetensors"
    ask(weights=str(file))
    facts, tensors = (dict(part) for part in read_noise_file(file))
    harm(facts, tensors)
    write_noise_file(file, facts, tensors)
    with pytest.raises(sx.UserError, match=r"does not fit what the file says of it|steps"):
        ask(weights=str(file))


def test_a_folder_with_and_without_truth(tmp_path, pictures):
    (pictures / "notes.txt").write_text("no image")
    own = ask(folder=str(pictures))
    assert own.record.passes == {"forward": 1 + 2 + 8 + 22, "backward": 8}
    truth = tmp_path / "truth"
    truth.mkdir()
    from PIL import Image

    for name in ("a", "b"):
        predicted = planted_model().predict(sx.read_image(pictures / f"{name}.png"))
        Image.fromarray(predicted.astype(np.uint8)).save(truth / f"{name}.png")
    taught = ask(folder=str(pictures), truth=str(truth))
    assert taught.record.passes == {"forward": 1 + 8 + 22, "backward": 8}
    np.testing.assert_array_equal(taught.map, own.map)  # the truth is what the network says
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(truth / "b.png")
    assert not np.array_equal(ask(folder=str(pictures), truth=str(truth)).map, own.map)
    (truth / "a.png").unlink()
    with pytest.raises(sx.UserError, match=r"no truth for a\.png"):
        ask(folder=str(pictures), truth=str(truth))
    assert len(find_method("u-noise").make_options({"folder": str(pictures), "images": 1}).files) == 1


def test_an_image_that_does_not_fit_is_named(pictures):
    from PIL import Image

    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(pictures / "colour.png")
    with pytest.raises(sx.UserError, match=r"colour\.png.*channel"):
        ask(folder=str(pictures))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"folder": "/nowhere/at/all"}, "is not a folder"),
        ({"truth": "/tmp"}, "truth needs the folder"),
        ({"weights": "noise.pt"}, r"\.safetensors"),
        ({"weights": "/nowhere/at/all/noise.safetensors"}, "existing folder"),
        ({"noise_min": 5.0}, "above noise_min"),
        ({"depth": 9}, "5 or less"),
    ],
)
def test_what_cannot_work_is_told_before_the_first_pass(params, message):
    with pytest.raises(sx.UserError, match=message):
        sx.explain_steps(planted_model(), planted_image(), "object", "u-noise", **params)


def test_an_empty_folder_is_told(tmp_path):
    with pytest.raises(sx.UserError, match="holds no image"):
        ask(folder=str(tmp_path))


def test_seeds():
    first, again, other = ask(seed=1), ask(seed=1), ask(seed=2)
    np.testing.assert_array_equal(first.map, again.map)
    assert not np.array_equal(first.map, other.map)
    model, state = planted_model(), torch.get_rng_state()
    sx.explain(model, planted_image(), "object", "u-noise", **TINY)
    assert torch.equal(torch.get_rng_state(), state)  # random numbers of the caller are left alone


@pytest.mark.parametrize("grid", [(17, 30), (5, 9, 14), (4, 4)])
@pytest.mark.parametrize("depth", [1, 3])
def test_the_noise_network_takes_any_grid(grid, depth):
    torch.manual_seed(0)
    net = NoiseNet(len(grid), 2, depth, 4)
    x = torch.rand(3, 2, *grid)
    assert net(x).shape == (3, 1, *grid)
    assert torch.allclose(net(x), net(7 * x - 2), atol=1e-4)  # units do not matter
    assert torch.isfinite(net(torch.zeros(1, 2, *grid))).all()


@pytest.mark.parametrize("grid", [(7, 8), (4, 5, 6)])
def test_bilateral_written_out(grid):
    rng = np.random.default_rng(0)
    values = rng.uniform(size=grid)
    width, radius = 0.8, 2
    padded = np.pad(values, radius, mode="edge")
    expected = np.zeros(grid)
    for at in np.ndindex(grid):
        block = padded[tuple(slice(k, k + 2 * radius + 1) for k in at)]
        offsets = sum((o - radius) ** 2 for o in np.ogrid[tuple(slice(0, 2 * radius + 1) for _ in grid)])
        weight = np.exp(-offsets / (2 * width**2) - (block - values[at]) ** 2 / 0.02)
        expected[at] = (weight * block).sum() / weight.sum()
    found = bilateral(torch.from_numpy(values)[None, None], width)[0, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert ask(bilateral=width).map.any()


def test_a_network_without_gradients_is_told():
    model = planted_model()
    inner = model.module.head
    model.module.head = type("Cut", (nn.Module,), {"forward": lambda self, x: inner(x).detach()})()
    with pytest.raises(sx.UserError, match=r"passes no gradient .*'head' is detached"):
        sx.explain(model, planted_image(), "object", "u-noise", **TINY)


def test_a_prediction_destroyed_by_noise_is_told():
    ex = ask(noise_min=20.0, noise_max=30.0)
    assert ex.record.results["dice_with_noise"] < 0.5
    assert "destroys the prediction" in ex.record.warnings[-1]
