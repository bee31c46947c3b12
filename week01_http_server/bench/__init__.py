"""The report against nginx, and the search for the number of connections at which a server breaks.

make week01 bench                                   the report; ARGS=--quick for a first look
./lab --dev python -m week01_http_server.bench.breaking --help
"""
