"""What is this file or folder, and is it sound? One describer beside each kind, listed in the table of `inspect`."""
