"""Carries plans out: runs them, verifies them, resumes them after a crash, undoes them."""
