"""The network of the video tokenizer: pixels <-> latents."""
