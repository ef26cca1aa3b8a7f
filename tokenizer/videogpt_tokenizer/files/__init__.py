"""Files and folders on disk: written whole or not at all, read strictly, fetched from the Hub."""
