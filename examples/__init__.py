"""Services that show the exporter at work, on real data that scikit-learn ships."""
