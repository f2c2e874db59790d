"""The button *3D Slicer*, with a server on this machine that answers as Slicer's does."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from qtpy.QtWidgets import QFileDialog, QMessageBox

import napari_segxai as sx
from napari_segxai.io.slicer import server


class Slicer(BaseHTTPRequestHandler):
    """Says its version, and writes down what it is to load."""

    loaded: list[tuple[str, str]] = []  # noqa: RUF012
    refuses = ""
    loads_nothing = False

    def do_GET(self):
        self.answer(200, {"applicationName": "Slicer"})

    def do_POST(self):
        query = parse_qs(urlsplit(self.path).query)
        (file,), (kind,) = query["localfile"], query["filetype"]
        if self.refuses and file.endswith(self.refuses):
            self.answer(500, {"success": False, "message": "no reader"})
        else:
            self.loaded.append((file, kind))
            self.answer(200, {"success": True, "loadedNodeIDs": [] if self.loads_nothing else ["a"]})

    def answer(self, status, told):
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def slicer(monkeypatch):
    """A port at which it answers, though a proxy is set for everything."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    Slicer.loaded, Slicer.refuses = [], ""
    running = HTTPServer(("127.0.0.1", 0), Slicer)
    thread = threading.Thread(target=running.serve_forever, args=(0.02,))
    thread.start()
    yield running.server_address[1]
    running.shutdown()
    thread.join()
    running.server_close()


def test_files_are_handed_to_a_slicer_that_answers(slicer, tmp_path):
    files = [tmp_path / "ä b&c.nii.gz", tmp_path / "regions.seg.nrrd", tmp_path / "points.mrk.json"]
    server.load_files(files, slicer)
    kinds = ["VolumeFile", "SegmentationFile", "MarkupsFile"]
    assert Slicer.loaded == list(zip(map(str, files), kinds, strict=True))
    Slicer.refuses, Slicer.loads_nothing = "", True
    with pytest.raises(sx.UserError, match=r"could not load ä b&c\.nii\.gz"):
        server.load_files(files, slicer)
    Slicer.refuses, Slicer.loads_nothing = ".nrrd", False
    with pytest.raises(sx.UserError, match=r"could not load regions\.seg\.nrrd: no reader"):
        server.load_files(files, slicer)


def test_something_else_at_its_port_is_no_slicer(slicer, monkeypatch):
    monkeypatch.setattr(Slicer, "do_GET", lambda self: self.answer(200, ["hello"]))
    assert not server.is_running(slicer)
    monkeypatch.setattr(Slicer, "do_GET", lambda self: self.wfile.write(b"\x00" * 100))
    assert not server.is_running(slicer)


def test_a_result_is_exported_and_opened(triangle_panel, run_panel, wait, tmp_path, monkeypatch, slicer):
    panel, button = triangle_panel, triangle_panel.fields.slicer
    assert not button.isEnabled()
    run_panel(panel, "seg-grad-cam")
    assert button.isEnabled()
    folders = iter([tmp_path / "a", tmp_path / "b"])
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(next(folders)))
    button.export.trigger()
    wait(lambda: "for 3D Slicer to" in panel.run_bar.status.text())
    assert (tmp_path / "a" / "open_in_slicer.py").is_file()
    monkeypatch.setattr(server, "PORT", slicer)
    monkeypatch.setattr(server.is_running, "__defaults__", (1,))  # a port at which nothing answers
    button.open.trigger()
    wait(lambda: "No 3D Slicer answers on this machine" in panel.run_bar.status.text())
    for function in (server.is_running, server.load_files):
        monkeypatch.setattr(function, "__defaults__", (slicer,))
    button.open.trigger()
    wait(lambda: panel.run_bar.status.text() == "3D Slicer has loaded 4 files.")
    assert {file.rpartition("/")[0] for file, _ in Slicer.loaded} == {str(tmp_path / "a")}
    run_panel(panel, "seg-grad-cam")  # another result: it is exported first, to a folder that is asked for
    button.open.trigger()
    wait(lambda: len(Slicer.loaded) == 8)
    assert (tmp_path / "b" / "record.json").is_file()
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.No)
    before = (tmp_path / "b" / "record.json").stat().st_mtime_ns
    panel.export_to_slicer(tmp_path / "b")
    assert (tmp_path / "b" / "record.json").stat().st_mtime_ns == before
