"""Generated messages of the protobuf package ``chaukas.gateway.v1`` (``make proto``); the ``.proto`` files are the source."""
