"""Faults, damaged files, and how often intervals contain the truth."""
