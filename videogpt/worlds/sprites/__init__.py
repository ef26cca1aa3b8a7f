"""The sprites world: characters put together from sheets."""
