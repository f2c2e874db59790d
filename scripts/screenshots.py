"""Make the pictures of the README in a real napari window: `make screenshots`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import napari
from qtpy.QtWidgets import QApplication

from napari_segxai.gui.manifest.demo import PARAMETERS, SIZE

IMAGES = Path(__file__).parents[1] / "docs" / "images"

PICTURES = {
    "t1_head": ("t1_head", "misure", PARAMETERS, True),
    "astronaut": ("astronaut", "seg-hires-grad-cam", {}, False),
    "triangle": ("triangle", "rise", {"masks": 1000}, False),
}
"""Name: sample, method, parameters, whether the parameters are unfolded."""

COMPARED = ("seg-grad-cam", "seg-hires-grad-cam", "integrated-gradients", "occlusion", "rise", "misure")


def wait(condition: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(condition)
        QApplication.processEvents()
        time.sleep(0.01)


def take(name: str, sample: str, method: str, parameters: dict, unfolded: bool) -> None:
    viewer = napari.Viewer(show=False)
    viewer.open_sample("napari-segxai", sample)
    _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", "Explain")
    viewer.window.show()
    viewer.window.resize(*SIZE)
    if unfolded:
        panel.fields.parameters.expand(animate=False)
    wait(lambda: panel.run_bar.run.isEnabled())
    panel.fields.method_box.choose(method)
    panel.fields.form.set_values(parameters)
    panel.run()
    wait(lambda: not panel.run_bar.is_running and panel._all_shown())
    source = panel.layer
    if source.ndim == 3:
        viewer.dims.set_point(0, source.extent.world[:, 0].mean() + 10)
    viewer.reset_view()
    end = time.monotonic() + 1  # let the last layer be drawn
    wait(lambda: time.monotonic() > end)
    viewer.screenshot(IMAGES / f"{name}.png", canvas_only=False, flash=False)
    print(IMAGES / f"{name}.png", panel.run_bar.status.text())
    viewer.close()


def take_flow(name: str) -> None:
    """The Information flow dock with three tissues, after the causal check."""
    viewer = napari.Viewer(show=False)
    viewer.open_sample("napari-segxai", "mni_t1")
    _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", "Information flow")
    viewer.window.show()
    viewer.window.resize(*SIZE)
    names = [entry.card.name for entry in panel.model_box.entries]
    panel.model_box.combo.setCurrentIndex(names.index("Brain tissue"))
    wait(lambda: panel.run_bar.run.isEnabled())
    panel.run()
    wait(lambda: not panel.run_bar.is_running and panel.flow is not None)
    panel.causal_check()
    wait(lambda: not panel.run_bar.is_running)
    panel.results.curves.set_quantity("dice")
    panel.results.wanted.emit("white matter", "decoder1")
    wait(panel._all_shown)
    source = panel.layer
    viewer.dims.set_point(0, source.extent.world[:, 0].mean() + 10)
    viewer.reset_view()
    end = time.monotonic() + 1  # let the last layer be drawn
    wait(lambda: time.monotonic() > end)
    viewer.screenshot(IMAGES / f"{name}.png", canvas_only=False, flash=False)
    print(IMAGES / f"{name}.png", panel.run_bar.status.text())
    viewer.close()


def draw_compare(name: str) -> None:
    """The Compare and evaluate dock: six methods on the triangle, their maps in a grid."""
    import PIL.Image

    viewer = napari.Viewer(show=False)
    viewer.open_sample("napari-segxai", "triangle")
    _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", "Compare and evaluate")
    viewer.window.show()
    viewer.window.resize(*SIZE)
    wait(lambda: panel.run_bar.run.isEnabled())
    panel.fields.methods.tick(COMPARED)
    panel.run()
    wait(lambda: not panel.run_bar.is_running, 900)
    results = panel.results
    results.curves.set_kind("dice-over-threshold")
    results.table.select("misure")
    wait(lambda: not results.inspector.is_busy)
    results.grid_button.click()
    end = time.monotonic() + 1  # let the last layer be drawn
    wait(lambda: time.monotonic() > end)
    path = IMAGES / f"{name}.png"
    viewer.screenshot(path, canvas_only=False, flash=False)
    PIL.Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)
    print(path, panel.run_bar.status.text())
    viewer.close()


def draw_sweep(name: str) -> None:
    """The Sweep parameters dock: learning rate and lambda of MiSuRe on the triangle, as in the paper's table 2."""
    import PIL.Image

    viewer = napari.Viewer(show=False)
    viewer.open_sample("napari-segxai", "triangle")
    _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", "Sweep parameters")
    viewer.window.show()
    viewer.window.resize(*SIZE)
    wait(lambda: panel.run_bar.run.isEnabled())
    panel.fields.grid_box.set_grid({"lr": "0.001, 0.01, 0.1", "lam": "0.001, 0.01, 0.1"})
    panel.run()
    wait(lambda: not panel.run_bar.is_running, 900)
    panel.results.show_number("ratio_mask")
    panel.results.select(7)
    end = time.monotonic() + 1  # let the last layer be drawn
    wait(lambda: time.monotonic() > end)
    path = IMAGES / f"{name}.png"
    viewer.screenshot(path, canvas_only=False, flash=False)
    PIL.Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)
    print(path, panel.run_bar.status.text())
    viewer.close()


def draw_cohort(name: str) -> None:
    """The Cohort dock: triangles that are blurred by degrees, Dice with the truth against size, one case open."""
    import csv
    import tempfile

    import numpy as np
    import PIL.Image
    from scipy.ndimage import gaussian_filter

    import napari_segxai as sx
    from napari_segxai.datasets.resources import resource
    from napari_segxai.datasets.triangle import load_glyphs, triangle_sample

    glyphs = load_glyphs(resource("sample_data/glyphs.npz"), "held-out")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rows = []
        for k in range(30):
            image, truth = triangle_sample(glyphs, np.random.default_rng(k))
            blurred = gaussian_filter(image.astype(float), 0.25 * (k % 6))
            PIL.Image.fromarray(blurred.astype(np.uint8)).save(folder / f"case_{k:02d}.png")
            PIL.Image.fromarray(truth.astype(np.uint8)).save(folder / f"case_{k:02d}_mask.png")
            rows.append([f"case_{k:02d}.png", f"case_{k:02d}_mask.png", "blurred" if k % 6 > 2 else "sharp"])
        with (folder / "cases.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["image", "truth", "group"], *rows])
        methods = ["misure:iterations=30", "seg-grad-cam"]
        sx.run_cohort(
            "triangle", folder / "cases.csv", methods=methods, out=folder / "out", metrics=["dice-explained"]
        )
        viewer = napari.Viewer(show=False)
        _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", "Cohort")
        viewer.window.show()
        viewer.window.resize(*SIZE)
        panel.open(folder / "out")
        wait(lambda: panel.cohort is not None)
        panel.sides.fold()
        results = panel.results
        results.tabs.setCurrentWidget(results.plot)
        results.plot.choose("size_px", "truth_dice")
        results.plot.clicked.emit(results.frame.row_of["case_04", "triangle", "misure"])
        wait(lambda: not panel.case.is_busy)
        end = time.monotonic() + 1  # let the last layer be drawn
        wait(lambda: time.monotonic() > end)
        path = IMAGES / f"{name}.png"
        viewer.screenshot(path, canvas_only=False, flash=False)
        PIL.Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)
        print(path, results.note.text())
        viewer.close()


def draw_concepts(name: str) -> None:
    """The Concepts dock: which unit of which layer tells items of the triangle from others, and one of them over its image."""
    import tempfile

    import PIL.Image
    from concepts_figure import write_cases

    with tempfile.TemporaryDirectory() as place:
        images, masks = write_cases(Path(place), 24)
        viewer = napari.Viewer(show=False)
        _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", "Concepts")
        viewer.window.show()
        viewer.window.resize(*SIZE)
        names = [entry.card.name for entry in panel.model_box.entries]
        panel.model_box.combo.setCurrentIndex(names.index("Triangle"))
        panel.take(str(images))
        panel.fields.concepts.set_asked(str(masks))
        panel.fields.form.set_values({"within": "item", "examples": 6})
        wait(lambda: "cases ·" in panel.run_bar.estimate.text())
        panel.run()
        wait(lambda: not panel.run_bar.is_running)
        results = panel.results
        rows = results.frame.rows
        kept = [k for k, row in enumerate(rows) if any(one.shows(row) for one in panel.survey.maps)]
        results.choose(next(k for k in kept if rows[k]["concept"] == "object"))
        wait(lambda: not panel.is_cropping)
        results.gallery.views[0].clicked.emit()
        wait(lambda: not panel.case.is_busy and len(viewer.layers) > 1)
        end = time.monotonic() + 1  # let the last layer be drawn
        wait(lambda: time.monotonic() > end)
        path = IMAGES / f"{name}.png"
        viewer.screenshot(path, canvas_only=False, flash=False)
        PIL.Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)
        print(path, results.words.text())
        viewer.close()


def draw_flow(name: str) -> None:
    """Draw the information flow of a sample, with few colours so that the file stays small."""
    import PIL.Image

    import napari_segxai as sx
    from napari_segxai.analyses.flow.result import save_figure
    from napari_segxai.datasets.resources import resource

    image = sx.read_image(resource("sample_data/images/mni_t1.nii.gz"))
    path = save_figure(sx.information_flow("brain-tissue", image, causal=True), IMAGES / f"{name}.png")
    PIL.Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)
    print(path)


if __name__ == "__main__":
    IMAGES.mkdir(parents=True, exist_ok=True)
    draw_flow("flow_tissue")
    take_flow("information_flow")
    draw_compare("compare")
    draw_sweep("sweep")
    draw_cohort("cohort")
    draw_concepts("concepts")
    for name, picture in PICTURES.items():
        take(name, *picture)
