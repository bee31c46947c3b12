"""Entry points of the stand-ins: each takes commands, variables and volumes as upstream's does.

They run inside the images, on the Python that is there, and import nothing of this repository.
"""
