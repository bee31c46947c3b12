"""The plumbing every service needs and no week is about.

Settings, JSON logs, request ids, problem documents, metrics, health, retries and an orderly end.
Nothing here reads the environment, opens a socket or registers anything when it is imported.
"""
