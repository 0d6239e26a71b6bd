"""Load for the front door, and what it is measured against: callers, servers that do nothing, and the processes they run in."""

#: Events of one batch of the SDK, as it is configured when nobody configures it.
SDK_BATCH = 20
