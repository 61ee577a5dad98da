"""The pages that the daemon serves: `/`, /metrics, /healthz, /api/status and /api/query."""
