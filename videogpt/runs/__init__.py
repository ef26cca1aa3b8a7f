"""Training runs: command line, folder, checkpoints and callbacks. Imports nothing by itself."""
