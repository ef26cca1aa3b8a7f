"""`python -m videogpt` is the `videogpt` command."""

import sys

from videogpt.cli import main

if __name__ == "__main__":
    sys.exit(main())
