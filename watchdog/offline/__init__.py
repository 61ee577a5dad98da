"""What works without the daemon, or beside it: history, replay, rule tests, reports, drills, snapshots, the demo."""
