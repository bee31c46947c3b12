"""The weeks on Debian 13 machines: shared roles, and the hosts on which they are tested."""
