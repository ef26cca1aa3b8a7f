"""Clips as codes on disk: shards to train on, and whole clips."""
