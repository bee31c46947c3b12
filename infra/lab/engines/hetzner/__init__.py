"""A week on machines of one's own, set up and asked by Ansible."""
