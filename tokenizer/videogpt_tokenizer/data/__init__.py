"""Batches to train on: windows of clips, several sets together, and a loader that resumes within an epoch."""
