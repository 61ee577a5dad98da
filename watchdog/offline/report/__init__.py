"""The report of one incident: what was seen, decided, done and proven, how long it took, what is open."""
