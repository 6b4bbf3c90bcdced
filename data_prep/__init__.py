"""Jobs that are done once: make and check the data and the embedded models."""
