"""What a deployment replaces."""

VERSION = "v1"
WIN_RATE = 0.7
