"""Generated worlds: captioned clips whose attributes are known, and checkers that read them from pixels."""
