"""Loading models from every source, refusing what does not fit, and what a network's outputs mean."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.networks import LinearHead, PatchSwitch, card, patch_of, planted_image, planted_model
from safetensors.torch import save_file
from torch import nn

import napari_segxai as sx
from napari_segxai.models import registry as model_room
from napari_segxai.models.inference.device import choose_device
from napari_segxai.models.loading.untrusted_code import UntrustedCode
from napari_segxai.models.zoo.unet import UNet

UNET = {"features": [2, 4], "out_channels": 2}
NET_CODE = """\
from __future__ import annotations
from dataclasses import dataclass
from pathlib import Path
import torch

Path(__file__).with_name("ran").touch()

@dataclass
class Settings:  # looks its module up in sys.modules
    width: int = 2

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Conv2d(1, Settings().width, 1)

    def forward(self, x):
        return self.head(x)
"""


def unet() -> UNet:
    torch.manual_seed(0)
    return UNet(**UNET).eval()


def write_folder(folder: Path, state=None, **fields) -> Path:
    """A model folder; the weights are those of `unet` unless given."""
    folder.mkdir(exist_ok=True)
    place = "napari_segxai.models.zoo.unet:UNet"
    fields = card(**{"architecture": place, "arguments": UNET, "grid": {"multiple": 2}, **fields})
    (folder / "model.yaml").write_text(yaml.safe_dump(fields), encoding="utf-8")
    state = unet().state_dict() if state is None else state
    if fields.get("weights", "").endswith(".pt"):
        torch.save(state, folder / fields["weights"])
    else:
        save_file(state, folder / "weights.safetensors")
    return folder


def gray(seed: int = 0, shape=(16, 20)) -> sx.Image:
    return sx.Image(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


class Fixed(nn.Module):
    """Returns `make(x)`."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(x)


# ---------------------------------------------------------------- sources


@pytest.mark.parametrize("name", ["brain-extraction", "selfie", "triangle"])
def test_built_in_models(name):
    model = sx.load_model(name)
    listed = next(entry for entry in sx.list_models() if entry["name"] == name)
    assert listed["labels"] == list(model.labels)
    assert model.source == f"built-in {name}"


def test_the_listing_has_the_keys_of_the_contract(monkeypatch):
    monkeypatch.setattr(model_room, "_registered", {})  # what other tests registered has no licence
    for entry in sx.list_models():
        assert {"name", "labels", "spatial_dims", "channels", "license", "provenance"} <= set(entry)
        assert entry["spatial_dims"] in (2, 3)
        assert entry["license"]
        assert entry["provenance"]


def test_a_model_folder(tmp_path):
    folder = write_folder(tmp_path / "liver")
    expected = unet()(torch.from_numpy(gray().array)[None, None]).argmax(1)[0]
    for source in (folder, str(folder), folder / "model.yaml"):
        model = sx.load_model(source)
        np.testing.assert_array_equal(model.predict(gray()), expected)
        assert model.source == "model folder liver"
    assert model.predict(gray()).dtype == np.uint8
    assert 0 < expected.sum() < expected.numel()


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}])
def test_a_model_folder_with_a_torch_file_of_tensors(tmp_path, wrap):
    folder = write_folder(tmp_path / "m", wrap(unet().state_dict()), weights="best.pt")
    reference = sx.load_model(unet(), card=card(grid={"multiple": 2}))
    np.testing.assert_array_equal(sx.load_model(folder).predict(gray()), reference.predict(gray()))


def test_weights_in_half_precision_are_read(tmp_path):
    state = {k: v.half() if v.is_floating_point() else v for k, v in unet().state_dict().items()}
    model = sx.load_model(write_folder(tmp_path / "m", state))
    assert {p.dtype for p in model.module.parameters()} == {torch.float32}


def test_a_card_can_take_the_place_of_the_stored_one(tmp_path):
    folder = write_folder(tmp_path / "m")
    fields = yaml.safe_load((folder / "model.yaml").read_text())
    fields["labels"] = ["air", "tissue"]
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(fields))
    for given in (fields, tmp_path / "other.yaml", str(tmp_path / "other.yaml")):
        assert sx.load_model(folder, card=given).labels == ("air", "tissue")
    loaded = sx.load_model(folder)
    assert sx.load_model(loaded) is loaded
    again = sx.load_model(loaded, card=fields)
    assert (again.labels, again.module) == (("air", "tissue"), loaded.module)


def test_a_module_needs_a_card():
    with pytest.raises(sx.UserError, match=r"a LinearHead needs a card .*load_model\(network, card="):
        sx.load_model(LinearHead())
    with pytest.raises(sx.UserError, match="not a list"):
        sx.load_model(LinearHead(), card=["background", "object"])
    assert sx.load_model(LinearHead(), card=card()).source == "LinearHead given in a script"


@pytest.mark.parametrize("suffix", [".pt", ".PTH", ".ts"])
def test_a_torchscript_file_with_its_card_beside_it_or_passed(tmp_path, suffix):
    path = tmp_path / f"net{suffix}"
    torch.jit.save(torch.jit.script(LinearHead()), path)
    with pytest.raises(sx.UserError, match=r"needs a card; write net\.yaml beside it"):
        sx.load_model(path)
    reference = sx.load_model(LinearHead(), card=card()).predict(gray())
    np.testing.assert_array_equal(sx.load_model(str(path), card=card()).predict(gray()), reference)
    path.with_suffix(".yaml").write_text(yaml.safe_dump(card()))
    model = sx.load_model(path)
    np.testing.assert_array_equal(model.predict(gray()), reference)
    assert model.source == f"TorchScript file net{suffix}"


@pytest.mark.parametrize("kind", ["scripted", "traced", "frozen"])
def test_torchscript_refuses_methods_with_network_layers_and_runs_the_others(kind):
    module, example = Scriptable().eval(), torch.rand(1, 1, 32, 32)
    scripted = {
        "scripted": lambda: torch.jit.script(module),
        "traced": lambda: torch.jit.trace(module, example),
        "frozen": lambda: torch.jit.freeze(torch.jit.trace(module, example)),
    }[kind]()
    model = sx.load_model(scripted, card=card(grid={"size": [32, 32]}))
    assert not model.has_layers
    for method in ("seg-grad-cam", "seg-hires-grad-cam", "seg-xres-cam"):
        with pytest.raises(sx.UserError, match=r"TorchScript model, whose .* misure or rise.* nn\.Module"):
            sx.explain(model, planted_image(), "object", method)
    with pytest.raises(sx.UserError, match="TorchScript"):
        model.network_layers()
    for method, small in (("rise", {"masks": 20}), ("misure", {"iterations": 3, "kernel": 3})):
        ex = sx.explain(model, planted_image(), "object", method, **small)
        reference = sx.explain(planted_model(), planted_image(), "object", method, **small)
        np.testing.assert_allclose(ex.map, reference.map, atol=1e-5)
        assert ex.map.any()


class Scriptable(nn.Module):
    """PatchSwitch in the words that TorchScript understands."""

    def __init__(self):
        super().__init__()
        planted = PatchSwitch(patch_of(2))
        self.mix, self.head = planted.mix, planted.head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x[:, :, 4:10, 20:26].mean((2, 3), keepdim=True)
        return self.head(self.mix(torch.cat([x, mean.expand_as(x)], 1)))


def test_frozen_weights_count_for_the_digest(tmp_path):
    for name in ("a.pt", "b.pt"):
        torch.jit.save(torch.jit.freeze(torch.jit.script(nn.Conv2d(1, 2, 1).eval())), tmp_path / name)
    a, again, b = (sx.load_model(tmp_path / name, card=card()).sha256 for name in ("a.pt", "a.pt", "b.pt"))
    assert a == again != b


def test_a_torchscript_part_of_a_network_is_no_network_layer():
    class Wrap(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.head = torch.jit.script(LinearHead()), nn.Conv2d(2, 2, 1)

        def forward(self, x):
            return self.head(self.inner(x))

    model = sx.load_model(Wrap(), card=card())
    assert [layer.name for layer in model.network_layers()] == ["head"]


def test_names_that_are_no_model(tmp_path):
    with pytest.raises(sx.UserError, match=r"no model 'triangel'; did you mean 'triangle'\?"):
        sx.load_model("triangel")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(sx.UserError, match="is no model; give a model folder"):
        sx.load_model(tmp_path / "notes.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(sx.UserError, match=r"model\.yaml: there is no such model card"):
        sx.load_model(tmp_path / "empty")


def test_arrays_are_images_and_only_models_are_registered():
    model = planted_model()
    np.testing.assert_array_equal(model.predict(gray().array), model.predict(gray()))
    with pytest.raises(sx.UserError, match="takes a model"):
        sx.register_model("mine", model)


def test_register_model(monkeypatch):
    monkeypatch.setattr(model_room, "_registered", {})
    model = sx.load_model(LinearHead(), card=card())
    assert sx.register_model(model) is model
    sx.register_model(model, "mine")
    assert sx.load_model("planted") is sx.load_model("mine") is model
    assert [entry["name"] for entry in sx.list_models()][-2:] == ["planted", "mine"]
    with pytest.raises(sx.UserError, match="did you mean 'planted'"):
        sx.load_model("plantde")
    sx.register_model(model, "triangle")
    assert sx.load_model("triangle") is model
    assert model_room.model_names().count("triangle") == 1
    assert sum(entry["name"] == "triangle" for entry in sx.list_models()) == 1


def test_a_model_is_made_of_a_network_and_any_form_of_a_card(tmp_path):
    fields = {"name": "planted", "labels": ["background", "object"], "spatial_dims": 2}
    (tmp_path / "card.yaml").write_text("name: planted\nlabels: [background, object]\nspatial_dims: 2\n")
    for given in (fields, tmp_path / "card.yaml", str(tmp_path / "card.yaml"), card()):
        model = sx.SegmentationModel(LinearHead(), given)
        assert model.labels == sx.load_model(LinearHead(), card=given).labels == ("background", "object")
    with pytest.raises(sx.UserError, match="unknown key 'lables'"):
        sx.SegmentationModel(LinearHead(), {**fields, "lables": ["a"]})
    with pytest.raises(sx.UserError, match="a card is a mapping, a YAML file or a ModelCard, not a NoneType"):
        sx.SegmentationModel(LinearHead(), None)
    with pytest.raises(sx.UserError, match=r"a network \(nn.Module\), not of a str; load_model"):
        sx.SegmentationModel("triangle", fields)


# ---------------------------------------------------------------- misfits


def raiser(error: Exception):
    def make(x):
        raise error

    return make


@pytest.mark.parametrize(
    ("network", "fields", "words"),
    [
        (
            LinearHead(),
            {"labels": ["a", "b", "c"]},
            [r"(1, 2, 64, 64)", "(1, 1, 64, 64)", "3 label", "a, b, c"],
        ),
        (LinearHead(), {"activation": "sigmoid", "labels": list("abcd")}, ["(1, 2, 64, 64)", "4 label"]),
        (LinearHead(), {"spatial_dims": 3}, ["(1, 1, 32, 32, 32)", "conv2d"]),
        (LinearHead(inputs=3), {}, ["(1, 1, 64, 64)", "3 channels"]),
        (LinearHead(), {"channels": ["r", "g"]}, ["(1, 2, 64, 64)"]),
        (Fixed(raiser(AssertionError("odd size"))), {}, ["AssertionError: odd size"]),
        (Fixed(raiser(AssertionError())), {}, ["allows: AssertionError."]),
        (Fixed(raiser(KeyError("out"))), {}, ["KeyError: 'out'"]),
        (Fixed(raiser(AttributeError("no head"))), {}, ["AttributeError: no head"]),
        (Fixed(lambda x: torch.cat([x, x / 0], 1)), {}, ["not finite"]),
        (Fixed(lambda x: x.flatten(1)), {}, ["(1, 4096)"]),
        (Fixed(lambda x: torch.cat([x, x], 1).mean((2, 3), keepdim=True)), {}, ["(1, 2, 1, 1)", "cover"]),
        (Fixed(lambda x: torch.cat([x, x], 1)[:, :, 1:-1, 1:-1]), {}, ["(62, 62)", "cover"]),
        (
            Fixed(lambda x: torch.cat([x, x], 1).repeat(1, 1, 2, 2)),
            {},
            ["(1, 2, 128, 128)", "more pixels than"],
        ),
        (
            Fixed(
                lambda x: {"classes": x[:, 0, :8, :3], "masks": x[:, 0, :8, :1, None].expand(-1, -1, 16, 16)}
            ),
            {"output": "classes"},
            ["(1, 8, 3)", "classes and masks of 8 queries"],
        ),
        (Fixed(lambda x: x.argmax(1)), {}, ["floating-point tensor", "`output`"]),
        (Fixed(lambda x: "text"), {}, ["a str", "`output`"]),
        (Fixed(lambda x: {"a": x}), {"output": "b"}, ["no output 'b' but ['a']", "`output`"]),
        (Fixed(lambda x: (x,)), {"output": 2}, ["no output 2 but a tuple"]),
        (Fixed(lambda x: torch.cat([x, -x], 1)), {"values": "probabilities"}, ["no probabilities", "logits"]),
    ],
)
def test_a_network_that_does_not_fit_its_card_is_refused_at_load(network, fields, words):
    with pytest.raises(sx.UserError) as caught:
        sx.load_model(network, card=card(**fields))
    for word in ["planted", *words]:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_torchscript_raises_is_told_without_its_traceback():
    class Picky(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.shape[1] == 3, "three channels please"
            return x

    with pytest.raises(sx.UserError, match=r"allows: .*three channels please\.$"):
        sx.load_model(torch.jit.script(Picky()), card=card())


def test_outputs_in_strides_are_enlarged():
    class Strided(nn.Module):
        def forward(self, x):
            x = nn.functional.avg_pool2d(x, 4, ceil_mode=True)
            return torch.cat([0.5 - x, x - 0.5], 1)

    array = np.zeros((64, 64), np.float32)
    array[16:32, 32:48] = 1
    for grid in ({}, {"size": [48, 64]}):
        predicted = sx.load_model(Strided(), card=card(grid=grid)).predict(sx.Image(array))
        middle = np.argwhere(predicted).mean(0)
        np.testing.assert_allclose(middle, (23.5, 39.5), atol=1)


def test_a_deep_network_whose_smallest_map_would_be_one_cell_is_accepted():
    # Instance normalisation refuses a single cell; the dry run's input has to be large enough.
    network = UNet(features=[2] * 6, norm="instance", spatial_dims=3)
    model = sx.load_model(network, card=card(3, grid={"multiple": 32}))
    assert model.find_layer("bottleneck").shape == (2, 2, 2, 2)


def test_a_network_that_changes_its_input_in_place_leaves_the_image_alone():
    class InPlace(LinearHead):
        def forward(self, x):
            x -= 3.0
            return super().forward(x)

    class Plain(LinearHead):
        def forward(self, x):
            return super().forward(x - 3.0)

    image = gray()
    kept = image.array.copy()
    results = []
    for network in (InPlace(), Plain()):
        model = sx.load_model(network, card=card())
        target = sx.Target("object", region="image")
        maps = [
            sx.explain(model, image, target, "seg-hires-grad-cam", layer="features").map,
            sx.explain(model, image, target, "rise", masks=10, score="target").map,
        ]
        results.append([model.predict(image), model.predict(image), *maps])
    np.testing.assert_array_equal(image.array, kept)
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("head.bias"), ["lacks 'head.bias'", "1 missing, 0 unknown"]),
        (lambda s: s.update(extra=torch.zeros(2)), ["holds the unknown 'extra'", "0 missing, 1 unknown"]),
        (lambda s: s.update({"head.bias": torch.zeros(7)}), ["'head.bias' has shape (7,)", "has (2,)"]),
        (lambda s: s.update({"head.bias": torch.full((2,), torch.nan)}), ["not finite"]),
    ],
)
@pytest.mark.parametrize("name", ["weights.safetensors", "best.pt"])
def test_weights_that_do_not_fit(tmp_path, change, words, name):
    state = unet().state_dict()
    change(state)
    folder = write_folder(tmp_path / "m", state, weights=name)
    with pytest.raises(sx.UserError) as caught:
        sx.load_model(folder)
    for word in words:
        assert word in str(caught.value)
    if "finite" not in words[0]:
        assert str(folder / name) in str(caught.value)


def test_missing_damaged_and_strange_weights(tmp_path):
    folder = write_folder(tmp_path / "m")
    weights = folder / "weights.safetensors"
    whole = weights.read_bytes()
    weights.unlink()
    with pytest.raises(sx.UserError, match=r"weights\.safetensors: the weights are missing"):
        sx.load_model(folder)
    for content in (b"", b"text", whole[: len(whole) // 2], pickle.dumps({"a": 1})):
        weights.write_bytes(content)
        with pytest.raises(sx.UserError, match=r"weights\.safetensors: cannot be read as weights \(.+\)"):
            sx.load_model(folder)
    folder = write_folder(tmp_path / "n", {"epoch": 3, "net": [1]}, weights="w.pt")
    with pytest.raises(sx.UserError, match=r"w\.pt: holds no state dict of tensors"):
        sx.load_model(folder)
    for content in (b"", b"text", b"\x80\x02}q\x00.", whole):
        (folder / "w.pt").write_bytes(content)
        with pytest.raises(sx.UserError, match=r"w\.pt: "):
            sx.load_model(folder)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"featurs": [2, 4]}, "featurs"),
        ({"features": [2]}, "two levels"),
        ({"spatial_dims": 4}, "KeyError: 4"),
        ({"in_channels": -1}, "negative dimension"),
    ],
)
def test_arguments_that_the_network_does_not_take(tmp_path, arguments, words):
    folder = write_folder(tmp_path / "m", arguments=arguments)
    with pytest.raises(sx.UserError, match=r"model\.yaml: .*UNet does not take these arguments") as caught:
        sx.load_model(folder)
    assert words in str(caught.value)


# ---------------------------------------------------------------- code


class Evil:
    """Unpickling this creates a file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("write", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o))])
def test_a_pickle_with_code_is_never_executed(tmp_path, write):
    marker, content = tmp_path / "owned", {"head.bias": Evil(tmp_path / "owned")}
    folder = write_folder(tmp_path / "m", weights="best.pt")
    script = tmp_path / "net.pt"
    for path in (folder / "best.pt", folder / "best.safetensors", script):
        write(content, path)
    if write is torch.save:
        torch.load(script, weights_only=False)
    else:
        pickle.loads(script.read_bytes())
    assert marker.exists()  # so the file is as malicious as meant
    marker.unlink()
    with pytest.raises(sx.UserError, match=r"best\.pt: cannot be read as weights"):
        sx.load_model(folder, trust=True)
    fields = yaml.safe_load((folder / "model.yaml").read_text())
    with pytest.raises(sx.UserError, match=r"best\.safetensors: cannot be read as weights"):
        sx.load_model(folder, card={**fields, "weights": "best.safetensors"}, trust=True)
    with pytest.raises(sx.UserError, match=r"net\.pt: cannot be read as TorchScript"):
        sx.load_model(script, card=card(), trust=True)
    assert not marker.exists()


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize(
    "place",
    [
        "os:system",
        "builtins:exec",
        "subprocess:Popen",
        "torch:load",
        "torch.hub:load",
        "torch:Tensor",
        "torch.nn:functional",
        "napari_segxai.models.zoo.unet:UNt",
        "napari_segxai.models.zoo.unet:UNet.forward",
        "napari_segxai.nothing:Net",
        "nothing_of_the_kind:Net",
        "__main__:Net",
    ],
)
def test_only_networks_are_built(tmp_path, place, trust):
    marker = tmp_path / "owned"
    folder = write_folder(tmp_path / "m", architecture=place, arguments={"command": f"touch {marker}"})
    with pytest.raises(sx.UserError, match=r"model\.yaml: architecture '"):
        sx.load_model(folder, trust=trust)
    assert not marker.exists()


def code_folder(folder: Path, name: str) -> Path:
    """A model folder for a network in the module `name`, whose code lies elsewhere."""
    torch.manual_seed(0)
    state = {f"head.{k}": v for k, v in nn.Conv2d(1, 2, 1).state_dict().items()}
    return write_folder(folder, state, architecture=f"{name}:Net", arguments={})


def check_trust(folder: Path, code: Path) -> None:
    ran = code.with_name("ran")
    with pytest.raises(UntrustedCode) as caught:
        sx.load_model(folder)
    assert caught.value.path == code
    assert str(code) in str(caught.value)
    assert "trust=True" in str(caught.value)
    assert not ran.exists()
    assert sx.load_model(folder, trust=True).predict(gray()).shape == (16, 20)
    assert ran.exists()


def test_code_beside_the_card_needs_trust(tmp_path):
    folder = code_folder(tmp_path / "m", "segxai_beside")
    (folder / "segxai_beside.py").write_text(NET_CODE)
    check_trust(folder, folder / "segxai_beside.py")


def test_code_beside_the_card_that_bears_the_name_of_a_package_needs_trust(tmp_path):
    folder = code_folder(tmp_path / "m", "numpy")
    (folder / "numpy.py").write_text(NET_CODE)
    check_trust(folder, folder / "numpy.py")
    assert hasattr(np, "ndarray")
    assert sys.modules["numpy"] is np


def test_code_on_the_path_needs_trust(tmp_path, monkeypatch):
    folder = code_folder(tmp_path / "m", "segxai_on_path")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "segxai_on_path.py").write_text(NET_CODE)
    monkeypatch.syspath_prepend(tmp_path / "lib")
    check_trust(folder, tmp_path / "lib" / "segxai_on_path.py")
    sys.modules.pop("segxai_on_path")


def test_a_package_without_init_on_the_path_needs_trust(tmp_path, monkeypatch):
    folder = code_folder(tmp_path / "m", "segxai_space.net")
    (tmp_path / "lib" / "segxai_space").mkdir(parents=True)
    (tmp_path / "lib" / "segxai_space" / "net.py").write_text(NET_CODE)
    monkeypatch.syspath_prepend(tmp_path / "lib")
    with pytest.raises(UntrustedCode, match="segxai_space"):
        sx.load_model(folder)
    assert not list(tmp_path.rglob("ran"))


def test_code_in_the_working_directory_needs_trust(tmp_path):
    """In a process of its own, as only `python -c` and the console have '' on their path."""
    code_folder(tmp_path / "m", "segxai_here")
    (tmp_path / "segxai_here.py").write_text(NET_CODE)
    script = """
    import sys
    assert sys.path[0] == ""
    import napari_segxai as sx
    try:
        sx.load_model("m")
    except sx.UserError as error:
        print(type(error).__name__, error.path.name)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "UntrustedCode segxai_here.py"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("code", ["raise OSError('no disk')", "class Net(", "import nothing_of_the_kind"])
def test_trusted_code_that_fails_is_told_in_one_sentence(tmp_path, code):
    folder = code_folder(tmp_path / "m", "segxai_broken")
    (folder / "segxai_broken.py").write_text(code)
    with pytest.raises(sx.UserError, match=r"model\.yaml: architecture 'segxai_broken:Net'.*\.$") as caught:
        sx.load_model(folder, trust=True)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- outputs


Output = namedtuple("Output", "features logits")
LOGITS = LinearHead()


@pytest.mark.parametrize(
    ("wrap", "output"),
    [
        (lambda y: {"out": y}, None),
        (lambda y: {"aux": -y, "out": y}, "out"),
        (lambda y: (y, -y), None),
        (lambda y: [-y, y], -1),
        (lambda y: (torch.tensor([1, 2]), [y]), None),
        (lambda y: Output(-y, y), 1),
        (lambda y: {"outer": {"inner": y}}, "outer"),
    ],
)
def test_outputs_in_dicts_and_tuples(wrap, output):
    reference = sx.load_model(LOGITS, card=card())
    model = sx.load_model(Fixed(lambda x: wrap(LOGITS(x))), card=card(output=output))
    np.testing.assert_array_equal(model.predict(gray()), reference.predict(gray()))
    tensor = torch.rand(2, 1, 8, 8)
    assert torch.equal(model.logits(tensor), LOGITS(tensor))


def test_probabilities_become_their_logits():
    reference = sx.load_model(LOGITS, card=card())
    model = sx.load_model(Fixed(lambda x: LOGITS(x).softmax(1)), card=card(values="probabilities"))
    tensor = torch.rand(2, 1, 8, 8)
    expected = reference.probabilities(LOGITS(tensor))
    torch.testing.assert_close(model.probabilities(model.logits(tensor)), expected)
    sigmoid = sx.load_model(
        Fixed(lambda x: LOGITS(x).sigmoid()), card=card(values="probabilities", activation="sigmoid")
    )
    torch.testing.assert_close(sigmoid.logits(tensor), LOGITS(tensor), atol=1e-4, rtol=1e-4)
    certain = sx.load_model(
        Fixed(lambda x: torch.cat([x * 0, x * 0 + 1], 1)), card=card(values="probabilities")
    )
    assert torch.isfinite(certain.logits(tensor)).all()


def test_one_sigmoid_channel():
    one = Fixed(lambda x: LOGITS(x)[:, 1:])
    model = sx.load_model(one, card=card(activation="sigmoid"))
    tensor = torch.rand(2, 1, 8, 8)
    s = LOGITS(tensor)[:, 1:]
    torch.testing.assert_close(model.logits(tensor), torch.cat([-s, s], 1))
    torch.testing.assert_close(model.probabilities(model.logits(tensor)).sum(1), torch.ones(2, 8, 8))
    np.testing.assert_array_equal(
        model.predict(gray()), one(torch.from_numpy(gray().array)[None, None])[0, 0] > 0
    )


def test_many_sigmoid_channels_without_a_background():
    network = Fixed(lambda x: torch.cat([x - 0.5, -x - 0.5, 2 * x - 2], 1))
    fields = card(labels=["background", "a", "b", "c"], activation="sigmoid")
    model = sx.load_model(network, card=fields)
    out = network(torch.from_numpy(gray().array)[None, None])[0].detach()
    np.testing.assert_array_equal(model.predict(gray()), out > 0)
    assert (out > 0).sum(0).unique().tolist() == [0, 1, 2]


def test_labels():
    model = sx.load_model(LinearHead(labels=3), card=card(labels=["background", "liver", "1"]))
    assert [model.label_index(label) for label in ("liver", 1, np.int64(2), "2", "1")] == [1, 1, 2, 2, 2]
    for wrong in ("lever", -1, 3, "-1", "²", 1.5, None):
        with pytest.raises(sx.UserError, match="planted has no label "):
            model.label_index(wrong)


def test_more_than_256_labels():
    names = [f"label {k}" for k in range(300)]
    network = Fixed(lambda x: -(torch.arange(300).view(1, -1, 1, 1) - x).abs())
    predicted = sx.load_model(network, card=card(labels=names)).predict(sx.Image(np.full((4, 4), 299.0)))
    assert predicted.dtype == np.uint16
    assert (predicted == 299).all()


# ---------------------------------------------------------------- images


def test_values_that_are_not_finite_are_counted_replaced_and_reported():
    image = planted_image()
    array = image.array.copy()
    array[0, :3] = np.nan
    array[1, 0], array[1, 1] = np.inf, -np.inf
    clean = array.copy()
    clean[~np.isfinite(array)] = low = array[np.isfinite(array)].min()
    kept = array.copy()
    ex = sx.explain(planted_model(), sx.Image(array), "object", "rise", masks=20)
    assert ex.record.warnings == [f"5 values that are not finite (NaN or infinity) were replaced by {low:g}."]
    assert np.isfinite(ex.map).all()
    np.testing.assert_array_equal(
        ex.map, sx.explain(planted_model(), sx.Image(clean), "object", "rise", masks=20).map
    )
    np.testing.assert_array_equal(array, kept)


def test_numbers_too_large_for_the_network_count_as_infinite():
    array = gray().array.astype(np.float64)
    array[2, 2] = -1.7e308
    prepared = sx.load_model(LinearHead(), card=card()).prepare(sx.Image(array))
    assert torch.isfinite(prepared.tensor).all()
    assert prepared.notes[0].startswith("1 values")


def test_an_image_of_nan_is_refused():
    with pytest.raises(sx.UserError, match="no finite value"):
        planted_model().predict(sx.Image(np.full((8, 8), np.nan)))


@pytest.mark.parametrize("kind", ["u1", "i2", ">i4", "f2", ">f4", "f8", "?"])
def test_every_kind_of_number_is_taken(kind):
    array = (np.random.default_rng(0).random((16, 20)) * 2).astype(kind)
    model = sx.load_model(LinearHead(), card=card())
    np.testing.assert_array_equal(model.prepare(sx.Image(array)).tensor[0, 0], array.astype(np.float32))


def test_read_only_arrays_are_taken_without_a_warning(recwarn):
    array = gray().array
    array.setflags(write=False)
    planted_model().predict(sx.Image(array))
    assert not [w for w in recwarn if "writable" in str(w.message)]


def test_channels():
    model = sx.load_model(LinearHead(inputs=3), card=card(channels=["red", "green", "blue"]))
    rgb = np.random.default_rng(0).random((16, 20, 3)).astype(np.float32)
    predicted = model.predict(sx.Image(rgb, channel_axis=-1))
    assert predicted.shape == (16, 20)
    np.testing.assert_array_equal(model.predict(sx.Image(np.moveaxis(rgb, -1, 0), channel_axis=0)), predicted)
    expected = (
        "planted needs 3 channel(s) (red, green, blue), but gray has 1; join images of one channel each "
        "(sx.join_channels, or name a file per channel)."
    )
    for attempt in (
        lambda image: model.predict(image),
        lambda image: sx.explain(model, image, "object", "rise"),
    ):
        with pytest.raises(sx.UserError) as caught:
            attempt(sx.Image(gray().array, name="gray"))
        assert str(caught.value) == expected
    with pytest.raises(sx.UserError, match=r"if its axis 0 holds channels, say so with channel_axis=0\."):
        model.predict(np.moveaxis(rgb, -1, 0))
    with pytest.raises(sx.UserError, match=r"needs 1 channel\(s\) \(intensity\), but image has 3\."):
        planted_model().predict(sx.Image(rgb, channel_axis=2))


@pytest.mark.parametrize("shape", [(9, 10, 11), (1, 10, 11)])
def test_predicting_volumes(shape):
    volume = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    three = sx.load_model(LinearHead(3), card=card(3))
    expected = three.module(torch.from_numpy(volume)[None, None]).argmax(1)[0]
    np.testing.assert_array_equal(three.predict(sx.Image(volume)), expected)
    two = sx.load_model(LinearHead(2), card=card(2))
    expected = two.module(torch.from_numpy(volume)[:, None]).argmax(1)
    np.testing.assert_array_equal(two.predict(sx.Image(volume)), expected)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: sx.Image(np.zeros(5)), "1 spatial axes"),
        (lambda: sx.Image(np.zeros((2, 3, 4, 5))), "4 spatial axes"),
        (lambda: sx.Image(np.zeros((0, 4))), "no pixel"),
        (lambda: sx.Image(np.array([["a"]])), "numbers, not <U1"),
        (lambda: sx.Image(np.zeros((3, 3), complex)), "complex"),
        (lambda: sx.Image(np.zeros((3, 3)), channel_axis=2), "channel_axis 2 is outside"),
        (lambda: sx.Image(np.zeros((3, 3)), affine=np.eye(4)), "three spatial axes"),
        (lambda: sx.Image(np.zeros((3, 3, 3)), affine=np.zeros((4, 4))), "singular"),
        (lambda: sx.Image(np.zeros((3, 3)), spacing=(1,)), "spacing"),
        (lambda: sx.Image(np.zeros((3, 3)), spacing=(0, 1)), "positive"),
        (lambda: sx.Image(np.zeros((3, 3)), spacing=(1, float("nan"))), "positive"),
    ],
)
def test_images_that_are_none(make, words):
    with pytest.raises(sx.UserError, match=r"^image: ") as caught:
        make()
    assert words in str(caught.value)


def test_time_points():
    series = np.random.default_rng(0).normal(size=(3, 16, 20, 2)).astype(np.float32)
    image = sx.Image(series, time_axis=0, channel_axis=3)
    model = sx.load_model(LinearHead(inputs=2), card=card(channels=["a", "b"]))
    with pytest.raises(sx.UserError, match=r"3 time points; choose one with image\.frame"):
        model.predict(image)
    frame = image.frame(2)
    assert (frame.channel_axis, frame.time_axis, frame.spatial_shape) == (2, None, (16, 20))
    np.testing.assert_array_equal(frame.channels_first()[1], series[2, ..., 1])
    with pytest.raises(sx.UserError, match="time point 3 is outside 0 to 2"):
        image.frame(3)


# ---------------------------------------------------------------- devices


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "cpu:1", "meta", ""])
def test_a_device_that_is_not_there(name):
    with pytest.raises(sx.UserError, match=r"is not on this machine; choose auto, .*cpu"):
        choose_device(name)
    with pytest.raises(sx.UserError, match="is not on this machine"):
        planted_model().predict(planted_image(), device=name)


def test_devices():
    assert choose_device("cpu") == choose_device(torch.device("cpu")) == torch.device("cpu")
    assert str(choose_device("auto")).partition(":")[0] in ("cpu", "cuda", "mps")
