"""The sidecar: data plane, observer, runtime and admin listener, put together."""
