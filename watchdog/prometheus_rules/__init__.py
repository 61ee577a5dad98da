"""Prometheus's own rule files: read as they are, and written out."""
