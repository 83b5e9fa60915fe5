"""From the outbox to a server, in the background, each thing once."""
