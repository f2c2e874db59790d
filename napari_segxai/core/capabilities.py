"""What a network may be able to do, in the words in which methods say what they need."""

from __future__ import annotations

NETWORK_LAYERS, GRADIENTS = "network layers", "gradients"

CAPABILITIES = (NETWORK_LAYERS, GRADIENTS)
"""What a network may be able to do beside returning logits, in the words of `Method.needs`: be looked into, be differentiated."""

ONE_PASS = "one pass"
"""What a method needs that looks at an image in one pass: of a network that sees it through windows, it cannot be had."""

SECOND = "second derivatives"
"""What a method needs that differentiates a gradient: through windows it would take the graphs of all of them at once."""

NOT_THROUGH_WINDOWS = {
    ONE_PASS: "and this looks at an image in one pass; use misure or seg-hires-grad-cam",
    SECOND: "whose gradient has no gradient of its own, which moving an explanation takes; use attack=segmentation",
}
"""What cannot be had of a network that sees images through windows: why not, and what can."""
