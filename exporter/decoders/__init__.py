"""From an exchange to the fields of observations."""
