"""Benchmarks of speed, reliability and fidelity."""
