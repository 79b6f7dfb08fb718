"""The hook's receivers: middleware, context, torch hook."""
