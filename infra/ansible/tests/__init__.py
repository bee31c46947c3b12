"""Tests of what runs Ansible."""
