"""Optimisers, schedules, averages of weights and precision, shared by every training."""
