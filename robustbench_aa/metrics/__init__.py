"""Metrics: tables of predictions in, tables of figures out. Without torch."""
