"""The decoder: ids, positions and visibility in, logits out."""
