"""Rules over the past: what would have tripped, when, for how long, and which plan would have started."""
