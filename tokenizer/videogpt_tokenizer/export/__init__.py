"""Export of a video tokenizer for programs that know nothing of this package."""
