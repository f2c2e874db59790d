"""The registry of methods: a method is added by adding one file to this folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from napari_segxai.core.capabilities import CAPABILITIES, ONE_PASS, SECOND
from napari_segxai.core.column import Column, described_by, titled
from napari_segxai.core.errors import UserError, nearest
from napari_segxai.core.options import FolderName, LayerName, Parameter, make_options, parameters
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.core.registry import Registry
from napari_segxai.engine.cases import CasesQuestion, SurveyFinding
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.question import Question
from napari_segxai.methods.size import NOMINAL, NOMINAL_EXTENT, Extent, Size

Run = Callable[[Question, Any], Steps[Finding]]
RunOnCases = Callable[[CasesQuestion, Any], Steps[SurveyFinding]]

Scope = Literal["image", "dataset"]
"""What a method is asked about: one image (`explain` and its kin), or a folder of cases (`survey`)."""

Reads = Literal["score", "pixel scores", ""]
"""What a method reads of the target: its score as one number, at every pixel by itself, or nothing."""

QUESTIONS = {
    "need": "What did it need to see?",
    "evidence": "Where is the evidence?",
    "layer": "Which network layer?",
    "what-if": "What if?",
    "trust": "Can I trust it?",
    "learnt": "What has it learnt?",
}
"""What a method answers, by the word that its registration says; methods are listed in this order."""

FAMILIES = {
    "activation": "intermediate features",
    "gradient": "input space",
    "perturbation": "perturbation",
    "counterfactual": "adversarial and counterfactual",
    "concept": "concepts and data sets",
}
"""What the methods of a folder work on."""

START_HERE = ("misure", "seg-hires-grad-cam", "occlusion")
"""Methods for a first look: one that says what was needed, one that takes a single pass, one that hides parts."""


@dataclass(frozen=True)
class OnCases:
    """What a method is on a folder of cases.

    Attributes
    ----------
    run
        The generator that answers.
    passes
        The passes that it is expected to need: (options, `Extent`) -> `Passes`.
    fewest
        Subjects that it needs at least.
    concepts
        Whether it is asked about concepts.
    label
        Whether it is asked about one label; else about all that are given.
    targets
        Whether it asks what concepts are for labels: then `label` says which of these, and every label can be a concept.
    packages
        Modules of the extra [concepts] that it needs.
    columns
        What the columns of its tables mean.
    """

    run: RunOnCases
    passes: Callable[[Any, Extent], Passes]
    fewest: int = 1
    concepts: bool = False
    label: bool = False
    targets: bool = False
    packages: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()

    def column(self, name: str) -> Column:
        """Describe a column of its tables; what it does not describe has a title alone."""
        return described_by(self.columns, name) or titled(name)


@dataclass(frozen=True)
class Method:
    """An explainer as the registry knows it.

    Attributes
    ----------
    name
        Lower-case with hyphens.
    title
        For people.
    family
        What the method works on, by its folder (`FAMILIES`); of a method from elsewhere, where it comes from.
    question
        What it answers, one of `QUESTIONS`.
    needs
        Of "network layers" and "gradients", which a network is capable of or not (`Network.capabilities`), "one pass", which one behind
        windows cannot give, and "training".
    summary
        What its map says, in one sentence.
    unit
        What a value of its map is, in a few words, or what says so of its options: {score} stands for the target's score,
        {sample_score} for what is read of masked copies.
    source
        The paper.
    cites
        Keys of its papers in `core.references`; of a method from elsewhere, empty.
    reads
        What it reads of the target, where its unit does not say so by naming the score; see `reads_of`.
    spatial_dims
        The dimensions in which it works.
    options
        Dataclass of its parameters.
    presets
        Named sets of parameter values.
    run
        The generator that answers a question about one image; None where it answers about folders alone.
    passes
        The passes it is expected to need for an image: (options, `Size`) -> `Passes`.
    on_cases
        What it is on a folder of cases; None where it is about single images.
    needs_drawn
        Whether it has an answer only where the label is drawn, or what says so of its options.
    doc
        Documentation of its module.
    """

    name: str
    title: str
    family: str
    question: str
    needs: tuple[str, ...]
    summary: str
    unit: str | Callable[[Any], str]
    source: str
    options: type
    run: Run | None
    passes: Callable[[Any, Size], Passes]
    presets: Mapping[str, Mapping[str, Any]]
    on_cases: OnCases | None = None
    spatial_dims: tuple[int, ...] = (2, 3)
    doc: str = ""
    needs_drawn: bool | Callable[[Any], bool] = False
    cites: tuple[str, ...] = ()
    reads: Reads | None = None

    @property
    def scope(self) -> tuple[Scope, ...]:
        """What it can be asked about."""
        image: tuple[Scope, ...] = () if self.run is None else ("image",)
        return image if self.on_cases is None else (*image, "dataset")

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Its parameters, described."""
        return parameters(self.options)

    @property
    def layer_parameters(self) -> tuple[str, ...]:
        """Names of the parameters that take a network layer."""
        return tuple(p.name for p in self.parameters if p.type is LayerName)

    @property
    def folder_parameters(self) -> tuple[str, ...]:
        """Names of the parameters that take a folder of images."""
        return tuple(p.name for p in self.parameters if p.type is FolderName)

    def folder_of(self, options: Any) -> str:
        """Return the folder of images that the options name; "" where they name none."""
        return next((path for name in self.folder_parameters if (path := getattr(options, name))), "")

    def layers_of(self, options: Any) -> dict[str, str]:
        """Return the network layers that the options name, by parameter; not those that the method chooses."""
        named = {name: getattr(options, name) for name in self.layer_parameters}
        return {name: layer for name, layer in named.items() if layer is not None}

    def listed_layers(self, options: Any) -> str:
        """Return the network layers that the option `layers` lists in one text; "" where it is a choice or there is none."""
        return (options.layers or "") if self.lists_layers else ""

    @property
    def lists_layers(self) -> bool:
        """Whether it has an option `layers` that names them with commas."""
        return any(p.name == "layers" and p.type is str and not p.choices for p in self.parameters)

    def unit_of(self, options: Any) -> str:
        """Return what a value of its map is, with {score} for the target's score."""
        unit = self.unit if isinstance(self.unit, str) else self.unit(options)
        kind = getattr(options, "score", "target")
        return unit.replace("{sample_score}", {"target": "{score}", "dice": "Dice"}.get(kind, kind))

    def reads_of(self, options: Any) -> Reads:
        """Return what it reads of the target with these options."""
        if self.reads is not None:
            return self.reads
        return "score" if "{score}" in self.unit_of(options) else ""

    def needs_of(self, options: Any) -> tuple[str, ...]:
        """Return what it needs with these options, which may name a further method."""
        return tuple(dict.fromkeys([*self.needs, *getattr(options, "needs", ())]))

    def answers_drawn_alone(self, options: Any) -> bool:
        """Tell whether it has an answer only where the label is drawn."""
        return self.needs_drawn if isinstance(self.needs_drawn, bool) else self.needs_drawn(options)

    def looks_inside(self, options: Any) -> bool:
        """Tell whether it looks at what single layers of the network return; its options may know better."""
        layers = "network layers" in self.needs or bool(self.layer_parameters)
        return getattr(options, "looks_inside", layers)

    def make_options(self, values: Mapping[str, Any]) -> Any:
        """Build its options; the value "preset" fills in a preset, which the other values override.

        Raises
        ------
        UserError
            For an unknown preset or parameter, or a value that does not fit.
        """
        given = dict(values)
        preset = given.pop("preset", None)
        if preset is not None:
            if preset not in self.presets:
                known = nearest(preset, self.presets) if self.presets else "it has none."
                raise UserError(f"{self.name} has no preset {preset!r}; {known}")
            given = {**self.presets[preset], **given}
        return make_options(self.options, given, self.name)

    def nominal(self, scope: Scope) -> Passes:
        """Return the passes that it needs by default of an image on a usual grid, or of a folder of some cases."""
        if scope == "dataset" and self.on_cases is not None:
            return self.on_cases.passes(self.options(), NOMINAL_EXTENT)
        return self.passes(self.options(), NOMINAL)

    def as_json(self) -> dict[str, Any]:
        """Describe the method for a listing."""
        about = {} if "image" in self.scope else {"cases": NOMINAL_EXTENT.cases}
        return {
            "name": self.name,
            "title": self.title,
            "family": self.family,
            "question": self.question,
            "scope": list(self.scope),
            "needs": list(self.needs),
            "spatial_dims": list(self.spatial_dims),
            "summary": self.summary,
            "source": self.source,
            "parameters": [parameter.as_json() for parameter in self.parameters],
            "presets": {name: dict(values) for name, values in self.presets.items()},
            "passes": {**self.nominal(self.scope[0]).as_dict(), "grid": list(NOMINAL.grid), **about},
        }


NEEDS = (*CAPABILITIES, ONE_PASS, SECOND, "training")
"""What a method can say that it needs."""

TAKEN = frozenset(
    [
        "model",
        "image",
        "target",
        "cases",
        "method",
        "label",
        "concepts",
        "seed",
        "device",
        "slice",
        "axis",
        "precision",
        "progress",
        "preset",
    ]
)
"""Names of arguments of `explain` and `survey`, which no parameter can have: it could not be given."""

_known: Registry[Method] = Registry("method", "napari_segxai.methods", "napari_segxai.methods")


def explainer(
    name: str,
    *,
    title: str,
    question: str,
    summary: str,
    unit: str | Callable[[Any], str],
    source: str,
    options: type,
    passes: Callable[[Any, Size], Passes],
    needs: Sequence[str] = (),
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    needs_drawn: bool | Callable[[Any], bool] = False,
    cites: Sequence[str] = (),
    on_cases: OnCases | None = None,
    reads: Reads | None = None,
) -> Callable[[Run], Run]:
    """Register the decorated generator function as the method `name` of one image; see `Method` for the arguments."""
    _check(name, question, needs, options)

    def register(run: Run) -> Run:
        _known.add(
            name,
            Method(
                name, title, _family(run.__module__), question, tuple(needs), summary, unit, source, options, run, passes,
                presets or {}, on_cases, needs_drawn=needs_drawn, cites=tuple(cites), doc=_doc(run), reads=reads,
            ),
            run,
        )  # fmt: skip
        return run

    return register


def surveyor(
    name: str,
    *,
    title: str,
    question: str,
    summary: str,
    unit: str,
    source: str,
    options: type,
    passes: Callable[[Any, Extent], Passes],
    needs: Sequence[str] = (),
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    cites: Sequence[str] = (),
    fewest: int = 1,
    concepts: bool = False,
    label: bool = False,
    targets: bool = False,
    packages: Sequence[str] = (),
    columns: Sequence[Column] = (),
) -> Callable[[RunOnCases], RunOnCases]:
    """Register the decorated generator function as the method `name` of a folder of cases; see `Method` and `OnCases`."""
    _check(name, question, needs, options)

    def register(run: RunOnCases) -> RunOnCases:
        _known.add(
            name,
            Method(
                name, title, _family(run.__module__), question, tuple(needs), summary, unit, source, options, None,
                lambda options, size: Passes(), presets or {}, OnCases(run, passes, fewest, concepts, label, targets, tuple(packages), tuple(columns)),
                cites=tuple(cites), doc=_doc(run),
            ),
            run,
        )  # fmt: skip
        return run

    return register


def _check(name: str, question: str, needs: Sequence[str], options: type) -> None:
    """Refuse words that nobody knows, and parameters that nobody could give."""
    if question not in QUESTIONS:
        raise ValueError(f"{name} answers {question!r}, which is none of {', '.join(QUESTIONS)}.")
    if unknown := [need for need in needs if need not in NEEDS]:
        raise ValueError(f"{name} needs {unknown[0]!r}, which is none of {', '.join(NEEDS)}.")
    if taken := [one for one in getattr(options, "__dataclass_fields__", ()) if one in TAKEN]:
        raise ValueError(
            f"{name} has a parameter {taken[0]!r}, which is an argument of explain or survey; call it otherwise."
        )


def _doc(run: Callable[..., Any]) -> str:
    return getattr(sys.modules.get(run.__module__), "__doc__", None) or run.__doc__ or ""


def _family(module: str) -> str:
    """Return what the methods of a module work on; where they come from, if they are none of this package's."""
    if module.startswith("napari_segxai.methods."):
        folder = module.split(".")[2]
        return FAMILIES.get(folder, folder)
    return "own script" if module == "__main__" else module.partition(".")[0]


def all_methods(scope: Scope | None = None) -> tuple[Method, ...]:
    """Return all methods, or those that can be asked about one image, or about a folder, by question and name."""
    order = list(QUESTIONS)
    found = [method for method in _known.all() if scope is None or scope in method.scope]
    return tuple(sorted(found, key=lambda m: (order.index(m.question), m.name)))


def find_method(name: str, scope: Scope | None = None) -> Method:
    """Return the method called `name`.

    Parameters
    ----------
    scope
        What it is to be asked about.

    Raises
    ------
    UserError
        If there is none, with the nearest names, or it cannot be asked about that.
    """
    found = _known.find(name)
    if scope is None or scope in found.scope:
        return found
    if scope == "image":
        raise UserError(
            f"{name} is a method for a folder of cases, not for one image; use sx.survey, or the command concepts."
        )
    known = ", ".join(method.name for method in all_methods(scope))
    raise UserError(
        f"{name} is a method for one image, not for a folder of cases; for those there are {known}."
    )


def for_misses(capabilities: Collection[str]) -> list[str]:
    """Name methods for a first look where the label is not drawn: made for it first, by what they say of themselves.

    Parameters
    ----------
    capabilities
        Of the network.
    """
    made = [
        f"{method.name} with preset {name}"
        for method in all_methods("image")
        if method.answers_drawn_alone(method.options())
        for name in method.presets
        if not method.answers_drawn_alone(method.make_options({"preset": name}))
    ]
    first = [find_method(name) for name in START_HERE]
    return made + [
        method.name
        for method in first
        if not method.answers_drawn_alone(method.options())
        and set(method.needs) & set(CAPABILITIES) <= set(capabilities)
    ]


def options_as_dict(options: Any) -> dict[str, Any]:
    """Return the values of an options dataclass."""
    return {field.name: getattr(options, field.name) for field in fields(options)}
