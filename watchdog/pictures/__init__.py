"""What is drawn with matplotlib, and the process in which the daemon has it drawn."""
