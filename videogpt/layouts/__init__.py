"""Layouts: how what is given and what is to be predicted become one sequence of tokens. One file per task."""
