"""Processes: a master that listens and watches, and workers that serve.

The master owns the listening sockets for as long as it lives and never accepts; the workers
inherit them. So nothing is lost between two generations of workers: the queue of connections not
accepted yet belongs to the socket (listen(2)), not to the process, and stays while one worker
goes and the next one comes. (Sockets of a generation's own would lose it: on Linux, closing one
member of a SO_REUSEPORT group resets what waits in its queue.)

Workers are started as new programs (fork and exec), not forked: the code of the app and of the
server is read anew, nothing is inherited but the descriptors named, and it works on macOS as on
Linux, where a forked child of a program with threads or system frameworks may not.
"""
