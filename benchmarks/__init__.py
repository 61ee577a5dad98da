"""Speed, measured side by side: ours and theirs in one run on one machine. `python -m benchmarks`.

Nothing here is asserted in tests: a figure says something beside the figure it was measured with, and nothing alone.
"""
