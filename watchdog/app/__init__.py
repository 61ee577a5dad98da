"""The daemon: builds everything once and keeps it going; the only clock."""
