"""Lanes: ways to let a batch of samples advance. One file each; `lane` says what all of them promise."""
