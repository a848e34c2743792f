"""The only door to Qdrant: HTTP (`gateway` for polls, `lanes` for timed requests, `courier` for jobs), typed
views of its answers, capabilities by version.

The gateway is made of `door` (where and with which secrets), `connection` (pool and retry), `names`
(DNS), `tls`, `answers` (what a status means), `failures` (what a broken call means), `breaker` (when
not to ask) and `cost` (what we cost the server); lanes and courier are made of most of them. `download`
and `upload` carry bodies of any size. Requests are data (`asked`), made in `search`, `canary` and, for
jobs, `keeping`. What the answers mean is for the sources to say.
"""
