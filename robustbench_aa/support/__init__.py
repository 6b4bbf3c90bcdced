"""Helpers that know nothing of benchmarks."""
