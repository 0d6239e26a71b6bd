"""Load for the front door, and what it is measured against: callers, servers that do nothing, and the processes they run in."""
