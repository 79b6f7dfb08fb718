"""One detector at work in a running service: its life, its metrics, its episodes."""
