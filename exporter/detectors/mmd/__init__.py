"""The maximum mean discrepancy: online and between two samples."""
