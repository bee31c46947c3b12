"""What every server answers: by itself, so that the floor needs nothing else of the bench."""

BODY = b"Hello, World!\n"
