"""The `lab` command: a week's topology, the engines that run it, and the verbs on both."""
