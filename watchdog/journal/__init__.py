"""journal.db: the durable record of incidents, plan runs, steps and messages. The truth; never deleted, never guessed."""
