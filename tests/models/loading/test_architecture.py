"""Whose code a card may run, and what its arguments may bring about."""

from __future__ import annotations

import os
import socket
import sys
import threading
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.networks import card
from safetensors.torch import save_file
from torch import nn

import napari_segxai as sx
from napari_segxai.core.errors import UserError
from napari_segxai.models.loading import architecture, untrusted_code
from napari_segxai.models.loading.offline import offline
from napari_segxai.models.loading.untrusted_code import UntrustedCode

NETS = """\
import os
import socket
import subprocess
import torch

given = {}

class Net(torch.nn.Module):
    def __init__(self, width=2, pretrained=True, encoder_weights="imagenet", init_weights=True, use_checkpoint=False,
                 checkpoint="sam.pth", drop_path=0.1, origin=None, options=None):
        super().__init__()
        given.update(locals(), offline=os.environ.get("HF_HUB_OFFLINE"))
        if origin == "socket":
            socket.create_connection(("127.0.0.1", 9))
        if origin == "name":
            socket.getaddrinfo("localhost", 80)
        if origin == "start":
            os.system("true")
        if origin == "spawn":
            subprocess.run(["true"])
        if origin == "folder":
            os.makedirs("written")
        if origin == "write":
            open("written", "w")
        if origin == "remove":
            os.remove("notes.txt")
        if origin == "read":
            open("notes.txt").read()
        self.head = torch.nn.Conv2d(1, width, 1)

    def forward(self, x):
        return self.head(x)

class Endless(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = []
        while True:
            self.parts.append(torch.nn.Conv2d(1, 1, 1))

class Outer:
    class Net(Net):
        pass
"""


@pytest.fixture(autouse=True)
def _nothing_is_allowed(monkeypatch, tmp_path_factory):
    monkeypatch.setattr(untrusted_code, "_allowed", set())
    settings = tmp_path_factory.mktemp("config")
    monkeypatch.setattr("platformdirs.user_config_path", lambda name, **kwargs: settings / name)
    untrusted_code._announced.cache_clear()
    yield
    untrusted_code._announced.cache_clear()


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A package in a folder that stands for where packages are installed."""
    site = tmp_path / "site"
    (site / "segxai_nets").mkdir(parents=True)
    (site / "segxai_nets" / "__init__.py").write_text("")
    (site / "segxai_nets" / "nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr("site.getsitepackages", lambda: [str(site)])
    yield site
    for name in [name for name in sys.modules if name.partition(".")[0] == "segxai_nets"]:
        del sys.modules[name]


def write(folder: Path, place: str = "segxai_nets.nets:Net", **arguments) -> Path:
    folder.mkdir(exist_ok=True)
    fields = card(architecture=place, arguments=arguments)
    (folder / "model.yaml").write_text(yaml.safe_dump(fields), encoding="utf-8")
    torch.manual_seed(0)
    save_file(
        {f"head.{k}": v for k, v in nn.Conv2d(1, 2, 1).state_dict().items()}, folder / "weights.safetensors"
    )
    return folder


def given() -> dict:
    return sys.modules["segxai_nets.nets"].given


@pytest.mark.parametrize("yes", [False, True])
@pytest.mark.parametrize(
    "place",
    [
        "IPython.__main__:X",
        "pygments.__main__:X",
        "torch.utils.bottleneck.__main__:X",
        "torch._inductor.codecache:X",
        "torch.nn:_Loss",
        "torch.nn:Module.__init__",
        "_osx_support:X",
        "antigravity:X",
        "this:Net",
    ],
)
def test_private_modules_and_those_of_python_are_never_imported(tmp_path, place, yes):
    loaded = set(sys.modules)
    with pytest.raises(
        sx.UserError, match=r"model\.yaml: architecture '.*(private|part of Python)"
    ) as caught:
        sx.load_model(write(tmp_path / "m", place), trust=yes)
    assert not isinstance(caught.value, UntrustedCode)
    assert place.partition(":")[0] not in set(sys.modules) - loaded


@pytest.mark.parametrize(
    ("module", "file"),
    [
        ("pygments.cmdline", "pygments/cmdline.py"),
        ("torch.utils.collect_env", "torch/utils/collect_env.py"),
        ("torch.testing", "torch/testing/__init__.py"),
        ("torch", "torch/__init__.py"),
        ("napari_segxai.gui.manifest.demo", "napari_segxai/gui/manifest/demo.py"),
        ("segxai_nets.nets", "segxai_nets/nets.py"),
    ],
)
def test_an_installed_module_that_is_not_known_to_hold_networks_needs_a_yes_that_names_it(
    tmp_path, library, module, file
):
    loaded = set(sys.modules)
    with pytest.raises(UntrustedCode) as caught:
        sx.load_model(write(tmp_path / "m", f"{module}:Net"))
    assert caught.value.module == module
    assert caught.value.path.as_posix().endswith(file)
    assert repr(module) in str(caught.value)
    assert file in Path(str(caught.value)).as_posix()
    assert not {module, module.partition(".")[0]} & (set(sys.modules) - loaded)


def test_a_yes_is_enough_for_a_public_module(tmp_path, library):
    assert sx.load_model(write(tmp_path / "m"), trust=True).labels == ("background", "object")


def test_a_package_is_allowed_for_this_process(tmp_path, library):
    folder = write(tmp_path / "m")
    sx.allow_package("segxai_nets.ne")
    with pytest.raises(UntrustedCode):
        sx.load_model(folder)
    sx.allow_package("segxai_nets")
    sx.load_model(folder)
    for wrong in ("__main__", "os.path", "a b", "a._b", "", 3):
        with pytest.raises(sx.UserError, match=r"not the name of a public package|part of Python"):
            sx.allow_package(wrong)


def test_a_file_beside_the_card_is_not_the_package_that_was_allowed(tmp_path, library):
    sx.allow_package("segxai_nets")
    folder = write(tmp_path / "m", "segxai_nets:Net")
    (folder / "segxai_nets.py").write_text("raise SystemExit")
    with pytest.raises(
        UntrustedCode, match=r"came with the card: allowing a package .* trust=True \(--trust"
    ):
        sx.load_model(folder)


def test_a_package_is_allowed_in_the_settings(tmp_path, library):
    folder, settings = write(tmp_path / "m"), untrusted_code.settings_file()
    assert settings.name == "settings.yaml"
    assert settings.parent.name == "napari-segxai"
    settings.parent.mkdir(parents=True)
    for text, words in (
        ("packages: segxai_nets", "a list of names"),
        ("package: [a]", "did you mean 'packages'"),
        ("packages: [__main__]", "not the name of a public package"),
        ("[", "not a YAML file"),
    ):
        settings.write_text(text)
        with pytest.raises(sx.UserError, match=words):
            sx.load_model(folder)
    settings.write_text("packages: [other]")
    with pytest.raises(UntrustedCode):
        sx.load_model(folder)
    settings.write_text("packages: [segxai_nets.nets]")
    sx.load_model(folder)


def test_a_package_announces_its_networks(tmp_path, library, monkeypatch):
    def announce(site: Path, name: str) -> None:
        facts = site / f"{name}-1.0.dist-info"
        facts.mkdir(parents=True)
        (facts / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".replace("{name}", name)
        )
        (facts / "entry_points.txt").write_text("[napari_segxai.networks]\nmine = segxai_nets.nets\n")
        untrusted_code._announced.cache_clear()

    folder = write(tmp_path / "m")
    elsewhere = tmp_path / "working folder"
    monkeypatch.syspath_prepend(elsewhere)
    announce(elsewhere, "working_folder")  # which is not where packages are installed
    with pytest.raises(UntrustedCode):
        sx.load_model(folder)
    announce(library, "segxai_nets")
    sx.load_model(folder)


def test_a_package_of_a_known_name_in_the_working_folder_is_not_the_known_one(tmp_path, monkeypatch):
    (tmp_path / "lib" / "monai" / "networks").mkdir(parents=True)
    for part in ("monai", "monai/networks"):
        (tmp_path / "lib" / part / "__init__.py").write_text("raise SystemExit('ran')")
    monkeypatch.syspath_prepend(tmp_path / "lib")
    with pytest.raises(UntrustedCode, match="monai"):
        sx.load_model(write(tmp_path / "m", "monai.networks:Net"))


def test_a_package_beside_the_card_needs_a_yes(tmp_path):
    folder = write(tmp_path / "m", "torch.nn:Net")
    (folder / "torch" / "nn").mkdir(parents=True)
    (folder / "torch" / "nn" / "__init__.py").write_text(NETS)
    with pytest.raises(UntrustedCode) as caught:
        sx.load_model(folder)
    assert caught.value.path == folder / "torch" / "nn" / "__init__.py"


def test_only_classes_lie_on_the_way_to_a_class(tmp_path, library):
    sx.allow_package("segxai_nets")
    sx.load_model(write(tmp_path / "m", "segxai_nets.nets:Outer.Net"))
    for wrong in ("torch.nn.Conv2d", "given", "Net.forward", "Outer"):
        with pytest.raises(sx.UserError, match=r"is not a torch\.nn\.Module class"):
            sx.load_model(write(tmp_path / "m", f"segxai_nets.nets:{wrong}"))


def test_trusted_code_that_ends_the_process_does_not(tmp_path):
    folder = write(tmp_path / "m", "segxai_ends:Net")
    (folder / "segxai_ends.py").write_text("raise SystemExit(3)")
    with pytest.raises(sx.UserError, match="SystemExit"):
        sx.load_model(folder, trust=True)


# -- arguments ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"pretrained": True}, "write `pretrained: false`"),
        ({"encoder_weights": "imagenet"}, "write `encoder_weights: null`"),
        ({"checkpoint": "sam.pth"}, "write `checkpoint: null`"),
        ({"options": {"inner": [{"weights_backbone": "DEFAULT"}]}}, "weights_backbone is 'DEFAULT'"),
        ({"options": {"repo_id": "x"}}, "repo_id is 'x'"),
        ({"origin": "hf-hub:someone/net"}, "place in the internet"),
        ({"origin": "~/x"}, "names a file"),
        ({"origin": "..\\x"}, "names a file"),
        ({"width": 10**9}, "at most 1048576"),
        ({"drop_path": float("nan")}, "at most 1048576"),
        ({"width": -(10**400)}, "at most 1048576"),
        ({"width": 2**20}, None),
        ({"width": 2.5}, "does not take these arguments"),
        ({"wdth": 2}, "does not take these arguments"),
    ],
)
def test_arguments_that_would_fetch_or_allocate_are_refused(tmp_path, library, arguments, words):
    sx.allow_package("segxai_nets")
    with pytest.raises(sx.UserError, match=r"model\.yaml: |weights\.safetensors: ") as caught:
        sx.load_model(write(tmp_path / "m", **arguments))
    assert words is None or words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_arguments_that_would_fetch_are_emptied_where_the_card_leaves_them_out(tmp_path, library):
    sx.allow_package("segxai_nets")
    model = sx.load_model(write(tmp_path / "m", use_checkpoint=True))
    assert (given()["pretrained"], given()["encoder_weights"], given()["checkpoint"]) == (False, None, None)
    assert (given()["init_weights"], given()["use_checkpoint"], given()["drop_path"]) == (True, True, 0.1)
    record = sx.explain(
        model, np.eye(8, dtype=np.float32), sx.Target("object", region="image"), "vanilla-gradient"
    ).record
    assert "pretrained, encoder_weights, checkpoint left empty" in record.as_json()


@pytest.mark.parametrize("origin", ["socket", "name"])
@pytest.mark.parametrize("yes", [False, True])
def test_nothing_is_fetched_while_a_network_is_built(tmp_path, library, origin, yes, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    if not yes:
        sx.allow_package("segxai_nets")
    before = socket.socket.connect, socket.getaddrinfo
    with pytest.raises(sx.UserError, match="built without the internet"):
        sx.load_model(write(tmp_path / "m", origin=origin), trust=yes)
    assert given()["offline"] == "1"
    assert (socket.socket.connect, socket.getaddrinfo) == before
    assert not os.environ[
        "HF_HUB_OFFLINE"
    ]  # as good as unset: what goes would be missed where all are gone through


@pytest.mark.parametrize("origin", ["start", "spawn", "folder", "write", "remove", "read"])
def test_a_constructor_nobody_said_yes_to_touches_no_file_and_starts_nothing(
    tmp_path, library, origin, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("the user's")
    folder = write(tmp_path / "m", origin=origin)
    sx.allow_package("segxai_nets")
    with pytest.raises(sx.UserError, match=r"it would (start a program|write files|read a file)"):
        sx.load_model(folder)
    assert (tmp_path / "notes.txt").read_text() == "the user's"
    assert not (tmp_path / "written").exists()


def test_a_file_of_weights_that_claims_more_than_the_machine_holds_allows_no_more(
    tmp_path, library, monkeypatch
):
    monkeypatch.setattr(architecture, "_affordable", lambda: 10_000)
    folder = write(tmp_path / "m", "napari_segxai.models.zoo.unet:UNet", features=[8, 8])
    with (folder / "weights.safetensors").open("ab") as file:
        file.truncate(1 << 40)
    with pytest.raises(sx.UserError, match=r"this machine, can hold"):
        sx.load_model(folder)


def test_other_threads_stay_online_meanwhile():
    from napari_segxai.models.loading.offline import Offline, offline

    found = []

    def look_up():
        found.append(socket.getaddrinfo("127.0.0.1", 80))

    with offline():
        with pytest.raises(Offline):
            look_up()
        thread = threading.Thread(target=look_up)
        thread.start()
        thread.join()
    assert len(found) == 1


def test_a_network_that_is_far_larger_than_its_weights_is_not_built(tmp_path, library, monkeypatch):
    monkeypatch.setattr(architecture, "SPARE", 1_000_000)
    sx.allow_package("segxai_nets")
    with pytest.raises(sx.UserError, match=r"more than its file of weights"):
        sx.load_model(write(tmp_path / "m", "segxai_nets.nets:Endless"))
    place = "napari_segxai.models.zoo.unet:UNet"
    for features in ([2**20, 2**20], [2] * 10_000):
        with pytest.raises(sx.UserError, match=r"more than its file of weights"):
            sx.load_model(write(tmp_path / "m", place, features=features))


def test_building_a_network_takes_nothing_from_under_who_goes_through_the_environment(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with offline():
        going = iter(os.environ.items())  # as the window's thread may, beside the one that builds
        next(going)
    assert ("HF_HUB_OFFLINE", "") in list(going)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("mynets.Net", "did you mean 'mynets:Net'"),
        ("LinkNet3d", "did you mean 'napari_segxai.models.zoo.linknet3d:LinkNet3d'"),
        ("zoo.LinkNet3d", "did you mean 'napari_segxai.models.zoo.linknet3d:LinkNet3d'"),
        ("Net", r"in a file of yours\.$"),
        ("a network", r"in a file of yours\.$"),
    ],
)
def test_an_architecture_that_is_written_otherwise_is_answered_before_anything_else_is_asked(
    tmp_path, written, meant
):
    torch.save({"a.weight": torch.zeros(2, 1, 3, 3)}, tmp_path / "best.pth")
    with pytest.raises(UserError, match=f"is written 'package.module:Class'.*{meant}"):
        sx.load_model(tmp_path / "best.pth", architecture=written)


def test_a_class_of_ones_own_file_is_built_without_what_it_would_fetch_by_default(tmp_path):
    (tmp_path / "net.py").write_text("""
import socket
from torch import nn

class Net(nn.Module):
    def __init__(self, encoder_weights="imagenet", width=2):
        super().__init__()
        if encoder_weights is not None:
            socket.create_connection(("127.0.0.1", 9), timeout=1)
        self.conv = nn.Conv2d(1, width, 1)

    def forward(self, x):
        return self.conv(x)
""")
    torch.save({"conv.weight": torch.ones(2, 1, 1, 1), "conv.bias": torch.zeros(2)}, tmp_path / "best.pth")
    card = {"labels": ["background", "cell"], "intensity": []}
    place = f"{tmp_path / 'net.py'}:Net"
    model = sx.load_model(tmp_path / "best.pth", architecture=place, card=card, trust=True)
    assert any("encoder_weights left empty" in note for note in model.notes)
    with pytest.raises(UserError, match="a network is built without the internet"):
        sx.load_model(
            tmp_path / "best.pth",
            architecture=place,
            arguments={"encoder_weights": "x"},
            card=card,
            trust=True,
        )
    with pytest.raises(UserError, match="do not fit"):
        sx.load_model(
            tmp_path / "best.pth", architecture=place, arguments={"width": 3}, card=card, trust=True
        )


def test_a_class_that_a_script_hands_over_fetches_nothing(tmp_path):
    class Weights(Enum):
        DEFAULT = 1

    def make(weights_backbone=Weights.DEFAULT, pretrained=True, url=None):
        if weights_backbone or pretrained or url:
            socket.create_connection(("127.0.0.1", 9), timeout=1)
        return nn.Conv2d(1, 2, 1)

    torch.save(nn.Conv2d(1, 2, 1).state_dict(), tmp_path / "best.pth")
    card = {"labels": ["background", "cell"], "intensity": []}
    model = sx.load_model(tmp_path / "best.pth", architecture=make, card=card)
    assert any("weights_backbone, pretrained left empty" in note for note in model.notes)
    with pytest.raises(UserError, match="a network is built without the internet"):
        sx.load_model(tmp_path / "best.pth", architecture=make, arguments={"url": "x"}, card=card)
