"""Runs to look at a page with, and its pictures."""
