"""The nouns that everybody shares: model, protocols, errors, units, schedules; the log and the metrics."""
