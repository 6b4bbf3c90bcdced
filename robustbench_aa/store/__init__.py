"""What a run leaves on disk: its manifest, predictions and thumbnails."""
