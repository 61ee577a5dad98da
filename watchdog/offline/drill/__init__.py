"""A plan rehearsed level by level on copies, so that what would fail tonight is known today."""
