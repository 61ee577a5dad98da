"""Text to syntax tree, and what can be told of an expression without a single sample."""
