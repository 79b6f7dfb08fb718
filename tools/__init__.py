"""What the people who carry on use; no part of the package."""
