"""The files of a run: its manifest, predictions and thumbnails."""
