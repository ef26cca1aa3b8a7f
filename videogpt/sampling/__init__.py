"""Drawing videos from the language model, code by code: settings, filters, draws, and the lanes that advance."""
