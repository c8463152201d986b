"""Label tables to dataset files."""
