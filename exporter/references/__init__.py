"""What normal is."""
