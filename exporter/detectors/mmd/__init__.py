"""Maximum mean discrepancy: the online test, what it is made of, and the offline test.

``online`` is the detector. It scales rows and takes their witness values with ``kernel``, and keeps the
last of them in a ``sliding_window``. Its thresholds come from ``calibration``, which draws streams without
drift by ``simulation`` and extends them by a ``pareto_tail``. ``two_sample`` compares two sets, once.
"""
