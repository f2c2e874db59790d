"""Layer-wise relevance propagation: the score, shared out layer by layer down to the pixels, with a ledger.

    R = x G at every layer,   G = d score / d logits at the end,   and for a layer y = W x + b
    epsilon      G_in = W' q,                                  q = y G / (y + e sign y)
    z-plus       G_in = W+' q where x >= 0, W-' q elsewhere,   q = y G / z,   z = W+ x+ + W- x- + b+
    alpha-beta   alpha times z-plus minus beta = alpha - 1 times the same of the negative parts
    composite    flat in the first layer, z-plus in convolutions, epsilon in linear layers

Bach, Binder, Montavon, Klauschen, Müller, Samek, PLoS ONE 2015; z-plus Montavon et al., Pattern Recognition 2017; composite
after Kohlbrenner et al., IJCNN 2020. A normalisation behind a convolution is folded into it, its statistics taken as fixed. ReLU,
pooling, interpolation, sums and concatenation keep their gradient; GELU, SiLU and the like pass f(x) / x; a sigmoid or softmax that
weights something else is fixed, so that relevance in attention flows through the values alone. Cost: 1 forward, 1 backward, each
dearer than a plain one.

Unlike a gradient the map adds up, and the ledger says to what: `start` (the score) = `input` (the sum of the map) + `biases` (what
rests on biases, on what normalisations add, and on other constants, so on no pixel) + `stabilizer` (epsilon, or values without a
part of the sign that a rule asks for) + `lost_in_unknown`; `gap` is what is missing, as a share. An operation without a rule is
named in a warning, with how much relevance passed through it.

When not to believe it: where the share of biases is large (a warning from 80 % on), the map explains the rest alone. z-plus shows
what was there, not what decided between two labels: its maps of two labels are alike, and it sees no evidence against the label.
epsilon with a small epsilon is nearly input-x-gradient, with its noise and its sums that cancel. Gates and attention are
taken as given: why a gate opened is not asked. Like all that multiplies with the input, black pixels get nothing (but in composite,
whose first layer spreads relevance evenly). Look at another method, and run the check that makes weights random.
"""

from __future__ import annotations

from dataclasses import dataclass

from napari_segxai.core.options import option
from napari_segxai.core.progress import Passes, Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.primitives.relevance import relevance_of_input
from napari_segxai.engine.question import Question
from napari_segxai.engine.relevance.weighted import Rule, Rules
from napari_segxai.methods.registry import explainer

RULE_HELP = "how layers with weights share relevance out among their inputs"
EPSILON_HELP = "of the rule epsilon: how much of small outputs is damped, as a share of the mean absolute output of each layer"


@dataclass(frozen=True)
class Options:
    """Parameters of lrp."""

    rule: Rule = option("composite", help=RULE_HELP)
    epsilon: float = option(1e-3, ge=0, help=EPSILON_HELP, advanced=True)
    alpha: float = option(
        2.0, ge=1, le=100, help="of the rule alpha-beta: weight of what speaks for an output", advanced=True
    )


@explainer(
    "lrp",
    title="Layer-wise relevance propagation",
    question="evidence",
    needs=("network layers", "gradients"),
    summary="how much of the score each pixel carries, when it is shared out layer by layer",
    unit="part of the {score}",
    source="Bach et al., PLoS ONE 2015",
    cites=("bach2015", "montavon2017", "kohlbrenner2020"),
    options=Options,
    passes=lambda options, size: Passes(1, 1),
)
def lrp(question: Question, options: Options) -> Steps[Finding]:
    """Carry the score back once and add up the channels of the input."""
    rules = Rules(options.rule, options.epsilon, options.alpha)
    found, balance = yield from relevance_of_input(question, rules, lambda found: Finding(found.sum(1)[0]))
    return Finding(found.sum(1)[0], numbers=balance.numbers(), warnings=balance.warnings())
