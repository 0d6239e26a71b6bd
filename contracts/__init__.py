"""What travels between the services: messages, topics, headers, validation, errors. Pure: no I/O, no clock, no settings."""
