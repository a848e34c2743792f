"""The only door to Qdrant: HTTP (`gateway`), typed views of its answers, capabilities by version.

The gateway is made of `door` (where and with which secrets), `connection` (pool and retry), `names`
(DNS), `tls`, `answers` (what a status means), `failures` (what a broken call means), `breaker` (when
not to ask) and `cost` (what we cost the server). What the answers mean is for the sources to say.
"""
