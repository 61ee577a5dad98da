"""Samples: the head in memory, series.db on the disk, and the pages by which both are read."""
