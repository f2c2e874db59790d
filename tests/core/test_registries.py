"""Methods, metrics, checks, studies and model formats: of this package, of other installed packages, of a user's script."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from helpers.forks import Fork, be_new
from helpers.networks import planted_image, planted_model
from typer.testing import CliRunner

import napari_segxai as sx
from napari_segxai.checks import registry as checks
from napari_segxai.cli.app import app
from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes
from napari_segxai.core.registry import PluginWarning, Registry
from napari_segxai.engine.finding import Finding
from napari_segxai.methods import registry as methods
from napari_segxai.metrics import registry as metrics

METHOD = '''
"""Brightness itself, as a control."""

from dataclasses import dataclass

from napari_segxai.core.progress import Passes
from napari_segxai.engine.finding import Finding
from napari_segxai.methods.registry import explainer


@dataclass(frozen=True)
class Options:
    """No parameters."""


@explainer(
    "{name}", title="Brightness", question="evidence", summary="how bright the image is", unit="brightness", source="nobody",
    options=Options, passes=lambda options, size: Passes(),
)
def run(question, options):
    yield question.step("looking")
    return Finding(question.input[0, 0])
'''

OTHERS = '''
from dataclasses import dataclass
from pathlib import Path

from napari_segxai.analyses.cohort.study import StudyResult, register_study
from napari_segxai.checks.registry import Verdict, check
from napari_segxai.core.progress import Passes
from napari_segxai.metrics.registry import metric
from napari_segxai.models.formats.registry import model_format
from napari_segxai.models.registry import load_model


@metric("largest", title="Largest value", family="faithfulness", better=None, source="nobody", summary="the largest value")
def largest(e):
    return float(e.map.max())


@dataclass(frozen=True)
class Options:
    """No parameters."""


@check(
    "never-mind", title="Never mind", question="Is it all right?", source="nobody", cost="nothing", options=Options,
    passes=lambda subject, options: Passes(),
)
def run(subject, options, tally):
    """A check that passes."""
    yield from ()
    return Verdict(True, None, 0.0, "it is.")


@register_study("count", title="Count", summary="how many", source="nobody")
def count(cohort, random):
    return StudyResult("count", [], f"{len(cohort.maps)} maps.", ())


def is_note(source):
    return isinstance(source, Path) and source.suffix == ".note" and source.is_file()


@model_format("note", handles=is_note)
def load(source, *, card, trust):
    return load_model(source.read_text().strip())
'''


def distribution(folder: Path, name: str, entries: dict[str, dict[str, str]], **files: str) -> None:
    """Install a package as pip would: its modules, and what its metadata says of them."""
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = []
    for group, own in entries.items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in own.items()), ""]
    (about / "entry_points.txt").write_text("\n".join(lines))
    for module, text in files.items():
        (folder / f"{module}.py").write_text(text)


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run Python with a folder of packages beside the others, as after pip install."""
    if hasattr(os, "fork"):
        with tempfile.TemporaryDirectory() as place:
            said, errors = Path(place) / "said", Path(place) / "errors"
            status = Fork(lambda: be_new(*arguments, paths=[folder]), said, errors).wait()
            return subprocess.CompletedProcess(arguments, status, said.read_text(), errors.read_text())
    command = [sys.executable, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture
def installed(tmp_path):
    distribution(
        tmp_path,
        "brightness",
        {
            "napari_segxai.methods": {"brightness": "brightness_method"},
            "napari_segxai.metrics": {"largest": "brightness_others"},
            "napari_segxai.checks": {"never-mind": "brightness_others:run"},
            "napari_segxai.studies": {"count": "brightness_others"},
            "napari_segxai.model_formats": {"note": "brightness_others"},
        },
        brightness_method=METHOD.format(name="brightness"),
        brightness_others=OTHERS,
    )
    distribution(
        tmp_path,
        "broken",
        {
            "napari_segxai.methods": {
                "gone": "no_such_module",
                "mine": "broken_method",
                "leaves": "broken_exit",
            }
        },
        broken_method=METHOD.format(name="rise"),
        broken_exit="raise SystemExit(3)",
    )
    return tmp_path


def test_other_packages_add_methods_metrics_checks_studies_and_formats(installed):
    (installed / "a.note").write_text("triangle")
    code = """
import sys, warnings
warnings.simplefilter("always")
import napari_segxai as sx
from napari_segxai.datasets.resources import resource
from napari_segxai.methods.registry import find_method
print("brightness_method" in sys.modules, end=" ")
found = sx.explain(sys.argv[1], sx.read_image(resource("sample_data/images/triangle_1.png")), "triangle", "brightness")
table = sx.evaluate(sys.argv[1], found, metrics=["largest"])
[verdict] = sx.check(found, sys.argv[1], checks="never-mind")
row = {"case": "a", "label": "organ", "map": "m", "subject": "a", "error": ""}
print(sx.study(sx.Cohort(None, {"cases": []}, [], [row], 0), "count").sentence, end=" ")
print(found.map.max() == table.value("brightness", "largest"), verdict.sentence, find_method("brightness").doc.strip())
"""
    out = python(installed, "-c", code, str(installed / "a.note"))
    assert out.stdout.strip() == "False 1 maps. True it is. Brightness itself, as a control.", out.stderr
    said = [line for line in out.stderr.splitlines() if "PluginWarning" in line]
    assert len(said) == 3  # each once, and none ends what was asked
    for text in (
        "the method 'gone' of the package broken cannot be loaded (No module named 'no_such_module') and is left out",
        "'mine' of the package broken cannot be loaded (the name 'rise' is taken by the method napari_segxai.methods.perturbation.rise.rise; choose another for broken_method.run)",
        "'leaves' of the package broken cannot be loaded (SystemExit: 3)",
    ):
        assert text in out.stderr


def test_the_command_line_lists_them_and_says_what_is_left_out_in_one_line(installed):
    out = python(installed, "-m", "napari_segxai", "methods", "--json")
    names = [method["name"] for method in json.loads(out.stdout)]
    assert "brightness" in names
    assert "rise" in names
    assert out.returncode == 0
    said = out.stderr.strip().splitlines()
    assert len(said) == 3
    assert all(line.startswith("note: the method '") for line in said)


def test_importing_the_registry_looks_for_nothing(installed):
    code = """
import sys
from napari_segxai.methods import registry
print(any(name in sys.modules for name in ("napari_segxai.methods.perturbation.rise", "brightness_method")))
"""
    assert python(installed, "-c", code).stdout.strip() == "False"


# -- a user's own script -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Nothing:
    """No parameters."""


def of_a_script(name: str, value: float = 1.0):
    """Define a method as a script does."""

    @methods.explainer(
        name, title="Mine", question="evidence", summary="what I see", unit="1", source="",
        options=Nothing, passes=lambda options, size: Passes(),
    )  # fmt: skip
    def run(question, options):
        """Mine is the image."""
        yield question.step("looking")
        return Finding(question.input[0, 0] * value)


@pytest.fixture
def own_method():
    of_a_script("of-a-script")
    yield "of-a-script"
    methods._known._things.pop("of-a-script")


def test_a_method_of_a_script_explains_and_is_listed(own_method):
    found = sx.explain(planted_model(), planted_image(), "object", own_method)
    np.testing.assert_allclose(found.map, planted_image().array)
    assert own_method in [method["name"] for method in sx.list_methods()]
    listed = CliRunner().invoke(app, ["methods", "--json"])
    assert own_method in [method["name"] for method in json.loads(listed.output)]
    assert own_method in CliRunner().invoke(app, ["methods"]).output


def test_a_method_of_a_script_runs_in_the_dock(own_method, viewer, open_panel, run_panel, wait):
    viewer.add_image(planted_image().array, name="planted")
    panel = open_panel()
    model = sx.register_model(planted_model())
    panel.model_box.refresh_registered()
    entries = panel.model_box.entries
    panel.model_box.combo.setCurrentIndex([entry.model is model for entry in entries].index(True))
    run_panel(panel, own_method)
    [layer] = [layer for layer in viewer.layers if own_method in layer.name]
    assert layer.data.max() > 0


def test_defining_it_again_takes_its_place(own_method):
    of_a_script(own_method, 2.0)  # as in a notebook, where a cell is run twice
    found = sx.explain(planted_model(), planted_image(), "object", own_method)
    np.testing.assert_allclose(found.map, 2 * planted_image().array)


@pytest.mark.parametrize(
    ("kind", "take"),
    [
        ("method", lambda: of_a_script("occlusion")),
        (
            "metric",
            lambda: metrics.metric("pps", title="", family="", better=None, source="", summary="")(len),
        ),
        (
            "check",
            lambda: checks.check(
                "other-seed", title="", question="", source="", cost="", options=Nothing, passes=len
            )(len),
        ),
    ],
)
def test_a_name_that_is_taken_is_refused(kind, take):
    with pytest.raises(sx.UserError, match=f"is taken by the {kind} napari_segxai"):
        take()
    assert "misure" in [method["name"] for method in sx.list_methods()]


@dataclass(frozen=True)
class Misspelt:
    """A parameter of a type that is not imported."""

    width: NoSuchType = option(1, help="how wide")  # noqa: F821


def test_what_has_parameters_that_cannot_be_described_is_not_taken_in():
    with pytest.raises(NameError, match="NoSuchType"):
        checks.check("odd", title="", question="", source="", cost="", options=Misspelt, passes=len)(len)
    assert "odd" not in [check["name"] for check in sx.list_checks()]


def test_a_name_is_taken_before_anybody_has_asked_for_it():
    code = """
from napari_segxai.methods.registry import explainer
try:
    explainer("rise", title="", question="need", summary="", unit="", source="", options=int, passes=len)(len)
except ValueError as error:
    print(type(error).__name__, error)
"""
    assert python(Path(), "-c", code).stdout.startswith(
        "UserError the name 'rise' is taken by the method napari_segxai."
    )


# -- the registry itself -------------------------------------------------------------------------------


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A registry of a package of its own."""
    folder = tmp_path / "some_words" / "deep"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("")
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield Registry("word", "some_words", "some.words"), folder
    for name in [name for name in sys.modules if name.startswith(("some_words", "late_words"))]:
        del sys.modules[name]


def test_what_others_add_comes_after_what_is_there(empty):
    words, _ = empty
    one, other = (lambda: None), (lambda: None)
    one.__module__, one.__qualname__ = "some_words.deep.zeta", "zeta"
    other.__module__, other.__qualname__ = "elsewhere", "alpha"
    words.add("alpha", 1, other)
    words.add("zeta", 2, one)
    assert words.all() == (2, 1)
    assert words.find("alpha") == 1
    with pytest.raises(sx.UserError, match=r"there is no word 'zetta'; did you mean 'zeta'\?"):
        words.find("zetta")


def test_an_own_file_that_is_broken_is_an_error_each_time(empty):
    words, folder = empty
    (folder / "bad.py").write_text("import no_such_module")
    for _ in range(2):  # not a list without it
        with pytest.raises(ImportError):
            words.all()


def test_a_plugin_may_ask_for_the_others_while_it_is_loaded(empty, tmp_path):
    words, _ = empty
    distribution(
        tmp_path,
        "late",
        {"some.words": {"late": "late_words"}},
        late_words="import builtins; builtins.asked()",
    )
    seen = []
    import builtins

    builtins.asked = lambda: seen.append(words.all())
    try:
        assert words.all() == ()
    finally:
        del builtins.asked
    assert seen == [()]


def test_threads_that_ask_at_once_see_the_same(empty, tmp_path):
    words, folder = empty
    (folder / "slow.py").write_text("import time; time.sleep(0.2)")
    distribution(tmp_path, "late", {"some.words": {"late": "late_words"}}, late_words="import no_such_module")
    seen: list[int] = []

    def ask():
        threads = [threading.Thread(target=lambda: seen.append(len(words.all()))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    with pytest.warns(PluginWarning) as said:
        ask()
    assert len(seen) == 3
    assert len(said) == 1


def test_a_need_that_nobody_knows_is_refused():
    from napari_segxai.methods.registry import explainer

    with pytest.raises(
        ValueError,
        match="typo needs 'gradient', which is none of network layers, gradients, one pass, second derivatives, training",
    ):
        explainer(
            "typo", title="Typo", question="evidence", needs=("gradient",), summary="nothing", unit="nothing at all",
            source="a test", options=object, passes=lambda options, size: Passes(1),
        )  # fmt: skip


def test_no_parameter_is_called_as_an_argument_that_would_take_its_value():
    arguments = {*inspect.signature(sx.explain).parameters, *inspect.signature(sx.survey).parameters}
    assert arguments - {"params"} | {"preset"} == methods.TAKEN

    @dataclass(frozen=True)
    class Options:
        concepts: int = option(6, ge=2, help="how many")

    asked = {"title": "", "question": "learnt", "summary": "", "unit": "", "source": "", "options": Options}
    with pytest.raises(
        ValueError, match="x has a parameter 'concepts', which is an argument of explain or survey"
    ):
        methods.surveyor("x", passes=lambda options, extent: Passes(), **asked)
    with pytest.raises(ValueError, match="x has a parameter 'concepts'"):
        methods.explainer("x", passes=lambda options, size: Passes(), **asked)
