"""Process plumbing without domain: settings, Kafka clients, logs, metrics, the status page, shutdown."""

import os

# Read by grpc's core when it is imported first. Its own lines are no JSON, and any stranger can have it write one per header.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
