"""Processes of ours: how they are started, what they say to each other, and what happens when they die."""
