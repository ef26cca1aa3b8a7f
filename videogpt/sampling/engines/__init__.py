"""Engines: who runs the network while sampling. One file each; `engine` says what all of them promise."""
