"""What the weeks share: the `lab` command, the service plumbing and the set-up of a clone."""
