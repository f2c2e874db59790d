"""The report of a cohort: what is in it, that nothing of a patient is, and that hostile names are text."""

from __future__ import annotations

import base64
import csv
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from helpers.files.nifti import save
from helpers.networks import card, planted_image, planted_model
from PIL import Image as Picture
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.analyses.cohort import study
from napari_segxai.analyses.cohort.report import content
from napari_segxai.analyses.cohort.report.names import Names
from napari_segxai.analyses.cohort.report.parts import table_of
from napari_segxai.analyses.cohort.report.tables import escaped
from napari_segxai.cli.app import app
from napari_segxai.core.references import WORKS, bibtex, entry
from napari_segxai.methods.registry import all_methods
from napari_segxai.metrics.registry import all_metrics

HOSTILE = ["<script>alert(1)<_script>", "a\"b'&{x}$y$_%#~", "مريض ١", "n" * 200, "Doe_John_1970"]
HEADER = "ZZHEADERZZ"
FOLDER = "Mustermann Erika"


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """Volumes whose headers and folder name a patient; one is damaged, one file belongs to none."""
    base = tmp_path_factory.mktemp("report")
    data = base / FOLDER
    data.mkdir()
    values = (planted_image(3).array * 200).astype(np.uint8)
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    told = {"descrip": HEADER, "intent_name": HEADER, "aux_file": HEADER, "db_name": HEADER}
    for k, name in enumerate(HOSTILE):
        save(data / f"{name}.nii.gz", np.roll(values, k, 2), affine, **told)
        save(
            data / f"{name}_label.nii.gz", (np.roll(values, k + 1, 2) > 150).astype(np.uint8), affine, **told
        )
    (data / "damaged_Erika.nii.gz").write_bytes(b"no image")
    (data / "alone_Erika_label.nii.gz").touch()
    model = sx.load_model(
        planted_model(3).module,
        card=card(
            3,
            orientation="RAS",
            grid={"size": [6, 32, 32]},
            intensity=[{"divide": 200}],
            license="CC <b>0</b>",
        ),
    )
    sx.run_cohort(
        model,
        data,
        ["object"],
        ["vanilla-gradient", "rise:masks=4"],
        metrics=["dice-explained"],
        out=base / "out",
    )
    return base / "out"


@pytest.fixture(scope="module")
def written(done, tmp_path_factory) -> Path:
    """Reports with names and without, and what lies beside them."""
    folder = tmp_path_factory.mktemp("written")
    with pytest.MonkeyPatch.context() as few:  # numbers do not matter here
        few.setattr(study, "DRAWS", 40)
        few.setattr(content, "CHARTS", 1)
        write_all(done, folder)
    return folder


def write_all(done: Path, folder: Path) -> None:
    sx.write_report(done, folder / "named.html", tables=folder / "named")
    options = ["--anonymous", "--key", str(folder / "key.csv"), "--tables", str(folder / "numbers")]
    found = CliRunner().invoke(
        app, ["cohort", "report", str(done), "--out", str(folder / "numbers.html"), *options]
    )
    assert found.exit_code == 0, found.output
    sx.write_report(done, folder / "numbers.pdf", anonymous=True)


class Page(HTMLParser):
    """What a browser finds on a page."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    @property
    def said(self) -> str:
        return "".join(self.words)

    def all(self, tag: str) -> list[dict]:
        return [attrs for name, attrs in self.tags if name == tag]


def words_of_pdf(path: Path) -> str:
    """Return the text of a PDF of matplotlib: letters in brackets, with kerning between."""
    out = []
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", path.read_bytes(), re.S):
        try:
            content = zlib.decompress(stream).decode("latin-1")
        except zlib.error:
            continue
        for block in re.findall(r"BT(.*?)ET", content, re.S):
            out.append("".join(re.findall(r"\(((?:\\.|[^\\)])*)\)", block)))
    return re.sub(r"\\(.)", r"\1", "\n".join(out).replace("\0", ""))  # UTF-16, with brackets escaped


def test_a_page_has_all_that_it_has_to_tell(written):
    page = Page((written / "named.html").read_text(encoding="utf-8"))
    for word in (
        "In short", "Data", "Model", "What was asked", "Averages", "Single cases", "What failed", "Versions", "References",
        "What speaks against it", "is a truth without an image", "CC <b>0</b>", "dice-explained", "--methods",
        "is not compressed with gzip", "napari-segxai cohort run IMAGES --model MODEL --label object",         "Benchmark", "Context", "the cohort holds no information flow", "petsiuk2018", "simonyan2014", "hasany2024tour", "Dice with the truth",
    ):  # fmt: skip
        assert word in page.said, word
    assert "/tmp" not in page.said
    images = page.all("img")
    assert len(images) >= 4
    assert all(image["alt"].strip() and image["src"].startswith("data:image/") for image in images)
    assert any("png" in image["src"][:20] for image in images)
    assert len(page.all("th")) == sum(attrs.get("scope") == "col" for attrs in page.all("th")) > 10
    assert len(page.all("caption")) == len(page.all("table"))
    assert page.all("html") == [{"lang": "en"}]


def test_a_page_needs_nothing_from_outside_and_runs_nothing(written):
    for name in ("named.html", "numbers.html"):
        page = Page((written / name).read_text(encoding="utf-8"))
        known = {tag for tag, _ in page.tags}
        assert not known & {"script", "link", "iframe", "object", "embed", "b", "form", "base"}
        for tag, attrs in page.tags:
            assert not [key for key in attrs if key.startswith("on")], tag
            for key in ("href", "src"):
                assert attrs.get(key, "#").startswith(("#", "data:image/")), attrs
            assert "url(" not in attrs.get("style", "")
        style = re.search(r"<style>(.*?)</style>", (written / name).read_text(encoding="utf-8"), re.S)
        assert style is not None
        assert not re.search(r"url\(|@import", style[1])
        for image in page.all("img"):
            kind, _, held = image["src"].partition(",")
            picture = base64.b64decode(held)
            if "svg" in kind:
                assert not re.search(rb"<script|<foreignObject|href=\"http|@import", picture)


def test_hostile_names_are_text(written):
    page = Page((written / "named.html").read_text(encoding="utf-8"))
    table = (written / "named" / "objects.tex").read_text(encoding="utf-8")
    for name in HOSTILE:
        assert escaped(name) in table
    assert any(name in page.said for name in HOSTILE)  # the worst are shown
    assert r"\{x\}\$y\$\_\%\#\textasciitilde{}" in table
    for line in table.splitlines():
        assert not re.search(r"(?<!\\)[#%](?! needs)", line), line
    rows = list(csv.DictReader((written / "named" / "objects.csv").open(encoding="utf-8", newline="")))
    assert [row["Case"] for row in rows if not row["Error"]] == sorted(
        HOSTILE, key=[row["Case"] for row in rows].index
    )


def test_nothing_of_a_patient_is_in_it(done, written):
    """Neither of headers nor of folders; and of names nothing, where numbers are asked for."""
    names = [*HOSTILE, "damaged_Erika", "alone_Erika", "Doe", "1970", "script_alert"]
    texts = {
        path: Page(path.read_text(encoding="utf-8")).said + path.read_text(encoding="utf-8")
        if path.suffix == ".html"
        else words_of_pdf(path)
        if path.suffix == ".pdf"
        else path.read_text(encoding="utf-8")
        for path in written.rglob("*")
        if path.is_file()
    }
    assert len(texts) > 40
    assert "report of a cohort" in texts[written / "numbers.pdf"]  # what is looked for can be found there
    assert "case 1" in texts[written / "numbers.pdf"]
    for path, text in texts.items():
        for word in (HEADER, FOLDER, FOLDER.split()[0], str(done.parent), str(done)):
            assert word not in text, (path, word)
        if path.name.startswith("numbers") or path.parent.name == "numbers":
            for name in names:
                assert name not in text, (path, name)
                assert escaped(name) not in text, (path, name)
    key = list(csv.DictReader((written / "key.csv").open(encoding="utf-8", newline="")))
    assert {row["case"] for row in key} == {*HOSTILE, "damaged_Erika"}
    assert {row["number"] for row in key} == {f"case {k}" for k in range(1, 7)}
    raw = (written / "numbers.pdf").read_bytes()
    assert HEADER.encode() not in raw
    assert FOLDER.encode() not in raw


def test_numbers_are_those_of_the_names(done):
    held = sx.read_cohort(done)
    shown = Names(held, anonymous=True).cleaned(held)
    times = [row.get("seconds") for row in held.maps]
    assert [row.get("seconds") for row in shown.maps] == times
    case = shown.objects[0]["case"]
    opened = shown.explanation(case, "object", "vanilla-gradient")
    ids = {number: name for name, number in Names(held, anonymous=True).shown.items()}
    np.testing.assert_array_equal(opened.map, held.explanation(ids[case], "object", "vanilla-gradient").map)


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("/data/Jane Doe/scan7.nii.gz: cannot be read", "scan7: cannot be read"),
        ("/data/Jane Doe/other.nii is missing", "other.nii is missing"),
        ("see /home/jane/x.nii.gz: no", "see a file: no"),
        (r"C:\Users\jane\x.nii: no", "a file: no"),
        ("activation × gradient/pixel, 1/2 of 3 / 4", "activation × gradient/pixel, 1/2 of 3 / 4"),
    ],
)
def test_no_path_is_in_a_sentence(said, wanted):
    case = {"id": "scan7", "folder": "scan7", "images": ["/data/Jane Doe/scan7.nii.gz"], "truth": None}
    record = {"cases": [case], "source": "/data/Jane Doe", "jobs": [], "left_out": []}
    cohort = sx.Cohort(Path("/results/x"), record, [], [], 0)
    assert Names(cohort, anonymous=False).text(said) == wanted
    assert "scan7" not in Names(cohort, anonymous=True).text(said)


def test_short_names_are_names_but_not_parts_of_numbers():
    cases = [
        {"id": name, "folder": name, "images": [f"/d/{name}.png"], "truth": None}
        for name in ("AB", "123", "7")
    ]
    record = {"cases": cases, "source": "/d", "jobs": [], "left_out": []}
    names = Names(sx.Cohort(Path("/results/x"), record, [], [], 0), anonymous=True)
    said = "AB is 2D, 123 is 2D; 7 labels, 0.123 of 123,5 and 123.7; /d/7.png, 7.png, ABC"
    assert (
        names.text(said)
        == "case 1 is 2D, case 2 is 2D; 7 labels, 0.123 of 123,5 and 123.7; case 3, case 3, ABC"
    )
    assert names.own("AB of /d/7.png") == "AB of case 3"


def test_cases_that_are_called_by_numbers_leave_the_numbers_of_sentences_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "DRAWS", 20)
    model = sx.load_model(planted_model().module, card=card(intensity=[{"divide": 255}]))
    (tmp_path / "data").mkdir()
    for number in range(5):
        values = (planted_image().array * 255).astype(np.uint8)
        Picture.fromarray(np.roll(values, number, 1)).save(tmp_path / "data" / f"{number}.png")
    (tmp_path / "data" / "1203.png").write_bytes(b"")
    asked = {
        "flow": {"causal": True},
        "channels": {"how": ["relevance"], "layer": "mix"},
        "out": tmp_path / "out",
    }
    found = sx.run_cohort(model, tmp_path / "data", ["object"], ["rise:masks=4"], **asked)
    said = repr(content.content_of(found, anonymous=True))
    assert "4 objects of 4 subjects" in said
    assert "rise:masks=4 " in said
    assert "--causal" in said  # and does it again as it was done
    assert "--importance relevance:layer=mix" in said
    assert "causal: yes; layers: mix, head" in said
    assert "'case 6: " in said
    assert not re.search(r"\b1203\b", said)
    told = {**found.record, "find": {"channels": ["T1w", "FLAIR"], "truth": str(tmp_path / "data")}}
    again = content.content_of(replace(found, record=told)).sections[3].code
    assert "cohort run IMAGES --model MODEL --channels T1w,FLAIR --truth 'the folder' --label object" in again
    assert (
        "'MODEL', sx.find_cases('IMAGES', channels=['T1w', 'FLAIR'], truth='the folder'), ['object']" in again
    )


def test_what_is_asked_wrongly(done, tmp_path, monkeypatch):
    with pytest.raises(sx.UserError, match=r"a report ends in \.html or \.pdf"):
        sx.write_report(done, tmp_path / "a.docx")
    with pytest.raises(sx.UserError, match="it needs anonymous"):
        sx.write_report(done, tmp_path / "a.html", key=tmp_path / "key.csv")
    (tmp_path / "file").touch()
    with pytest.raises(sx.UserError, match="file, not a folder"):
        sx.write_report(done, tmp_path / "a.html", tables=tmp_path / "file")
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    with pytest.raises(
        sx.UserError, match=r"the report as HTML needs the package jinja2.*napari-segxai\[cohort\]"
    ):
        sx.write_report(done, tmp_path / "a.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_every_method_metric_and_study_names_papers():
    studies = [(one["name"], one["cites"]) for one in sx.list_studies()]
    own = [(one.name, one.cites) for one in (*all_methods(), *all_metrics())]
    used = set()
    for name, cites in (*own, *studies):
        assert cites, name
        assert set(cites) <= set(WORKS), name
        used |= set(cites)
    for key in WORKS:
        assert entry(key).count("{") == entry(key).count("}")
    assert set(WORKS) == used
    assert "note = {Doe and   Roe 2020}" in bibtex({"own": "Doe and % Roe 2020"})


def test_columns_of_one_title_are_told_apart():
    found = table_of(
        "maps", "", [{"dice_explained": 0.5, "dice-explained": 0.25, "size_px": 3}], numbers=True
    )
    assert len(set(found.heads)) == 3
    assert found.rows == ((0.5, 0.25, 3),)
