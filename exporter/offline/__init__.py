"""What is done with recorded data: fitting, replaying, explaining."""
