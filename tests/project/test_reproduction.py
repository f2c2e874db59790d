"""The papers' experiments, in a size that means nothing: every section is written, and verdicts follow the numbers."""

import importlib
import json
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.figures import digest
from matplotlib.figure import Figure

from napari_segxai.analyses.cohort import study

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "reproduction"


@pytest.fixture(scope="module")
def scripts():
    """Import the scripts as they import each other, and forget them afterwards."""
    sys.path.insert(0, str(SCRIPTS))
    files = [path.relative_to(SCRIPTS) for path in SCRIPTS.rglob("*.py") if path.stem != "__init__"]
    names = [".".join(file.with_suffix("").parts) for file in files]
    yield {name: importlib.import_module(name) for name in names}
    sys.path.remove(str(SCRIPTS))
    for name in [*names, *{file.parts[0] for file in files}]:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def written(scripts, tmp_path_factory):
    """The folder of a quick run; the page in docs stays as it is. Of the figures, one of each kind is drawn."""
    page = ROOT / "docs" / "reproduction.md"
    before = page.read_bytes() if page.exists() else None
    folder = tmp_path_factory.mktemp("reproduction")
    threads = torch.get_num_threads()
    draw = Figure.savefig
    kinds = ("2026_maps", "layers")

    def savefig(figure: Figure, path: Path) -> None:
        draw(figure, path) if path.stem.endswith(kinds) else path.write_text(digest(figure))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", savefig)
        patch.setattr(scripts["kept"], "watched", lambda files: nullcontext())  # takes half of the time
        patch.setattr(study, "DRAWS", 40)
        scripts["run"].main(
            ["--quick", "--out", str(folder), "--processes", "1"]
        )  # small networks: faster with one
    torch.set_num_threads(threads)
    assert (page.read_bytes() if page.exists() else None) == before
    return folder


@pytest.fixture
def kept(written):
    """Rows of an experiment as they are kept."""

    def read(name):
        found = json.loads((written / "results" / f"{name}.json").read_text())
        return [row for case in found["cases"].values() for row in case["found"]]

    return read


def test_every_section_has_the_papers_numbers_and_ours(written):
    text = (written / "reproduction.md").read_text()
    titles = ["MiSuRe, table 1", "MiSuRe, tables 2 to 6", "A guided tour, table 1", "Seg-HiRes-Grad CAM",
              "Foreground metrics, table 1"]  # fmt: skip
    sections = {part.splitlines()[0]: part for part in text.split("\n## ")[1:]}
    for title in titles:
        [section] = [body for head, body in sections.items() if head.startswith(title)]
        assert "**Paper**" in section
        assert "**Ours" in section
        assert "### Trends" in section
    assert {"Data and settings", "In short", "What is not reproduced"} <= set(sections)
    assert "What of each paper holds, and on what it depends" in sections
    assert any(head.startswith("Several networks") for head in sections)
    [many] = [body for head, body in sections.items() if head.startswith("MiSuRe over many objects")]
    assert "Reliability (table 7)" in many
    assert "### Trends" in many
    assert "**does not hold**" not in text.partition("## MiSuRe over")[0]  # two images tell nothing of others
    assert "2 cases" in text
    for path in written.glob("images/*.png"):
        assert f"](images/{path.name})" in text
    charts = {path.read_bytes() for path in written.glob("images/reproduction_size_*.png")}
    assert len(charts) == 4  # dilations and ratio, of two data sets
    files = [path.read_bytes() for path in written.glob("images/reproduction_[hr]*.png")]
    assert len({*files}) == 5  # each shows something else
    assert sum(data.startswith(b"\x89PNG") for data in files) == 2


def test_a_second_run_uses_what_is_kept_and_another_setting_does_not(scripts, written, tmp_path):
    said = []
    Store = scripts["kept"].Store
    settings = replace(scripts["settings"].Settings().quick(), datasets=("triangle",))
    table = scripts["aabid_sicre_table1"]
    table.run(settings, Store(written / "results", fresh=True, say=said.append))
    assert len(said) == settings.images
    said.clear()
    file = json.loads((written / "results" / "aabid_sicre_table1.json").read_text())
    ran = file["code"][file["cases"]["triangle 0"]["code"]]
    assert {"napari_segxai/metrics/measures/localization.py", "reproduction/aabid_sicre_table1.py"} <= {*ran}
    table.run(settings, Store(written / "results", say=said.append))
    assert not said
    scripts["hasany_2026_table1"].run(
        replace(settings, iterations=5, images=1), Store(written / "results", say=said.append)
    )
    assert [line.split(" ", 1)[1] for line in said] == ["hasany_2026_table1: triangle 0"]


def test_ratios_are_those_of_the_masks(kept):
    rows = [row for row in kept("hasany_2025_table1") if row["dataset"] == "triangle"]
    for row in rows:
        assert 0 <= row["image"] <= row["mask"] + 1e-6 <= 112 * 112 + 1
        assert row["dice"] is None or 0 <= row["dice"] <= 1
    low, high = ([row["mask"] for row in rows if row["threshold"] == t] for t in (0.05, 0.1))
    assert all(a >= b for a, b in zip(low, high, strict=True))


def test_what_random_maps_reach_stands_beside_every_number(written, kept):
    table = kept("hasany_2025_table1") + kept("hasany_2026_table1") + kept("hasany_2026_sweeps")
    for row in table:
        assert (row["chance"] is None) == (row["dice"] is None)
        assert row["chance"] is None or 0 <= row["chance"] <= row["chance_high"] <= 1
    for row in kept("rheude_2024_figures"):
        if row.get("inside") is not None:
            assert 0 <= row["chance"] <= row["chance_high"] <= 1
    for row in kept("aabid_sicre_table1"):
        for name in ("EPG", "MEPG"):
            assert row[name] is None or 0 <= row[f"{name} chance"] <= row[f"{name} chance_high"] <= 1
    areas = kept("hasany_2026_table1_areas")
    assert {row["threshold"] for row in areas} == {0.05, 0.1, 0.2, 0.4, None}
    assert all(row["chance"] <= row["chance_high"] for row in areas)
    text = (written / "reproduction.md").read_text()
    assert (
        text.count("| random maps: mean | 95 % |") == 8
    )  # three tables of two data sets, the paper's areas, and the networks
    assert "Against random maps of the same area" in text
    assert "no reason was found yet" not in "".join(
        line for line in text.splitlines() if "comes of where its" in line
    )


def test_verdicts_against_chance_follow_the_numbers(scripts, kept):
    trends, methods = scripts["trends.hasany_2026"], ("Seg-Grad-CAM", "RISE 110")
    rows = [row for row in kept("hasany_2025_table1") if row["method"] in methods] + kept(
        "hasany_2026_table1"
    )
    MSR = scripts["hasany_2026_table1"].MSR
    for dice, high, wanted in (
        (0.9, 0.5, True),
        (0.5, 0.9, False),
        (0.5, 0.5 - 1e-6, False),
        (0.9, None, None),
    ):
        found = trends.table(changed(rows, MSR, dice=dice, chance=high, chance_high=high), "triangle")
        [verdict] = [v for v in found if v.key == "hasany-2026-chance-msr"]
        assert verdict.holds is wanted
    line = scripts["summary"].line
    one = line([{"size": 1, "mask": 1, "image": 1, "dice": d, "chance": c, "chance_high": c} for d, c in
                ((0.5, 0.4), (0.3, 0.4), (None, None))])  # fmt: skip
    assert (one.above, one.empty, one.chance) == (1, 1, pytest.approx(0.8 / 3))
    assert one.is_chance  # no more than random maps on average
    ordered = scripts["summary"].ordered
    assert ordered([0.5, 0.4, 0.3], falling=True)
    assert not ordered([0.5, 0.4, 0.4 - 1e-6], falling=True)  # a tie is not a fall


def test_a_low_learning_rate_prunes_nothing(scripts, kept):
    found = scripts["trends.hasany_2026"].sweeps(kept("hasany_2026_sweeps"), "triangle")
    [verdict] = [v for v in found if v.key == "hasany-2026-lr-identical"]
    assert verdict.holds


def changed(rows, method, **values):
    return [{**row, **values} if row["method"] == method else row for row in rows]


def test_verdicts_of_table_one_follow_the_numbers(scripts, kept):
    rows = [
        row for row in kept("hasany_2025_table1") if row["method"] in ("Seg-Grad-CAM", "RISE 110")
    ] + kept("hasany_2026_table1")  # fmt: skip
    table, MSR = scripts["trends.hasany_2026"].table, scripts["hasany_2026_table1"].MSR

    def holds(rows, key):
        [verdict] = [v for v in table(rows, "triangle") if v.key == f"hasany-2026-{key}"]
        return verdict.holds

    for dice, wanted in ((1.1, True), (-0.1, False)):
        assert holds(changed(rows, MSR, dice=dice), "sgc-worst") is wanted
        assert holds(changed(rows, MSR, dice=dice), "msr-dice") is wanted
        assert holds(changed(rows, "RISE 110", dice=dice), "rise-best") is False
    for image, wanted in ((1e-3, True), (1e6, False)):
        assert holds(changed(rows, MSR, image=image), "msr-ratio") is wanted
        assert holds(changed(rows, MSR, image=image), "msr-ratio-fair") is wanted
        assert holds(changed(rows, MSR, image=image), "msr-below-one") is wanted
    for seconds, wanted in ((1e6, True), (0.0, False)):
        slow = changed(changed(rows, "Seg-Grad-CAM", seconds=0.01), MSR, seconds=0.1)
        assert holds(changed(slow, "RISE 110", seconds=seconds), "time") is wanted


def test_verdicts_of_the_other_tables_follow_the_numbers(scripts, kept):
    for method, dice, key, wanted in (
        ("Seg-Eigen-CAM", -1.0, "hasany-2025-eigen-worst", True),
        ("Seg-Eigen-CAM", 2.0, "hasany-2025-eigen-worst", False),
        ("Seg-Ablation-CAM", 2.0, "hasany-2025-ablation-best", True),
        ("Seg-Ablation-CAM", -1.0, "hasany-2025-ablation-best", False),
        ("Seg-XRes-CAM", 2.0, "hasany-2025-xres-dice", True),
        ("Seg-XRes-CAM", -1.0, "hasany-2025-xres-dice", False),
    ):
        found = scripts["trends.hasany_2025"].table(
            changed(kept("hasany_2025_table1"), method, dice=dice), "triangle"
        )
        assert [v.holds for v in found if v.key == key] == [wanted]
    for inside, wanted in ((2.0, True), (-1.0, False)):
        rows = kept("rheude_2024_figures")
        rows = [{**r, "inside": inside} if r.get("method") == "Seg-HiRes-Grad-CAM" else r for r in rows]
        found = scripts["trends.rheude_2024"].pictures(rows, "triangle")
        assert [v.holds for v in found if v.key == "rheude-2024-inside"] == [wanted]
    for error, wanted in ((-1.0, True), (2.0, False)):
        rows = [{**row, "MLE": error} for row in kept("aabid_sicre_table1")]
        found = scripts["trends.aabid_sicre"].table(rows, "triangle")
        assert [v.holds for v in found if v.key == "aabid-sicre-le"] == [wanted]


def test_numbers_are_summarised_in_three_ways(scripts):
    rows = [
        {"case": str(k), "size": size, "mask": mask, "image": mask / 2, "dice": 0.5, "seconds": 1.0}
        for k, (size, mask) in enumerate([(1, 10), (10, 10), (10, 20), (0, 5)])
    ]
    found = scripts["summary"].line(rows)
    assert (found.cases, found.ratio, found.median) == (3, pytest.approx(13 / 3), 2.0)
    assert found.of_sums == pytest.approx(40 / 21)
    assert found.image == pytest.approx(13 / 6)


def test_what_does_not_hold_is_told_with_its_reason_or_that_there_is_none(scripts, monkeypatch):
    page, summary = scripts["page"], scripts["summary"]
    monkeypatch.setitem(page.REASONS, ("known", "triangle"), "because of {object}.")
    verdicts = [
        summary.Verdict(key, f"claim {key}", "rule", "triangle", holds, "1")
        for key, holds in (("known", False), ("unknown", False), ("fine", True), ("open", None))
    ]
    text = page._section(["## Title"], verdicts, [{"dataset": "triangle", "case": "1", "object": 0.25}])
    assert text.count("**does not hold**") == 2
    assert "*claim known*: because of 0.250." in text
    assert "*claim unknown*: no reason was found yet." in text
    assert "*claim fine*" not in text
