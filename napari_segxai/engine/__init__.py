"""The engine: what every explainer is built on."""
