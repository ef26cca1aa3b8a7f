"""The shapes world: one or two objects that move, turn, grow and change colour."""
