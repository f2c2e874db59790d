"""CONTRIBUTING.md is followed to the letter in a scratch copy: files are saved, commands run, tests pass, pages are made."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers.forks import Fork, be_new

import napari_segxai

ROOT = Path(napari_segxai.__file__).parents[1]
BLOCK = re.compile(r"```(\w+)\n(.*?)```\n", re.S)


class Newcomer:
    """Does what the page says, in a copy of the repository.

    Parameters
    ----------
    folder
        Empty; becomes the copy.
    """

    def __init__(self, folder: Path):
        self.checkout, self.site = folder / "checkout", folder / "site-packages"
        self.site.mkdir(parents=True)
        left_out = shutil.ignore_patterns("__pycache__", "images", "*.pyc")
        for name in ("napari_segxai", "scripts", "docs", "tests"):
            shutil.copytree(ROOT / name, self.checkout / name, ignore=left_out)
        for name in ("pyproject.toml", "napari.yaml", "Makefile", "CONTRIBUTING.md"):
            shutil.copy(ROOT / name, self.checkout / name)
        (self.checkout / "sample_data").symlink_to(ROOT / "sample_data")
        (self.site / "napari_segxai_resources").symlink_to(self.checkout)  # as installed in place
        self.said: list[str] = []

    def save(self, path: str, text: str) -> None:
        """Save a file, and make its folder a package where it is one of this package's."""
        file = self.checkout / path
        if not file.parent.exists():
            file.parent.mkdir()
            if "napari_segxai" in file.parts:
                (file.parent / "__init__.py").touch()
        file.write_text(text)

    def insert(self, key: str, text: str) -> None:
        """Add items to a list in the manifest."""
        manifest = self.checkout / "napari.yaml"
        assert manifest.read_text().count(f"  {key}\n") == 1
        manifest.write_text(manifest.read_text().replace(f"  {key}\n", f"  {key}\n{text}"))

    def run(self, line: str) -> None:
        """Run a command as a shell would; what pip and make do is done without a network and without a set-up."""
        words = shlex.split(line)
        if words[:2] == ["pip", "install"]:
            self._install(self.checkout / words[2])
        elif words[:2] == ["pip", "uninstall"]:
            shutil.rmtree(self.site / f"{words[-1]}-0.1.0.dist-info")
            (self.site / "gradient_energy.py").unlink()
        elif words == ["make", "pages"]:
            recipe = (self.checkout / "Makefile").read_text().partition("\npages: ")[2].partition("\n\n")[0]
            self._pages(re.findall(r"\$\(BIN\)/python (\S+)", recipe))
        elif words[0] == "mv":
            shutil.move(self.checkout / words[1], self.checkout / words[2])
        else:
            program = {"python": [sys.executable], "napari-segxai": [sys.executable, "-m", "napari_segxai"]}
            self._call(*program[words[0]], *words[1:])

    def _main(self, *arguments: str, more: Sequence[str] = ()) -> None:
        os.chdir(self.checkout)
        be_new(*arguments, paths=[self.site, self.checkout])
        for script in more:
            runpy.run_path(script, run_name="__main__")

    def _pages(self, scripts: Sequence[str]) -> None:
        """Run scripts one after the other; where there are forks in one, which imports the package once."""
        if hasattr(os, "fork"):
            self._call(sys.executable, scripts[0], more=scripts[1:])
            return
        for script in scripts:
            self._call(sys.executable, script)

    def _install(self, folder: Path) -> None:
        """Lay down what pip does: the modules, and metadata with the entry points."""
        project = tomllib.loads((folder / "pyproject.toml").read_text())
        own, modules = project["project"], project["tool"]["setuptools"]["py-modules"]
        for module in modules:
            shutil.copy(folder / f"{module}.py", self.site)
        about = self.site / f"{own['name']}-{own['version']}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {own['name']}\nVersion: {own['version']}\n"
        )
        lines = []
        for group, entries in own["entry-points"].items():
            lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
        (about / "entry_points.txt").write_text("\n".join(lines))

    def _call(self, program: str, *arguments: str, more: Sequence[str] = ()) -> None:
        """Run a script or a module with this interpreter; all but pytest in forks, which have torch and numpy already."""
        if hasattr(os, "fork") and arguments[:2] != ("-m", "pytest"):
            file = self.checkout.parent / f"said-{len(self.said)}"
            status = (run := Fork(lambda: self._main(*arguments, more=more), file)).wait()
            assert status == 0, f"{arguments}\n{run.said}"
            self.said.append(run.said)
            return
        command = (program, *arguments)
        path = os.pathsep.join([str(self.site), str(self.checkout)])
        done = subprocess.run(
            command,
            cwd=self.checkout,
            env={
                **os.environ,
                "PYTHONPATH": path,
                "PYTHONWARNINGS": "ignore::DeprecationWarning",
                "PYTEST_ADDOPTS": "--no-xvfb -p no:hypothesispytest",  # the display of these tests is there
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        self.said.append(done.stdout)


def follow(page: str, newcomer: Newcomer) -> None:
    """Save, insert and run every block in the order of the page; the sentence before a block says where it goes."""
    for block in BLOCK.finditer(page):
        kind, text = block.groups()
        before = page[: block.start()].rstrip().rpartition("\n\n")[2]
        if kind == "sh":
            for line in text.splitlines():
                newcomer.run(line)
        elif kind == "yaml":
            newcomer.insert(re.findall(r"under `(\w+:)`", before)[-1], text)
        else:
            places = re.findall(r"[Ss]ave\s+this\s+as\s+`([^`]+)`", before)
            assert len(places) == 1, f"where does this go?\n{text}"
            newcomer.save(places[0], text)


@pytest.fixture(scope="module")
def followed(tmp_path_factory) -> Newcomer:
    newcomer = Newcomer(tmp_path_factory.mktemp("newcomer"))
    follow((ROOT / "CONTRIBUTING.md").read_text(), newcomer)
    return newcomer


def test_the_method_explains_from_a_script_then_from_a_package_then_from_here(followed):
    script, package, here = followed.said[:3]
    assert script.startswith("gradient-energy (")
    assert "'largest': " in script
    assert re.search(
        r"^gradient-energy +\(gradient_energy\)$", package, re.M
    )  # the family is where it comes from
    assert re.search(r"^gradient-energy +\(input space\)$", here, re.M)


def test_what_was_added_passes_its_tests(followed):
    assert "6 passed" in followed.said[3]


def test_the_pages_have_a_section_of_each(followed):
    docs = followed.checkout / "docs"
    assert "## Gradient energy (`gradient-energy`)" in (docs / "methods.md").read_text()
    assert "| `power` | `2.0` |" in (docs / "methods.md").read_text()
    assert "Distance of the centroids `centroid-distance`" in (docs / "metrics.md").read_text()
    assert "Where the map lies as a whole" in (docs / "metrics.md").read_text()
    assert "## The edge of the image (`image-edge`)" in (docs / "trust.md").read_text()


def test_the_examples_are_in_the_style_of_the_package(followed):
    added = [
        path
        for path in followed.checkout.rglob("*.py")
        if not (ROOT / path.relative_to(followed.checkout)).exists()
    ]
    assert len(added) == 9
    command = [sys.executable, "-m", "ruff", "check", "--ignore", "I001", *added]
    done = subprocess.run(command, cwd=followed.checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
