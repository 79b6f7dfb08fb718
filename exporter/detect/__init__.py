"""From arrays to verdicts: pure, with no threads, no asyncio, no Prometheus and no HTTP."""
