"""The local engine: real servers as ordinary processes under one supervisor per week."""
