"""The functions of PromQL, and those that trading asks for."""
