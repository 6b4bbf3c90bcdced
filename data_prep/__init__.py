"""Commands that run once: download and make data sets, train the embedded models."""
