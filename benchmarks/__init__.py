"""How fast: ratios measured side by side in one run."""
