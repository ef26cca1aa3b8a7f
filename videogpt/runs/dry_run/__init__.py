"""What a fit would take, told before it is begun: parameters, tokens, operations, memory and time."""
