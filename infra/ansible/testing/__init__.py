"""Containers with systemd as hosts for the playbooks, and the tests that run playbooks on them."""
