"""Quantizers: latents <-> codes."""
