"""The weeks' topologies on Debian 13 machines: shared roles, and the machines they are tested on."""
