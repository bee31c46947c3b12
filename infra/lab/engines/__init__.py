"""Engines: the same verbs on processes, on Compose and on VMs."""
