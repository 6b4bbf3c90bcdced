"""Make the embedded digits and models; run the commands `download` and `make` by older names."""
