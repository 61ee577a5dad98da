"""Says the same bits sooner: compiled expressions, incremental windows, bounds over whole stretches of time."""
