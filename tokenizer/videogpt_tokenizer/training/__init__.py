"""Training of the video tokenizer: reconstruction, and the terms that can be added to it."""
