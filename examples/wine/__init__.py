"""A scikit-learn model of tabular data, watched through its requests; no torch anywhere."""
