"""A result as a Python script that makes it again in a process of its own."""

from __future__ import annotations

import pprint
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_segxai.analyses.compare.plan import names_of
from napari_segxai.analyses.flow.again import ablation_of
from napari_segxai.checks.registry import all_checks
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.core.target import Box, Component, Point
from napari_segxai.gui.script.files import ScriptFiles, at_index
from napari_segxai.methods.registry import find_method, options_as_dict
from napari_segxai.models.card import read_card
from napari_segxai.models.formats import builtin, folder
from napari_segxai.models.loading.own_code import own_place
from napari_segxai.models.loading.untrusted_code import UntrustedCode
from napari_segxai.models.preprocessing.spatial import plane_of
from napari_segxai.models.registry import check_stored, stored_card

if TYPE_CHECKING:
    from napari_segxai.analyses.compare.plan import ComparisonPlan
    from napari_segxai.analyses.concepts.result import Survey
    from napari_segxai.analyses.explain.plan import ExplanationPlan
    from napari_segxai.analyses.explain.result import Explanation
    from napari_segxai.analyses.flow.plan import FlowPlan
    from napari_segxai.analyses.flow.result import Flow
    from napari_segxai.analyses.sweep.plan import SweepPlan
    from napari_segxai.models.segmentation import SegmentationModel

BUILT_IN = "built-in "


def python_of(explanation: Explanation, plan: ExplanationPlan, files: ScriptFiles) -> str:
    """Return Python code that makes an explanation again, and its trust checks.

    Parameters
    ----------
    explanation, plan
        The result, and what was asked.
    files
        Where the script reads the arrays that it cannot contain; see `ScriptFiles`.
    """
    question = _Question(plan, files)
    call = [
        "model",
        "image",
        "target",
        f"method={plan.method.name!r}",
        *question.place(),
        *([f"precision={plan.precision!r}"] if plan.precision != "auto" else []),
        *_keywords(_changed(plan)),
    ]
    lines = [f"explanation = sx.explain({', '.join(call)})"]
    if asked := [row["check"] for row in explanation.record.trust]:
        every = set(asked) == {check.name for check in all_checks()}
        names = "" if every else f", checks={asked!r}"
        lines += [
            f"for verdict in sx.check(explanation, model, target{names}):",
            "    print(verdict.word, verdict.check, verdict.sentence)",
        ]
    return question.script(*lines, 'explanation.save("explanation")')


def python_of_flow(flow: Flow, files: ScriptFiles) -> str:
    """Return Python code that makes an information flow again, and its causal check, as far as it was made."""
    whole, ablation = flow.plan, ablation_of(flow)
    plan = whole.first
    question = _Question(plan, files, with_target=False, truth=whole.truth)
    call = ["model", "image", repr(list(flow.labels)), f"method={flow.method!r}", *_layers(whole)]
    call += [f"{name}={code}" for name, code in question.target.items() if name != "label"]
    call += [*(() if "truth" in question.target else question.truth(whole.truth)), *question.place()]
    call += [] if ablation is None else ["causal=True"]
    call += ["routes=True"] if whole.routes else []
    call += [] if ablation in (None, "mean") else [f"ablation={ablation!r}"]
    call += _keywords({name: value for name, value in _changed(plan).items() if name != "layer"})
    return question.script(f"flow = sx.information_flow({', '.join(call)})", 'flow.save("flow")')


def python_of_comparison(plan: ComparisonPlan, files: ScriptFiles) -> str:
    """Return Python code that makes a comparison again, with the names of its maps."""
    question = _Question(plan.shared, files)
    specs = [(one.method.name, _changed(one)) for one in plan.explanations.values()]
    methods: Any = [(name, values) if values else name for name, values in specs]
    if names_of(specs, plan.maps) != list(plan.explanations):
        methods = dict(zip(plan.explanations, methods, strict=True))
    call = ["model", "image", "target", repr(methods)]
    given = []
    for name, map in plan.maps.items():
        values = map if isinstance(map, np.ndarray) else map.map
        given.append(f"{name!r}: {question.array(values, f'the map {name}', 'map')}")
    if given:
        call.append(f"maps={{{', '.join(given)}}}")
    call += [*question.measured(plan), f"controls={plan.controls}"]
    call += [*question.place(), *_keywords(plan.options)]
    return question.script(f"comparison = sx.compare({', '.join(call)})", 'comparison.save("comparison")')


def python_of_sweep(plan: SweepPlan, files: ScriptFiles) -> str:
    """Return Python code that makes a sweep again."""
    comparison = plan.comparison
    question = _Question(comparison.shared, files)
    method = (plan.method, dict(plan.fixed)) if plan.fixed else plan.method
    call = ["model", "image", "target", repr(method), repr(dict(plan.grid)), *question.measured(comparison)]
    call += [*question.place(), *_keywords(comparison.options)]
    return question.script(f"sweep = sx.sweep({', '.join(call)})", 'sweep.save("sweep")')


def python_of_cohort(
    model: SegmentationModel, source: str, found: Mapping[str, Any], asked: Mapping[str, Any], out: str
) -> str:
    """Return Python code that runs a cohort, or goes on with it.

    Parameters
    ----------
    source, found
        What `find_cases` is asked.
    asked, out
        What `run_cohort` is asked.
    """
    usual = {"metrics": [], "keep": "all", "seed": 0, "device": "auto"}
    methods = [(name, dict(own)) if own else name for name, own in asked["methods"]]
    rest = {
        name: value
        for name, value in asked.items()
        if name not in ("labels", "methods") and (name not in usual or value != usual[name])
    }
    call = ["model", "cases", repr(asked["labels"]), repr(methods), f"out={out!r}", *_keywords(rest)]
    lines = [
        *model_lines(model),
        f"cases = sx.find_cases({', '.join([repr(source), *_keywords(found)])})",
        f"cohort = sx.run_cohort({', '.join([*call, 'progress=True'])})",
        "print(cohort)",
        'print(sx.study(cohort, "averages").sentence)',
    ]
    body = ["import napari_segxai as sx", "", "", "def main():", *(f"    {line}" for line in lines), "", ""]
    # Processes of their own import the script: only the first one is to run it.
    return "\n".join([*body, 'if __name__ == "__main__":', "    main()", ""])


def python_of_survey(survey: Survey, model: SegmentationModel) -> str:
    """Return Python code that makes a survey again.

    Parameters
    ----------
    survey
        The result.
    model
        The network that was asked.
    """
    record = survey.record
    find = {"layout": record["layout"], **record.get("find", {})}
    method = find_method(record["method"], "dataset")
    defaults = {parameter.name: parameter.default for parameter in method.parameters}
    asked = {} if list(record["labels"]) == list(model.labels[1:]) else {"label": record["labels"][0]}
    asked |= {} if record["concepts"] is None else {"concepts": record["concepts"]}
    asked |= {"seed": record["seed"], "device": record["device"]}
    asked |= {name: value for name, value in record["parameters"].items() if value != defaults.get(name)}
    lines = [
        "import napari_segxai as sx",
        "",
        *model_lines(model),
        f"cases = sx.find_cases({', '.join([repr(record['source']), *_keywords(find)])})",
        f"survey = sx.survey({', '.join(['model', 'cases', repr(method.name), *_keywords(asked), 'progress=True'])})",
        "print(survey.sentence)",
        'survey.save("survey")',
    ]
    return "\n".join([*lines, ""])


def _changed(plan: ExplanationPlan) -> dict[str, Any]:
    """Return the parameters of a method that are not the default."""
    defaults = {p.name: p.default for p in plan.method.parameters}
    values = options_as_dict(plan.options)
    return {name: value for name, value in values.items() if value != defaults.get(name)}


def _layers(plan: FlowPlan) -> list[str]:
    """Return the argument that names the network layers, as shortly as `information_flow` takes them."""
    model, names = plan.first.model, [layer.name for layer in plan.layers]
    if names == [layer.name for layer in model.outline]:
        return []
    every = names == [layer.name for layer in model.example_layers]
    return [f"layers={('all' if every else names)!r}"]


class _Question:
    """What all scripts have in common: the image, the model, and what is asked of them."""

    def __init__(
        self, plan: ExplanationPlan, files: ScriptFiles, *, with_target: bool = True, truth: Any = None
    ):
        """`truth` is that by which an error was found, where the plan does not hold it."""
        self.plan, self.files = plan, files
        code, self.seen = files.image(plan.image, f"the image {plan.image.name}")
        self.lines = [f"image = {code}", *model_lines(plan.model)]
        self.target = {"label": repr(plan.model.labels[plan.model.label_index(plan.target.label)])}
        truth = truth if plan.truth is None else plan.truth
        if plan.target.error is not None and truth is not None:
            self.target |= {"error": repr(plan.target.error), "component": repr(plan.target.component)}
            self.target["truth"] = self._truth_file(truth)
        elif (region := self._region(plan.target.region)) is not None:
            self.target["region"] = region
        for name, default in (
            ("score", "logit"),
            ("reduction", "mean"),
            ("against", None),
            ("boundary", None),
        ):
            if (value := getattr(plan.target, name)) != default:
                self.target[name] = plan.target.score_name if callable(value) else repr(value)
        if plan.target.own_score is not None:
            self.lines += [
                f"# The score, {plan.target.score_name}, is a function of a script or of the console, and no file holds it:",
                "# define it above, a function of the logits and of the region.",
            ]
        if with_target:
            given = [self.target["label"], *(f"{k}={v}" for k, v in self.target.items() if k != "label")]
            self.lines.append(f"target = sx.Target({', '.join(given)})")

    def place(self) -> list[str]:
        """Return the arguments that say where and on which device to compute."""
        plan = self.plan
        where = [f"slice={plan.slice}"] if plan.slice is not None else []
        if axis := plane_of(plan.model.card, plan.image):
            where.append(f"axis={axis}")
        return [*where, f"seed={plan.seed}", f"device={str(plan.device)!r}"]

    def array(self, values: np.ndarray, words: str, stem: str) -> str:
        """Return code that gives an array on the grid of the image."""
        return self.files.array(values, self.plan.image, self.seen, words, stem)

    def _truth_file(self, truth: Any) -> str:
        """Return code that gives a truth as it was given: a file where it was one."""
        if isinstance(truth, Mapping):
            return f"{{{', '.join(f'{label!r}: {self._truth_file(one)}' for label, one in truth.items())}}}"
        if isinstance(truth, str | Path):
            return repr(str(truth))
        if isinstance(truth, Image):
            return self.files.image(truth, "the truth", "truth")[0]
        return self.array(np.asarray(truth), "the truth", "truth")

    def truth(self, truth: np.ndarray | None) -> list[str]:
        """Return the argument that gives the truth, if there is one."""
        return [] if truth is None else [f"truth={self.array(truth, 'the truth', 'truth')}"]

    def measured(self, plan: ComparisonPlan) -> list[str]:
        """Return the arguments that say what is measured, and against what."""
        noise_model = [] if plan.noise_file is None else [f"noise_model={plan.noise_file!r}"]
        return [
            *self.truth(plan.truth),
            *noise_model,
            f"metrics={[metric.name for metric in plan.metrics]!r}",
        ]

    def script(self, *lines: str) -> str:
        """Return the whole script."""
        return "\n".join([*self.files.opening(), *self.lines, *lines, ""])

    def _region(self, region: Any) -> str | None:
        image, seen = self.plan.image, self.seen
        if region is None or isinstance(region, str):
            return None if region is None else repr(region)
        if isinstance(region, Point | Component):
            return f"sx.{type(region).__name__}({at_index(region.at, image, seen)})"
        if isinstance(region, Box):
            corners = np.sort([at_index(corner, image, seen) for corner in (region.low, region.high)], axis=0)
            low, high = (tuple(corner.tolist()) for corner in corners)
            return f"sx.Box({low}, {high})"
        return self.array(region, "the drawn region", "region")


def model_lines(model: SegmentationModel) -> list[str]:
    """Return the lines that load a model, with comments that say what has to be done by hand before."""
    if model.source.startswith(BUILT_IN):
        name = model.source.removeprefix(BUILT_IN)
        stored = builtin.names().get(name)
        return _loading(name, model, None if stored is None else read_card(stored / folder.CARD))
    if model.path is not None:
        try:
            stored = stored_card(model.path)
        except UserError:
            stored = None  # it was loaded with a card of its own, or the file has gone
        lines = _loading(str(model.path), model, stored)
        runs = _code_of(model)
        if not runs:
            return lines
        return [
            *lines[:-1],
            f"# This model {runs}.",
            "# If you trust it, take the second of these two lines instead of the first.",
            lines[-1],
            f"# {lines[-1].removesuffix(')')}, trust=True)",
        ]
    kind = type(model.module).__name__
    return [
        f"# The network, a {kind}, was made in a script or in the console, and no file holds it:",
        "# write here how it is made, with its weights, in the place of make_network().",
        "network = make_network()",
        *_card_lines(model),
        "model = sx.load_model(network, card=card)",
    ]


def _code_of(model: SegmentationModel) -> str:
    """Say which code a model runs that is loaded after a yes alone; "" for none."""
    said = "was loaded after a yes to code of its own" if model.trusted else ""
    if model.card.architecture is None or model.path is None:
        return said
    code = None if model.architecture is None else own_place(model.architecture)[0]
    try:
        check_stored(model.path, model.card.architecture, code)
    except UntrustedCode as untrusted:
        return f"runs {untrusted.runs} in {str(untrusted.path)!r}"
    except UserError:  # said when the script runs
        pass
    return ""


def _loading(source: str, model: SegmentationModel, stored: Any) -> list[str]:
    if stored == model.card:
        return [f"model = sx.load_model({source!r})"]
    own = "" if model.architecture is None else f", architecture={model.architecture!r}"
    return [*_card_lines(model), f"model = sx.load_model({source!r}, card=card{own})"]


def _card_lines(model: SegmentationModel) -> list[str]:
    fields = model.card.model_dump(exclude_unset=True)  # some are asked even where they are the default
    return f"card = {pprint.pformat(fields, sort_dicts=False, width=100)}".splitlines()


def _keywords(values: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value!r}" for name, value in values.items()]
