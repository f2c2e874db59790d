"""Models of a stranger who means ill: nothing is written, nothing hangs, nothing that is shown or copied becomes code."""

from __future__ import annotations

import ast
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from helpers.networks import LinearHead, card
from safetensors.torch import save_file
from torch import Tensor, nn

import napari_segxai as sx
from napari_segxai.models.card import make_card

CONVOLUTION = {"in_channels": 1, "out_channels": 2, "kernel_size": 1}


class Saves(nn.Module):
    def forward(self, x):
        torch.save(x, "written.pt")
        return torch.cat([x, x], 1)


class Maps(nn.Module):
    def forward(self, x):
        return torch.cat([x, x], 1) + torch.from_file("written.bin", True, 4).sum()


class SavesInAPart(nn.Module):
    def __init__(self):
        super().__init__()
        self.part = nn.Sequential(nn.Conv2d(1, 2, 1), Tail())

    def forward(self, x):
        return self.part(x)


class Tail(nn.Module):
    def forward(self, x):
        if bool(x.sum() > 0):
            torch.save(x, "written.pt")
        return x


class RunsWhenLoaded(nn.Module):
    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, bool]:
        return torch.zeros(1), self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, bool]):
        self.training = state[1]

    def forward(self, x):
        return torch.cat([x, x], 1)


@pytest.mark.parametrize("network", [Saves, Maps, SavesInAPart, RunsWhenLoaded])
def test_torchscript_that_does_more_than_compute_is_refused_before_it_runs(tmp_path, monkeypatch, network):
    monkeypatch.chdir(tmp_path)
    torch.jit.script(network()).save("net.pt")
    with pytest.raises(sx.UserError, match=r"net\.pt: its code uses .* trust=True"):
        sx.load_model("net.pt", card=card())
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt"]
    if network is RunsWhenLoaded:
        sx.load_model("net.pt", card=card(), trust=True)


def rewritten(source: Path, target: Path, change, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return target


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"torch.cat", b'getattr(torch, "s\\x61ve")'),
        (b"torch.cat", b"torch . save"),
        (b"torch.cat", b"x.save"),
        (b"return ", b"_9 = ops.image.write_file(\"written\", x)\n    return "),
        (b"return ", b"_9 = __torch__.torch.classes.torchvision.Video(\"http://x\", \"a\")\n    return "),
    ],
)  # fmt: skip
def test_names_of_what_touches_files_are_found_however_they_are_written(tmp_path, monkeypatch, old, new):
    class Doubles(nn.Module):
        def forward(self, x):
            return torch.cat([x, x], 1)

    monkeypatch.chdir(tmp_path)
    torch.jit.script(Doubles()).save("good.pt")
    rewritten(
        Path("good.pt"), Path("net.pt"), lambda name, data: data.replace(old, new, 1) if name.endswith(".py") else data
    )  # fmt: skip
    with pytest.raises(sx.UserError, match=r"net\.pt: (its code uses|cannot be read as TorchScript)"):
        sx.load_model("net.pt", card=card())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good.pt", "net.pt"]


def test_torchscript_with_parts_of_every_kind_is_loaded(tmp_path):
    class Parts(nn.Module):
        def __init__(self):
            super().__init__()
            self.ops = nn.ModuleList([nn.Conv2d(1, 2, 1), nn.Sequential(nn.BatchNorm2d(2), nn.ReLU())])

        def forward(self, x):
            for each in self.ops:
                x = each(x)
            return torch.jit.wait(torch.jit.fork(torch.relu, x))

    torch.jit.script(Parts().eval()).save(str(tmp_path / "net.pt"))
    assert sx.load_model(tmp_path / "net.pt", card=card()).labels == ("background", "object")


def test_torchscript_whose_tensors_reach_beyond_the_file_is_refused(tmp_path):
    torch.jit.freeze(torch.jit.script(LinearHead().eval())).save(str(tmp_path / "good.pt"))
    cut = rewritten(
        tmp_path / "good.pt", tmp_path / "net.pt", lambda name, data: data[:2] if "constants/" in name else data
    )  # fmt: skip
    with pytest.raises(sx.UserError, match=r"net\.pt: is damaged"):
        sx.load_model(cut, card=card())


def folder(place: Path, **changes: object) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    fields = card(architecture="torch.nn:Conv2d", arguments=CONVOLUTION, **changes)
    (place / "model.yaml").write_text(yaml.safe_dump(fields), encoding="utf-8")
    save_file(nn.Conv2d(1, 2, 1).state_dict(), place / "weights.safetensors")
    return place


def test_weights_that_lie_in_each_other_a_billion_times_are_looked_at_once(tmp_path):
    held: dict = {"a": 1}
    for _ in range(4):
        held = {str(k): held for k in range(300)}
    torch.save(held, tmp_path / "weights.pt")
    with pytest.raises(sx.UserError, match="holds no state dict"):
        sx.load_model(folder(tmp_path, weights="weights.pt"))


def test_an_archive_that_becomes_far_larger_is_not_unpacked(tmp_path):
    torch.save(nn.Conv2d(1, 2, 1).state_dict(), tmp_path / "good.pt")
    packed = tmp_path / "weights.pt"
    rewritten(
        tmp_path / "good.pt", packed, lambda name, data: data + bytes(30_000_000) if name.endswith("data.pkl") else data,
        zipfile.ZIP_DEFLATED,
    )  # fmt: skip
    with pytest.raises(sx.UserError, match=r"weights\.pt: becomes 30 MB"):
        sx.load_model(folder(tmp_path, weights="weights.pt"))


@pytest.mark.parametrize("weights", ["x" * 400, "é" * 200, "", ".", "..", "a/b", "a\\b", "c:a", "\ud800"])
def test_weights_are_a_name_that_a_file_beside_the_card_can_have(tmp_path, weights):
    with pytest.raises(sx.UserError, match="weights: "):
        make_card(card(weights=weights))


@pytest.mark.parametrize(
    "name", ["", " ", "a\nb", "a\x1b[2Jb", "a\u202eb", "a\u2028b", "a\u2066b", "\ufeffa", "x" * 501]
)
def test_names_are_seen_as_they_are(name):
    for fields in ({"name": name}, {"labels": ["background", name]}, {"channels": [name]}):
        with pytest.raises(sx.UserError, match=r"a name|the name") as caught:
            make_card({**card(), **fields})
        assert str(caught.value).isprintable()
    make_card({**card(), "labels": ["زمینه", "می\u200cخواهم"]})  # a joiner that Persian is written with


def test_a_key_that_is_given_twice_is_said_with_its_line(tmp_path):
    place = folder(tmp_path)
    text = (place / "model.yaml").read_text() + "labels: [background, other]\n"
    (place / "model.yaml").write_text(text)
    with pytest.raises(sx.UserError, match=rf"line {text.count(chr(10))}: .*'labels' is given twice"):
        sx.load_model(place)


def test_the_name_of_a_folder_never_becomes_code_of_a_copied_script(tmp_path):
    pytest.importorskip("qtpy")
    from napari_segxai.gui.script.write import model_lines

    place = tmp_path / "a\nimport os; os.abort()\n'''\"\"\"\\"
    folder(place)
    (place / "own_nets.py").write_text("import torch\nclass Net(torch.nn.Conv2d):\n    pass\n")
    text = (place / "model.yaml").read_text().replace("torch.nn:Conv2d", "own_nets:Net")
    (place / "model.yaml").write_text(text)
    lines = model_lines(sx.load_model(place, trust=True))
    [call] = ast.parse("\n".join(lines)).body
    assert ast.unparse(call).startswith("model = sx.load_model(")
    assert call.value.args[0].value == str(place)


PICTURE = "<img src='x.png'>"


def html_in(panel) -> list[str]:
    """What Qt would read as HTML with a stranger's picture in it."""
    from qtpy.QtCore import Qt
    from qtpy.QtWidgets import QLabel, QListWidget, QTreeWidget, QTreeWidgetItemIterator, QWidget

    tips = [widget.toolTip() for widget in panel.findChildren(QWidget)]
    for box in panel.findChildren(QListWidget):
        tips += [box.item(k).toolTip() for k in range(box.count())]
    for tree in panel.findChildren(QTreeWidget):
        items = QTreeWidgetItemIterator(tree)
        while (item := items.value()) is not None:
            tips += [item.toolTip(k) for k in range(tree.columnCount())]
            items += 1
    labels = [label for label in panel.findChildren(QLabel) if label.textFormat() != Qt.TextFormat.PlainText]
    shown = [text for text in [*tips, *(label.text() for label in labels)] if Qt.mightBeRichText(text)]
    return [text for text in shown if "<img" in text]


@pytest.mark.parametrize("dock", ["Explain", "Information flow"])
def test_no_name_or_sentence_of_a_model_becomes_html(viewer, wait, dock):
    from helpers.docks import use_model

    fields = card(labels=["background", PICTURE], channels=[PICTURE])
    words = dict.fromkeys(["name", "description", "license", "not_for", "credit"], PICTURE)
    network = LinearHead()
    model = sx.load_model(network, card={**fields, **words})
    viewer.add_image(torch.rand(16, 16).numpy(), name=PICTURE)
    _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", dock)
    use_model(panel, model)
    wait(lambda: panel.run_bar.run.isEnabled())
    panel.model_box._refused = f"unknown key {PICTURE!r}"
    panel.model_box._tell()
    assert PICTURE in panel.model_box.note.text()
    assert "&lt;img" in panel.model_box.facts.toolTip()
    if dock == "Information flow":
        panel.run_bar.run.click()
        wait(lambda: not panel.run_bar.is_running)
    panel.run_bar.show_status(PICTURE, error=True)
    assert html_in(panel) == []
