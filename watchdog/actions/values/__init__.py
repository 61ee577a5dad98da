"""One value in a text file, found and replaced, and not a byte beside it. Pure: bytes in, bytes out."""
