"""The commands of `videogpt`, one module each: `add_arguments(parser)` and `run(arguments)`.

A module's docstring is its help. They parse, call the library and print; heavy imports stay inside `run`.
"""
