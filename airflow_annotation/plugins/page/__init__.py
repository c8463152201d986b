"""The page of annotation runs: a FastAPI app and the files that it serves."""
