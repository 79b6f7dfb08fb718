"""The metric contract, and the contract as live instruments."""
