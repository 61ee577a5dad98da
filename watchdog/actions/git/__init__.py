"""Git: take a commit back, or bring files of a commit back. Always forward, by a new commit."""
