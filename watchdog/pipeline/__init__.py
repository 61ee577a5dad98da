"""One round: samples → KPI values → verdicts → incidents → plans and messages, in one transaction."""
