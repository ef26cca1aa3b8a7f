"""Clips: frames and a rate, read from files and written to them, and folders of them with captions."""
