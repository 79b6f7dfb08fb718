"""Pictures of the dashboards, drawn from their own JSON with a real Prometheus's data; not by Grafana."""
