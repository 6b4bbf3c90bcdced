"""Tools of the repository: make the embedded digits and models; other names of commands."""
