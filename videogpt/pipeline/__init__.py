"""Requests in, samples out: a complete model behind one call, and the files of both."""
