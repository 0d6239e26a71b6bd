"""Process plumbing without domain: settings, Kafka clients, logs, metrics, the status page, shutdown."""
