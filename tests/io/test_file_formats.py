"""docs/file_formats.md names every key and every column that is written."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.networks import LinearHead, card

import napari_segxai as sx
from napari_segxai.analyses.cohort.tables.columns import COLUMNS, page_of
from napari_segxai.metrics.registry import all_metrics

ROOT = Path(sx.__file__).parents[1]
HEADINGS = {
    "explanation": "An explanation",
    "information flow": "An information flow",
    "comparison": "A comparison",
    "sweep": "A sweep",
    "channel importance": "The importance of channels",
    "cohort": "A cohort",
    "job of a cohort": "A cohort",
    "survey": "A survey",
    "export for 3D Slicer": "An export for 3D Slicer",
}
FREE = re.compile(
    r"(methods\.[^.]+\.parameters|flow|asked\.methods|asked\.options|truth|fixed|parameters|results|versions|files|curves|masks|grid|stage_table\[\]|rows\[\]|tables|engine\.network [\w ]+|prediction|image\.layer|image\.header"
    r"|(maps|galleries\[\]\.pictures)\[\]\.of|image\.at|notes|missed|maps\.[^.]+\.parameters|trust\[\]\.(details|parameters|passes)|model\.(thresholds|windows))\..*"
)
"""Below these, names are those of methods, metrics, files, labels or packages."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[Path]:
    """A folder of every kind, as small networks make them; with all that a record can hold."""
    out = tmp_path_factory.mktemp("results")
    model = sx.load_model("triangle")
    image = sx.read_image(ROOT / "sample_data" / "images" / "triangle_1.png")
    drawn = model.predict(image) == 1
    found = sx.explain(model, image, sx.Target("triangle", region=drawn), "misure", iterations=2)
    sx.check(found, model, checks=["other-seed"])
    found.save(out / "misure")
    for name, region in {"point": sx.Point((56, 56)), "box": sx.Box((20, 20), (90, 90))}.items():
        target = sx.Target("triangle", region=region)
        sx.explain(model, image, target, "seg-grad-cam", intermediates=2).save(out / name)
    labels = ["background", "a", "b"]
    overlapping = sx.load_model(
        LinearHead(labels=2), card=card(labels=labels, activation="sigmoid", paint_order=["a", "b"])
    )
    plain = sx.Image(np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32))
    sx.explain(overlapping, plain, sx.Target("a", region="image"), "vanilla-gradient").save(
        out / "overlapping"
    )
    flow = sx.information_flow(
        model, image, labels=["triangle"], layers=["encoder1", "bottleneck", "decoder2", "decoder1"],
        causal=True, ablation="both", truth=drawn.astype(np.uint8),
    )  # fmt: skip
    sx.export_to_slicer(found, out / "slicer")
    flow.save(out / "flow", tiles=[("triangle", flow.layers[-1].name)])
    methods = ["vanilla-gradient", "rise:masks=4"]
    sx.compare(model, image, "triangle", methods, maps={"own": drawn * 1.0}, truth=drawn, steps=3).save(
        out / "comparison"
    )
    sx.sweep(model, image, "triangle", "rise", {"masks": [2, 4]}, steps=3).save(out / "sweep")
    sx.channel_importance(model, image, "triangle").save(out / "channels")
    (out / "data").mkdir()
    for name in ("triangle_1.png", "triangle_1_truth.png"):
        shutil.copy(ROOT / "sample_data" / "images" / name, out / "data")
    (out / "data" / "alone_label.png").touch()
    sx.run_cohort(
        model,
        out / "data",
        methods=["seg-ablation-cam"],
        metrics=["dice-explained"],
        out=out / "cohort",
        flow={"layers": ["bottleneck"]},
        channels=True,
    )
    cases = tuple(sx.Case(name, (out / "data" / "triangle_1.png",)) for name in "ab")
    told = sx.survey(
        model,
        sx.Cases(out / "data", "folder", cases),
        "network-dissection",
        concepts="predicted",
        layers="bottleneck",
    )
    told.save(out / "survey")
    return sorted(path.parent for path in out.rglob("record.json"))


def keys(value: Any, above: str = "") -> Iterator[str]:
    """Yield the keys of a record, with a dot between those above and those below."""
    for item in [value] if isinstance(value, dict) else value if isinstance(value, list) else []:
        if isinstance(item, dict):
            for key, below in item.items():
                yield above + key
                yield from keys(below, f"{above}{key}[]." if isinstance(below, list) else f"{above}{key}.")
        elif isinstance(item, list):
            yield from keys(item, above)


def section(heading: str) -> str:
    page = (ROOT / "docs" / "file_formats.md").read_text()
    (found,) = re.findall(rf"^## {heading}$(.*?)(?=^## |\Z)", page, re.M | re.S)
    return found


def test_every_key_of_every_record_is_on_the_page(folders):
    kinds = set()
    for folder in folders:
        record = json.loads((folder / "record.json").read_text())
        kinds.add(record["kind"])
        named = section("Every record") + section(HEADINGS[record["kind"]])
        for key in keys(record):
            key = (
                re.sub(r"^maps\.[^.]+(?=\.|$)", "maps.NAME", key) if record["kind"] != "explanation" else key
            )
            key = re.sub(r"^methods\.[^.]+(?=\.|$)", "methods.NAME", key)
            known = (
                f"`{key}`" in named
                or key == "methods.NAME"
                or key == "maps.NAME"
                or key.startswith("maps.NAME.parameters.")
            )
            below = FREE.fullmatch(key) or re.fullmatch(r"(maps|engine)\..*", key)
            assert known or below, f"{key} of {record['kind']}"
    assert kinds == set(HEADINGS)


def test_every_column_of_every_table_is_on_the_page(folders):
    metrics = "|".join(sorted((re.escape(m.name) for m in all_metrics()), key=len, reverse=True))
    seen = set()
    for folder in folders:
        kind = json.loads((folder / "record.json").read_text())["kind"]
        for path in folder.glob("*.csv"):
            if path.name.startswith("curve_") and path.name not in section(HEADINGS[kind]):
                continue  # of a method, on its own page
            seen.add((kind, path.name))
            text = section(HEADINGS[kind])
            if f"column of `{path.name}`" in text:
                text = text.partition(f"column of `{path.name}`")[2].partition("\n\n")[0]
            if kind == "sweep":
                text += section("A comparison")
            with path.open(newline="") as file:
                columns = next(csv.reader(file))
            own_numbers = {
                name
                for record in folder.glob("cases/*/maps/*/*/record.json")
                for name in json.loads(record.read_text()).get("results", {})
            }
            if kind == "survey" and path.name not in ("cases.csv", "columns.csv"):
                continue  # of a method, on its own page
            for column in columns:
                if column in own_numbers:
                    continue  # of a method, on its own page
                column = re.sub(r"_(pixel|mm)(\d?)$", r"_UNIT\2", column)
                column = re.sub("^evidence on .*", "evidence on LABEL", column)
                own = re.fullmatch(rf"(?:{metrics})(?: (.*))?", column)
                if kind == "sweep" and column in ("masks", "masks_result", "error"):
                    continue  # of the method and its parameters
                assert f"`{column}`" in text or (own and (own[1] is None or f"`{own[1]}`" in text)), (
                    kind,
                    path.name,
                    column,
                )
    assert len(seen) == 19


def test_the_tables_of_a_cohort_are_described_as_the_code_does():
    for table in COLUMNS:
        assert f"\n\n{page_of(table)}\n" in section("A cohort")


def test_every_file_of_a_folder_is_on_the_page(folders):
    for folder in folders:
        record = json.loads((folder / "record.json").read_text())
        text = section(HEADINGS[record["kind"]])
        if "job.json" in record["files"]:
            text += section("A cohort")
        maps = [one["file"] if isinstance(one, dict) else one for one in record.get("maps", {})]
        own = {*record.get("masks", {}), *maps}
        for path in (path for path in folder.iterdir() if path.is_file() and path.name != "record.json"):
            stem = path.name.partition(".")[0]
            names = [f"`{path.name}`", f"`{stem}`", f"`{re.sub('_.*', '_LABEL', stem)}`"]
            if record["kind"] == "export for 3D Slicer":
                names.append(f"`{re.sub('^map_.*', 'map_METHOD_LABEL', stem)}.nii.gz`")
            assert any(name in text for name in names) or stem in own or stem.startswith("curve_"), path.name
