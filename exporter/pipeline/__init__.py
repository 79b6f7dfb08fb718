"""What waits, who accounts for it, and what becomes of it."""
