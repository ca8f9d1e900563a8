"""The endpoint picker: Envoy, or a gateway built on it, asks where each request goes.

It speaks `envoy.service.ext_proc.v3.ExternalProcessor` as the Gateway API Inference Extension has
it: `messages` reads and builds what is said, `exchange` is one request and its answer, `endpoints`
the engines by their addresses, `health` the gRPC health service, `picker` the server, `service` the
program. Needs the `envoy` extra.
"""
