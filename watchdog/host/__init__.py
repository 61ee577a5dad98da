"""This machine: child processes, systemd, /proc, files that are replaced as a whole."""
