"""Metrics: functions from tables of predictions to tables of values. They need no torch."""
