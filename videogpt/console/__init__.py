"""What a user sees in a terminal: messages and progress."""
