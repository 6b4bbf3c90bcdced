"""What breaks, what damaged files do, and how often intervals contain the truth."""
