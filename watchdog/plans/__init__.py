"""Plans as people write them: a halt makes the bot safe, a repair is the rollback ladder."""
