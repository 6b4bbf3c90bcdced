"""Runs to look at a page with, its pictures, and how fast it opens."""
