"""Training runs: their command line, folder, checkpoints, and what is written when. Imports nothing by itself."""
