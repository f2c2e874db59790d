"""Verdicts of the reproduction: what the images do not tell is not told."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def scripts():
    path, known = list(sys.path), set(sys.modules)
    sys.path.insert(0, str(ROOT / "reproduction"))
    yield {
        name: importlib.import_module(name)
        for name in (
            "intervals",
            "summary",
            "trends.cohorts",
            "trends.networks",
            "sections.networks",
            "common",
            "kept",
        )
    }
    sys.path[:] = path
    for name in set(sys.modules) - known:
        if str(ROOT / "reproduction") in str(getattr(sys.modules[name], "__file__", "")):
            sys.modules.pop(name, None)


def rows(*values, dataset="triangle"):
    return [{"dataset": dataset, "case": f"{dataset} {k}", "value": value} for k, value in enumerate(values)]


@pytest.fixture
def settle(scripts):
    """Whether the mean of the values is above 0, as a verdict."""
    Verdict = scripts["summary"].Verdict

    def rules(some):
        mean = sum(row["value"] for row in some) / len(some)
        return [Verdict("key", "claim", "rule", "triangle", mean > 0, "numbers")]

    return lambda some: scripts["intervals"].settled(rules, some)[0]


def test_a_rule_is_told_where_drawn_samples_agree(settle):
    assert settle(rows(*[1.0, 1.1, 0.9, 1.2, 0.8, 1.0])).holds is True
    assert settle(rows(*[-1.0, -1.1, -0.9, -1.2, -0.8, -1.0])).holds is False
    torn = settle(rows(*[9.0, -1.0, -1.0, -1.0, -1.0, -1.0]))
    assert torn.holds is None
    assert "of samples" in torn.why


def test_one_image_tells_nothing_of_others(settle):
    one = settle(rows(5.0))
    assert (one.holds, one.why) == (None, "1 image")
    blocks = [
        {"dataset": "tissue", "case": f"block 0 {label}", "value": 1.0}
        for label in ("grey", "white", "csf", "other", "skull", "air")
    ]
    assert settle(blocks).holds is None  # six objects of one image
    assert settle(rows(*[1.0] * 6)).holds is True


def size_row(found, low, high, subjects=20, number="n_dilations"):
    return {
        "label": "triangle", "number": number, "rank_correlation": found, "low": low, "high": high,
        "n": subjects, "subjects": subjects,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("dataset", "found", "wanted"),
    [
        ("triangle", (0.0, -0.2, 0.2), True),  # constant
        ("triangle", (0.6, 0.4, 0.8), False),
        ("triangle", (0.2, -0.1, 0.5), None),
        ("triangle", (None, None, None), True),
        ("tissue", (-0.5, -0.8, -0.2), True),  # falling
        ("tissue", (0.5, 0.2, 0.8), False),
        ("tissue", (-0.1, -0.4, 0.2), None),
        ("tissue", (None, None, None), False),
    ],
)
def test_trends_with_size_are_decided_by_their_intervals(scripts, dataset, found, wanted):
    told = {dataset: {"studies": {"size": {"rows": [size_row(*found)]}, "reliability": {"rows": []}}}}
    [verdict] = scripts["trends.cohorts"].verdicts(told)
    assert verdict.holds is wanted
    few = {
        dataset: {"studies": {"size": {"rows": [size_row(*found, subjects=2)]}, "reliability": {"rows": []}}}
    }
    assert scripts["trends.cohorts"].verdicts(few)[0].holds is None


def test_a_kind_of_network_needs_three_trainings_that_agree(scripts):
    Verdict = scripts["summary"].Verdict

    def found(*holds):
        return {
            (f"vgg-{k}", "bottleneck"): [Verdict("key", "claim", "rule", "triangle", one, "")]
            for k, one in enumerate(holds)
        }

    def kind(*holds):
        return scripts["trends.networks"].of_kinds(found(*holds))["vgg", "bottleneck"]["key"]

    assert kind(True, True, True) == (True, 3)
    assert kind(True, True) == (None, 2)
    assert kind(True, False, True) == (None, 3)
    assert kind(True, None, True) == (None, 2)


def test_what_a_verdict_hangs_on_is_the_kind_the_layer_or_the_training(scripts):
    Verdict, depends = scripts["summary"].Verdict, scripts["sections.networks"].depends
    layers = ("bottleneck", "before pooling")

    def said(*told):
        """(kind, layer or None for both, what its trainings say)."""
        found = {}
        for kind, layer, holds in told:
            for k, one in enumerate(holds):
                for at in (layer,) if layer else layers:
                    found[f"{kind}-{k}", at] = [Verdict("key", "it is so", "rule", "triangle", one, "")]
        return depends(found).partition(". ")[2]

    yes, no = [True] * 3, [False] * 3
    assert said(("a", None, yes), ("b", None, [True, None])).startswith("Told alike by 3 trainings of a kind")
    assert "(yes: a)" in said(("a", None, yes), ("b", None, [None]))
    assert "(yes: a; but no: b-0)" in said(("a", None, yes), ("b", None, [False, None]))
    assert said(("a", None, yes), ("b", None, no)).startswith("It depends on the kind of network")
    both = said(("a", layers[0], yes), ("a", layers[1], no))
    assert "(yes: a at the bottleneck; no: a before pooling)" in both
    assert said(("a", None, [True]), ("b", None, [True])).startswith("Told of fewer trainings")
    assert "(yes: a-0; no: b-0)" in said(("a", None, [True]), ("b", None, [False]))
    assert said(("a", None, [True, False, True])) == (
        "It depends on the training: two of one kind are told otherwise: *it is so* (a)."
    )
    assert not said(("a", None, [None, None]))
    assert not depends({("a-0", layers[0]): [Verdict("key", "it is so", "rule", "triangle", True, "")]})


@pytest.fixture
def project(scripts, tmp_path, monkeypatch):
    """Write a small project whose code makes numbers; call to change its files and get what a store finds now."""
    kept = scripts["kept"]
    folder = tmp_path / "reproduction"
    folder.mkdir()
    monkeypatch.setattr(kept, "ROOT", tmp_path)
    monkeypatch.setattr(kept, "CODE", (f"{folder}/",))
    monkeypatch.syspath_prepend(str(folder))
    # Bytecode is told from its source by second and size alone, and the files below change within a second.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    case = scripts["common"].Case("triangle", "case", Named(), Named(), "label", None, 1, False)
    files = {
        "made_up_sizes": "SIZE = 1\n",
        "made_up_other": "def other():\n    return 5\n",
        "made_up_late": "class Late:\n    words = 1\n\ndef never():\n    return 1\n",
        "made_up_thread": "def inside(out):\n    out.append(2)\n",
        "made_up": "from threading import Thread\nfrom made_up_sizes import SIZE\nfrom made_up_other import other\n"
        "from made_up_thread import inside\ndef compute():\n    import made_up_late\n    out = []\n    one = Thread(target=inside, args=[out])\n"
        "    one.start()\n    one.join()\n    return [{'value': SIZE + out[0]}]\n",
    }

    def found(**changed):
        files.update(changed)
        for name, text in files.items():
            (folder / f"{name}.py").write_text(text)
        kept._read.cache_clear()
        for name in files:
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        compute = importlib.import_module("made_up").compute
        store = kept.Store(tmp_path / "results", say=str)
        value = store.rows("one", case, {}, compute)[0]["value"]
        return value, len(store.computed)

    found.files, found.folder, found.case = files, tmp_path / "results", case
    yield found
    kept._read.cache_clear()
    for name in files:
        sys.modules.pop(name, None)


class Named:
    sha256 = "a digest"


def test_a_result_is_kept_until_code_that_ran_for_it_changes(project):
    files = dict(project.files)
    assert project() == (3, 1)
    assert project() == (3, 0)
    assert project(made_up_other=files["made_up_other"].replace("5", "6")) == (
        3,
        0,
    )  # imported, and never called
    assert project(made_up_late="LATE = 2\n") == (3, 0)  # imported while it ran
    assert project(made_up='"""Words."""\n' + files["made_up"] + "# more words\n") == (3, 0)
    assert project(made_up_sizes="SIZE = 7\n") == (9, 1)  # a constant of a file in which nothing runs
    assert project(made_up_thread=files["made_up_thread"].replace("2", "3")) == (10, 1)
    assert project(made_up=files["made_up"].replace("SIZE +", "SIZE -")) == (4, 1)


def test_results_of_other_code_are_used_only_when_asked_for(scripts, project):
    Store = scripts["kept"].Store
    project()
    path = project.folder / "one.json"
    path.write_text(path.read_text().replace('"code": "', '"code": "earlier'))
    old = Store(project.folder, old=True, say=str)
    assert old.rows("one", project.case, {}, list, shown=True)[0]["value"] == 3
    assert (len(old.other_code), len(old.computed)) == (1, 0)
    new = Store(project.folder, say=str)
    assert new.rows("one", project.case, {}, lambda: [{"value": 8}])[0]["value"] == 8
    whole = Store(project.folder, say=str)
    whole.merge(old)
    whole.merge(new)
    assert (len(whole.used), len(whole.other_code), len(whole.computed)) == (1, 1, 1)
