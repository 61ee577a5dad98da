"""Evaluates a syntax tree over arrays of times: selectors, operators, aggregations, subqueries."""
