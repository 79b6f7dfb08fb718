"""Tests beside the real alibi-detect, which needs an environment of its own (see constraints-alibi.txt).

.venv-alibi/bin/python -m pytest tests/alibi --confcutdir=tests/alibi -o filterwarnings=default
"""

from __future__ import annotations

import importlib.util

# Where alibi-detect is not installed these tests do not exist.
collect_ignore_glob = [] if importlib.util.find_spec("alibi_detect") else ["test_*.py"]
