"""Evaluation: check a request, load models and data, compute predictions."""
