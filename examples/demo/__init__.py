"""The demonstration: a live model, clean and drifted traffic, and what ``/metrics`` says about both."""
