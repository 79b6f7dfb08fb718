"""The dashboards' source needs Grafana's types, which need Python 3.11; their JSON needs neither."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("grafana_foundation_sdk") else ["test_dashboards.py"]
